"""The figure of a study: a row a claim, by unit, with its margin, its interval and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from embprobe.claims.model import bundled_claims
from embprobe.claims.verdicts import Decision
from embprobe.plots import claims
from embprobe.plots.claims import plot_claims
from embprobe.plots.style import figure
from embprobe.probing.key import Key
from embprobe.probing.results import Result

CLAIMS = bundled_claims()
SENSITIVE, MOVES = "sensitive to the category", "moved by a turned hue"
CATEGORY = Key(kind="decoding", target="category", variant="linear probe", test="unseen drawings")
DIFFERENCE = Result(
    attribute="category", key=CATEGORY, encoder="a", role="subject", against="b", resampled="concept", groups=60,
    images=90, estimate=0.02, low=0.01, high=0.03, p=0.01, p_adjusted=0.02, unit="accuracy",
)  # fmt: skip
MOVED = replace(DIFFERENCE, unit="distance", estimate=-0.5, low=-0.6, high=-0.4, groups=20)


def decisions() -> list[Decision]:
    """More, similar, at least, and one that was not asked; the second in another unit."""
    more, moved = (next(claim for claim in CLAIMS if claim.quality == quality) for quality in (SENSITIVE, MOVES))
    similar, least = (next(claim for claim in CLAIMS if claim.relation == each) for each in ("similar", "at least"))
    assert (more.relation, similar.margin, least.margin) == ("more", 0.05, 0.05)
    return [
        Decision(claim=similar, verdict="not asked", because="bundled/siglip is not trained"),
        Decision(claim=more, verdict="reproduced", difference=DIFFERENCE),
        Decision(claim=moved, verdict="not reproduced", difference=MOVED),
        Decision(claim=similar, verdict="undecided", difference=DIFFERENCE),
        Decision(claim=least, verdict="undecided", difference=DIFFERENCE),
    ]


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of the figure, as they are when it is done."""
    kept: list[Axes] = []

    @contextmanager
    def watched(**size: Any) -> Iterator[Any]:
        with figure(**size) as (canvas, found):
            yield canvas, found
            kept.extend(canvas.axes)

    monkeypatch.setattr(claims, "figure", watched)
    return kept


def test_a_picture_is_written_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "new" / "figure.png"
    plot_claims(decisions(), out)
    assert sorted(out.parent.iterdir()) == [out, out.with_suffix(".svg")]
    with Image.open(out) as image:
        image.load()
        assert image.format == "PNG" and image.width > 800 and image.height > 400
        assert len(image.getcolors(10_000) or range(10_000)) > 50  # no empty page


def test_a_panel_is_a_unit_and_the_last_is_of_what_was_not_asked(axes: list[Axes], tmp_path: Path) -> None:
    plot_claims(decisions(), tmp_path / "figure.png")
    assert [axis.get_xlabel() for axis in axes] == ["difference in accuracy", "difference in distance", ""]
    assert [len(axis.get_yticks()) for axis in axes] == [3, 1, 1]
    words = [[text.get_text() for text in axis.texts] for axis in axes]
    assert words == [["reproduced", "undecided", "undecided"], ["not reproduced"], ["not asked"]]
    colors = {text.get_text(): text.get_color() for axis in axes for text in axis.texts}
    assert len(set(map(str, colors.values()))) == 4
    first = " ".join(axes[0].get_yticklabels()[0].get_text().split())
    assert first == "CLIP is more sensitive to the category than DINO (clip - dino)"


def test_margins_are_shaded_from_end_to_end(axes: list[Axes], tmp_path: Path) -> None:
    plot_claims(decisions(), tmp_path / "figure.png")
    shaded = [patch for patch in axes[0].patches if isinstance(patch, Rectangle)]
    ends = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in shaded]
    assert ends == [pytest.approx((-0.05, 0.05)), pytest.approx((-0.05, 0.0))]  # none of 'more'
    assert not axes[2].patches


def test_zero_is_always_in_sight(axes: list[Axes], tmp_path: Path) -> None:
    plot_claims(decisions(), tmp_path / "figure.png")
    low, high = axes[1].get_xlim()
    assert low < -0.6 and high > 0


@pytest.mark.parametrize("verdict", ["reproduced", "not asked"])
def test_one_claim_is_drawn(tmp_path: Path, verdict: str) -> None:
    (chosen,) = [decision for decision in decisions() if decision.verdict == verdict]
    plot_claims([chosen], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_an_interval_that_misses_its_estimate_by_rounding_is_drawn(tmp_path: Path) -> None:
    row = replace(DIFFERENCE, low=DIFFERENCE.estimate + 1e-12)
    plot_claims([Decision(claim=CLAIMS[0], verdict="undecided", difference=row)], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").exists()
