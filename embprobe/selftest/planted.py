"""Promises on the bundled cards, put to oracles: what a larger planted share must raise or lower, and the shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from embprobe.embeddings.workspace import Workspace
from embprobe.images import load_images
from embprobe.images.rows import Images
from embprobe.probing.card import bundled_card
from embprobe.probing.key import BEYOND_CONTROL, SHOTS, Key
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.run import run_probe
from embprobe.selftest.oracles import FACTORS, Oracle, OracleSession
from embprobe.selftest.promise import Check, Verdict

PLANTED = (0.03, 0.12, 0.3)
"""Shares of the probed attribute in three oracles; they have a tenth of every other."""
TOLERANCE = 0.02
"""Of a variance share."""
_EVERY = 6
"""The bundled concepts that are used: every sixth."""
_NEVER, _SURE = 0.005, 0.99
"""Accuracies below and above may tie: there is nothing to order."""

CARDS: Mapping[str, str] = {"concept": "category"}
"""The card that asks for an attribute, where it has another name."""


def _decoded(target: str, test: str, variant: str = "linear probe", **more: str | float) -> KeyPattern:
    return KeyPattern.model_validate({"kind": "decoding", "target": target, "variant": variant, "test": test, **more})


def _moved(intervention: str, strength: float, variant: str | None = None) -> KeyPattern:
    return KeyPattern(kind="displacement", target=intervention, strength=strength, variant=variant)


def _preferred(target: str, rival: str) -> KeyPattern:
    return KeyPattern(kind="preference", target=target, variant=rival)


def _share(factor: str) -> KeyPattern:
    return KeyPattern(kind="variance", target=factor)


def _nearer(attribute: str) -> KeyPattern:
    return KeyPattern(kind="attraction", target=attribute, variant="another concept")


def _pairs(attribute: str) -> KeyPattern:
    return KeyPattern(kind="natural-pairs", target=attribute)


_CONCEPTS, _DRAWINGS = "unseen concepts", "unseen drawings"
ORDERED: Mapping[str, Sequence[tuple[KeyPattern, int]]] = {
    "concept": [(_decoded("concept", _DRAWINGS, "k-NN"), 1), (_share("concept"), 1)],
    "category": [
        (_decoded("category", _CONCEPTS), 1),
        (_decoded("category", _CONCEPTS, "GDA", condition=SHOTS, strength=16), 1),
        (_pairs("category"), 1),
    ],
    "text": [
        (_moved("word-neutral", 0.5, BEYOND_CONTROL), 1),
        (_decoded("word", _CONCEPTS), 1),
        (_preferred("concept", "word"), -1),
        (_nearer("word"), 1),
        (_share("text"), 1),
    ],
    "color": [
        (_moved("hue", 120, "beyond noise 0.05"), 1),
        (_moved("greyscale", 1), 1),
        (_decoded("hue", _CONCEPTS), 1),
        (_preferred("concept", "hue"), -1),
        (_nearer("color"), 1),
        (_share("color"), 1),
        (_pairs("colour"), 1),
    ],
    "style": [
        (_moved("house", 1), 1),
        (_moved("oil", 0.02, BEYOND_CONTROL), 1),
        (_decoded("style", _CONCEPTS), 1),
        (_preferred("concept", "family"), -1),
        (_nearer("style"), 1),
        (_share("style"), 1),
        (_pairs("style"), 1),
    ],
}
"""By attribute, what a larger share must raise (1) or lower (-1)."""


def order_of(attribute: str) -> Check:
    """Return the check of an attribute's bundled card."""
    return lambda settings: planted(attribute, images_of_oracles(), seed=settings.seed)


def planted(attribute: str, images: Images, *, seed: int) -> Iterator[Verdict]:
    """Yield verdicts of an attribute's bundled card on an oracle that is blind to it and three with growing shares."""
    without = {attribute, "category"} if attribute == "concept" else {attribute}  # concepts share their category
    blind = Oracle("blind", {factor: 0.0 if factor in without else 0.1 for factor in FACTORS})
    seeing = [Oracle(f"{share:g}", {**blind.shares, attribute: share}) for share in PLANTED]
    card = bundled_card(CARDS.get(attribute, attribute)).only([pattern for pattern, _ in ORDERED[attribute]])
    session = OracleSession(Workspace(Path()), seed=seed)
    results = run_probe(card, images, [blind, *seeing], [], session)
    oracles = (blind, *seeing)

    def estimates(pattern: KeyPattern) -> tuple[Key | None, list[float]]:
        key = pattern.find((row.key for row in results.rows), folds=UNSEEN)
        of_key = {row.encoder: row.estimate for row in results.rows if row.key == key and not row.is_difference}
        return key, [of_key[oracle.spec.name] for oracle in oracles if oracle.spec.name in of_key]

    for pattern, sign in ORDERED[attribute]:
        key, values = estimates(pattern)
        steps = [
            sign * (b - a) > 0 or min(a, b) > _SURE or 0 <= max(a, b) < _NEVER
            for a, b in zip(values, values[1:], strict=False)
        ]
        yield Verdict(
            f"{attribute}: {key}",
            f"{'rises' if sign > 0 else 'falls'} with planted shares of 0, {', '.join(f'{s:g}' for s in PLANTED)}",
            ", ".join(f"{value:.3f}" for value in values),
            len(values) == len(oracles) and all(steps),
        )
    for planted_share, value in zip((0.0, *PLANTED), estimates(_share(attribute))[1], strict=False):
        yield Verdict(
            f"{attribute}: variance share",
            f"{planted_share:.2f} within {TOLERANCE:g}",
            f"{value:.3f}",
            abs(value - planted_share) <= TOLERANCE,
        )


@cache
def images_of_oracles() -> Images:
    """Return the images that oracles are shown: every sixth of the bundled concepts, in all their drawings."""
    images = load_images()
    kept = set(sorted(set(images.label("concept")))[::_EVERY])
    return images.take(i for i, row in enumerate(images.rows) if row.labels["concept"] in kept)
