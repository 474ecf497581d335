"""Who plays which role in the study: the bundled encoders, a pair that was just trained, or the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embprobe.claims.model import VectorChoice, bundled_claims, roles_of
from embprobe.encoders import list_encoders, load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.system.suggestions import did_you_mean

TWIN = "twin"
"""The role of the untrained network that the others are compared with."""
UNTRAINED, PIXELS = "reference/random-vit", "reference/pixels"


@dataclass(frozen=True)
class Roles:
    """Names of encoders by role."""

    names: Mapping[str, str]
    lacking: str
    """Why a role has none, with ``{}`` for the role."""
    twin: str = UNTRAINED
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By role, encoders of other training runs of the same recipe."""


def known_roles() -> tuple[str, ...]:
    """Return the roles of the claims that come with embprobe."""
    return roles_of(bundled_claims())


def bundled_roles() -> Roles:
    """Return the encoders that come with embprobe, as far as they are trained."""
    trained = list_encoders("bundled/*")
    names = {role: f"bundled/{role}" for role in known_roles() if f"bundled/{role}" in trained}
    return Roles(names, "bundled/{} is not trained")


def parse_roles(assignments: Sequence[str], known: Sequence[str] | None = None) -> Roles:
    """Return roles from assignments such as ``clip=open_clip/ViT-B-16:openai``; the twin is ours unless it is named.

    Args:
        assignments: As typed.
        known: The roles there are; by default those of the bundled claims.

    A role that is given several times has several training runs of one recipe, which differ in their seed.

    Raises:
        UsageError: There is no such role, a role has no name, has one twice, or the twin has two.
    """
    known = [*(known_roles() if known is None else known), TWIN]
    names: dict[str, str] = {}
    more: dict[str, list[str]] = {}
    for text in assignments:
        role, _, name = text.partition("=")
        if role not in known or not name:
            hint = did_you_mean(role, known, cutoff=0.75)
            raise UsageError(
                f"'{text}' gives no role an encoder: write ROLE=ENCODER with one of {', '.join(known[:-1])} or {TWIN}, "
                f"such as clip=open_clip/ViT-B-16:openai.{hint}"
            )
        if role == TWIN and role in names:
            raise UsageError(f"The role '{role}' is given twice: leave one out.")
        if name in (names.get(role), *more.get(role, ())):
            raise UsageError(f"The role '{role}' is given '{name}' twice: name another training run, or leave one out.")
        if role in names:
            more.setdefault(role, []).append(name)
        else:
            names[role] = name
    return Roles(names, "no encoder was named for '{}'", names.pop(TWIN, UNTRAINED), more)


@dataclass(frozen=True)
class Cast:
    """The encoders by role, and those that are shown beside them, the untrained twin first."""

    encoders: Mapping[str, Encoder]
    references: Sequence[Encoder]
    lacking: Mapping[str, str] = field(default_factory=dict)
    """By role, why nobody plays it."""
    more: Mapping[str, Sequence[Encoder]] = field(default_factory=dict)
    """By role, other training runs of the same recipe."""
    class_tokens: Mapping[str, Encoder] = field(default_factory=dict)
    """By name of an encoder its class token, where that is another vector than its own."""

    @property
    def twin(self) -> Encoder:
        """The untrained network that the others are compared with."""
        return self.references[0]

    def names(self) -> dict[str, str]:
        """Return the names of the encoders by role, the twin's among them."""
        return {role: encoder.spec.name for role, encoder in {**self.encoders, TWIN: self.twin}.items()}

    def answering(self, role: str, vectors: VectorChoice) -> list[Encoder]:
        """Return the training runs of a role, with the vector that is to answer."""
        runs = [self.encoders[role], *self.more.get(role, ())]
        return [self.class_tokens.get(run.spec.name, run) for run in runs] if vectors == "class token" else runs


def load_cast(roles: Roles, *, device: str, known: Sequence[str] | None = None, class_tokens: bool = True) -> Cast:
    """Return the encoders in their roles, each loaded once; raises what :func:`embprobe.encoders.load_encoder` raises.

    Args:
        roles: Names of encoders by role.
        device: The device to load them on.
        known: The roles there are; by default those of the bundled claims.
        class_tokens: Whether to load, too, the class tokens of encoders whose own vector is another.
    """
    playing = dict.fromkeys([*roles.names.values(), *(name for names in roles.more.values() for name in names)])
    wanted = dict.fromkeys([*playing, roles.twin, UNTRAINED, PIXELS])
    loaded = {name: load_encoder(name, device=device) for name in wanted}
    tokens = {loaded[name].spec.name: _class_token(loaded[name], device) for name in playing if class_tokens}
    return Cast(
        {role: loaded[name] for role, name in roles.names.items()},
        [loaded[name] for name in dict.fromkeys([roles.twin, UNTRAINED, PIXELS])],
        {role: roles.lacking.format(role) for role in known or known_roles() if role not in roles.names},
        {role: [loaded[name] for name in names] for role, names in roles.more.items()},
        {name: token for name, token in tokens.items() if token is not None},
    )


def _class_token(encoder: Encoder, device: str) -> Encoder | None:
    """Load an encoder with its class token before any head; None if that is its own vector, or it has none.

    An encoder whose pooling was typed keeps it.
    """
    name = encoder.spec.name
    if encoder.spec.pooling != "projected" or "pooling=" in encoder.spec.options:
        return None
    for pooling in ("cls", "trunk"):  # open_clip's is its trunk
        try:
            return load_encoder(f"{name},pooling={pooling}", device=device)
        except UsageError:
            continue  # that family has no such pooling
    return None
