"""Promises on scenes: each argument is true of the picture, in pixels, and an oracle of one fact knows no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from embprobe.embeddings.workspace import Workspace
from embprobe.images.rows import Images
from embprobe.interventions import intervene
from embprobe.interventions.scenes import COUNTS, HALVES, SIDES
from embprobe.probing.card import bundled_card
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.run import run_probe
from embprobe.selftest.oracles import Oracle, OracleSession
from embprobe.selftest.pictures import Values, change, images_of, photographs, picture_row, rgb
from embprobe.selftest.planted import images_of_oracles
from embprobe.selftest.promise import Settings, Verdict, holds, near

_SIDE = 240
_MAGENTA, _CYAN = (255, 0, 255, 255), (0, 255, 255, 255)
_SEEN = 30
"""Pixels of a component that is counted; smaller ones are corners that interpolation leaves."""
FACTS: Mapping[str, str] = {"count": "count", "place": "place", "orientation": "turn"}
"""Targets of the card, each with the factor of an oracle that knows it; these are checked by the selftest."""
KNOWN = 0.3
"""The planted share of an oracle's one fact; the concept has as much."""
OFF = 0.12
"""How far from guessing an oracle that does not know the truth may be: three standard errors of about 150 images, and
as treatments are dealt evenly to all images, a label that is frequent among fitted ones is rare among tests."""


def one_fact(settings: Settings) -> Iterator[Verdict]:
    """Check that an oracle of one fact decodes it, and no other, from scenes of unseen concepts."""
    yield from facts_apart(FACTS, images_of_oracles(), seed=settings.seed)


def facts_apart(facts: Mapping[str, str], images: Images, *, seed: int) -> Iterator[Verdict]:
    """Yield for each fact whether its oracle decodes it, and whether every other oracle guesses.

    Args:
        facts: Targets of the card's decodings, each with the factor that its oracle knows.
        images: Images with concepts and the splits of the bundled ones.
        seed: Of the probe.
    """
    patterns = {
        target: KeyPattern(kind="decoding", target=target, variant="linear probe", test="unseen concepts")
        for target in facts
    }
    oracles = {target: Oracle(factor, {factor: KNOWN, "concept": KNOWN}) for target, factor in facts.items()}
    card = bundled_card("vision").only(list(patterns.values()))
    results = run_probe(card, images, list(oracles.values()), [], OracleSession(Workspace(Path()), seed=seed))
    for target in facts:
        of_target = {row.encoder: row for row in results.rows if row.key.target == target and not row.is_difference}
        guessing = of_target["guessing"].estimate
        for known, oracle in oracles.items():
            about = f"{target} decoded by an oracle of {known} alone"
            measured = of_target[oracle.spec.name].estimate
            if known == target:
                yield holds(about, "above 0.99", f"{measured:.3f}", measured > 0.99)
            else:
                yield near(about, measured, guessing, OFF)


def _disc() -> Image.Image:
    """Draw a disc on nothing, magenta above and cyan below."""
    disc = Image.new("RGBA", (_SIDE, _SIDE))
    drawing = ImageDraw.Draw(disc)
    drawing.pieslice((40, 40, _SIDE - 40, _SIDE - 40), 180, 360, _MAGENTA)
    drawing.pieslice((40, 40, _SIDE - 40, _SIDE - 40), 0, 180, _CYAN)
    return disc


