"""Who plays which role in the study: the bundled encoders, a pair that was just trained, or the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from embprobe.claims.model import ROLES
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


def bundled_roles() -> Roles:
    """The encoders that come with embprobe, as far as they are trained."""
    there = list_encoders("bundled/*")
    return Roles({role: f"bundled/{role}" for role in ROLES if f"bundled/{role}" in there}, "bundled/{} is not trained")


def parse_roles(given: Sequence[str]) -> Roles:
    """Roles from ``clip=open_clip/ViT-B-16:openai``; those that are not named have nobody, the twin is ours.

    Raises :class:`UsageError` for what is no role, a role without a name, and a role named twice.
    """
    names: dict[str, str] = {}
    for text in given:
        role, _, name = text.partition("=")
        if role not in (*ROLES, TWIN) or not name:
            hint = did_you_mean(role, [*ROLES, TWIN], cutoff=0.75)
            raise UsageError(
                f"'{text}' gives no role an encoder: write ROLE=ENCODER with one of {', '.join(ROLES)} or {TWIN}, "
                f"such as clip=open_clip/ViT-B-16:openai.{hint}"
            )
        if role in names:
            raise UsageError(f"The role '{role}' is given twice: leave one out.")
        names[role] = name
    return Roles(names, "no encoder was named for '{}'", names.pop(TWIN, UNTRAINED))


@dataclass(frozen=True)
class Cast:
    """The encoders by role, and those that are shown beside them, the untrained twin first."""

    encoders: Mapping[str, Encoder]
    references: Sequence[Encoder]
    lacking: Mapping[str, str] = field(default_factory=dict)
    """By role, why nobody plays it."""

    @property
    def twin(self) -> Encoder:
        """The untrained network that the others are compared with."""
        return self.references[0]

    def names(self) -> dict[str, str]:
        """What plays each role, and the twin."""
        return {role: encoder.spec.name for role, encoder in {**self.encoders, TWIN: self.twin}.items()}

    def playing(self, roles: Iterable[str]) -> list[Encoder]:
        """The encoders in some of the roles and the references, each once."""
        wanted = [*(self.encoders[role] for role in roles if role in self.encoders), *self.references]
        return list({encoder.spec.name: encoder for encoder in wanted}.values())


def load_cast(roles: Roles, *, device: str) -> Cast:
    """Load them all, each once. Raises what :func:`embprobe.encoders.load_encoder` raises."""
    wanted = dict.fromkeys([*roles.names.values(), roles.twin, UNTRAINED, PIXELS])
    loaded = {name: load_encoder(name, device=device) for name in wanted}
    return Cast(
        {role: loaded[name] for role, name in roles.names.items()},
        [loaded[name] for name in dict.fromkeys([roles.twin, UNTRAINED, PIXELS])],
        {role: roles.lacking.format(role) for role in ROLES if role not in roles.names},
    )