def _near(image: Image.Image, *colors: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    values = rgb(image)
    near = [np.abs(values - np.array(color[:3]) / 255).max(-1) < 0.25 for color in colors]
    return np.asarray(np.any(near, axis=0), np.bool_)


def _discs(image: Image.Image) -> list[NDArray[np.int64]]:
    """Return the pixels of each disc, ``[n, 2]`` by row and column, the largest first."""
    from scipy import ndimage

    # where the halves of a disc meet, their colours blend
    whole = ndimage.binary_closing(_near(image, _MAGENTA, _CYAN), iterations=2)
    parts, number = ndimage.label(whole)
    found = [np.argwhere(parts == i + 1) for i in range(number)]
    return sorted((each for each in found if len(each) > _SEEN), key=len, reverse=True)


def _count() -> Iterator[Verdict]:
    areas = []
    for number in COUNTS:
        discs = _discs(change(_disc(), f"count={number}", 1))
        areas.append(sum(map(len, discs)))
        yield near(f"discs at count={number}", len(discs), int(number), 0)
    yield near("area of one to five discs, the largest over the smallest", max(areas) / min(areas), 1, 0.1)


def _place() -> Iterator[Verdict]:
    yield from _sides("place", SIDES, lambda image: np.array([(_SIDE - 1) / 2] * 2))


def _plant() -> Iterator[Verdict]:
    disc = _near(change(_disc(), "plant", 1), _MAGENTA, _CYAN)
    mask = rgb(change(_disc(), "plant/mask", 1))[..., 0] > 0.5
    yield near("area of the disc in the scene over that of its mask", disc.sum() / mask.sum(), 1, 0.1)
    yield near("share of the disc that its mask covers", (disc & mask).sum() / disc.sum(), 1, 0.03)
    rows, columns = np.nonzero(mask)
    yield near("length of the disc as a share of the scene", (np.ptp(rows) + 1) / _SIDE, 0.55, 0.12)
    yield near("its width over its height", (np.ptp(columns) + 1) / (np.ptp(rows) + 1), 1, 0.05)


def _beside() -> Iterator[Verdict]:
    def ball(image: Image.Image) -> Values:
        extreme = _near(image, (0, 0, 0, 255), (255, 255, 255, 255))
        return _centre(np.argwhere(extreme))

    yield from _sides("beside", HALVES, ball)


def _sides(name: str, sides: tuple[str, ...], landmark: Callable[[Image.Image], Values]) -> Iterator[Verdict]:
    """Check on which side of a landmark, by row and column, the disc stands."""
    for side in sides:
        image = change(_disc(), f"{name}={side}", 1)
        down, right = _centre(np.argwhere(_near(image, _MAGENTA, _CYAN))) - landmark(image)
        measured = ("right" if right > 0 else "left") if abs(right) > abs(down) else ("below" if down > 0 else "above")
        yield holds(f"side of the disc at {name}={side}", side, measured, measured == side)


def _centre(points: NDArray[np.int64]) -> Values:
    """Return the median of points, ``[2]``; not a number where there are none."""
    return np.median(points, axis=0) if len(points) else np.full(2, np.nan)


def _larger() -> Iterator[Verdict]:
    for side in HALVES:
        discs = _discs(change(_disc(), f"larger={side}", 1))
        large, small = discs[0], discs[-1]
        measured = "left" if large.mean(0)[1] < small.mean(0)[1] else "right"
        yield holds(f"side of the larger disc at larger={side}", side, measured, measured == side)
        yield near("area of the larger disc over that of the smaller", len(large) / len(small), 4, 0.4)


def _occluded() -> Iterator[Verdict]:
    seen = []
    for whether in ("yes", "no"):
        disc = _discs(change(_disc(), f"occluded={whether}", 1))[0]
        height, width = np.ptp(disc, axis=0) + 1
        seen.append(len(disc))
        # half a disc is twice as long as it is high; of a whole one both are the same
        proportion = float(max(height, width) / min(height, width))
        yield near(
            f"proportion of what is seen of a disc at occluded={whether}", proportion, 2 if whether == "yes" else 1, 0.1
        )
    yield near("area seen of a hidden disc over that of a whole one", seen[0] / seen[1], 1, 0.1)


def _odd() -> Iterator[Verdict]:
    for whether, expected in (("yes", 1), ("no", 0)):
        image = change(_disc(), f"odd={whether}", 1)
        cyan = _near(image, _CYAN)
        discs = _discs(image)
        turned = 0
        for disc in discs:
            upper = disc[disc[:, 0] < disc[:, 0].mean()]
            turned += bool(cyan[upper[:, 0], upper[:, 1]].mean() > 0.5)
        yield near(f"discs upside down, of {len(discs)}, at odd={whether}", turned, expected, 0)


def _present() -> Iterator[Verdict]:
    plain = Image.new("RGBA", (_SIDE, _SIDE))
    ImageDraw.Draw(plain).rectangle((60, 60, 180, 180), (255, 120, 0, 255))
    rows = images_of([picture_row("disc", _disc()), picture_row("square", plain)])
    for whether, expected in (("yes", 1), ("no", 0)):
        image = intervene(rows, f"present={whether}", 1, seed=0).rows[0].read()
        yield near(f"discs among squares at present={whether}", len(_discs(image)), expected, 0)


def _turn() -> Iterator[Verdict]:
    dot = Image.new("RGB", (9, 9))
    dot.putpixel((6, 1), (255, 255, 255))  # the column before the row
    for how, expected in (("90", (7, 6)), ("180", (2, 7)), ("270", (1, 2)), ("mirror", (2, 1))):
        row, column = np.argwhere(rgb(change(dot, f"turn={how}", 1))[..., 0] > 0.5)[0].tolist()
        yield holds(
            f"place of a dot at (6, 1) of 9 by 9 after turn={how}",
            str(expected),
            (column, row),
            (column, row) == expected,
        )
    four = photographs().rows[1].read()
    back = four
    for _ in range(2):
        back = change(back, "turn=180", 1)
    same = back.tobytes() == four.tobytes()
    yield holds("a photograph turned by 180 twice", "the same", "the same" if same else "another", same)


def _scale() -> Iterator[Verdict]:
    for share in (0.25, 0.5):
        small = change(_disc(), "scale", share)
        area = np.asarray(small)[..., 3].sum() / np.asarray(_disc())[..., 3].sum()
        yield near(f"area of a disc after scale {share:g}, relative", float(area), (1 - share) ** 2, 0.01)


UNITS: Mapping[str, Callable[[], Iterator[Verdict]]] = {
    "turn": _turn,
    "scale": _scale,
    "count": _count,
    "place": _place,
    "plant": _plant,
    "beside": _beside,
    "larger": _larger,
    "occluded": _occluded,
    "odd": _odd,
    "present": _present,
}
"""By intervention, the check of what its argument says."""
