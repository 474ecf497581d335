"""Results and comparisons as they lie in a workspace, with names that try to act; images and stores for the map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from embprobe.comparing.result import (
    FILE,
    Agreement,
    Comparison,
    ComparisonSettings,
    Disagreement,
    DisagreementPair,
    Explanation,
    ImagesSummary,
    PairSharing,
)
from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.images import Images
from embprobe.probing.key import Key
from embprobe.probing.results import VERSION, Result
from embprobe.report import write_report
from embprobe.statistics import Estimate
from embprobe.system.files import write_json

HOSTILE = "<script>alert(1)</script> & {{ 7 * 7 }} \u202e"
M = asdict(Key(kind="geometry", target="m"))
SAID: dict[str, Any] = {
    "key": None,
    "numbers": {},
    "sentences": ["a notices it 2.00 times as much as b.", HOSTILE],
    "checks": [
        {"encoder": "reference/pixels", "key": M, "passed": True, "text": f"it failed as it should {HOSTILE}"},
        {"encoder": "reference/pixels", "key": M, "passed": False, "text": f"0.9, above the limit {HOSTILE}"},
    ],
}


def row(**changes: Any) -> Result:
    facts: dict[str, Any] = {
        "attribute": "color",
        "key": Key(kind="geometry", target=HOSTILE),
        "encoder": HOSTILE,
        "role": "subject",
        "resampled": "concept",
        "groups": 5,
        "images": 10,
        "estimate": 0.25,
        "low": 0.125,
        "high": 0.5,
        "unit": "accuracy",
    }
    return Result(**facts | changes)


def save(workspace: Workspace, name: str, *rows: Result, **changes: Any) -> None:
    content = {
        "version": VERSION,
        "card": {
            "title": HOSTILE, "question": HOSTILE, "about": HOSTILE, "resample": "concept", "sources": [HOSTILE]
        },
        "images": {"name": HOSTILE, "fingerprint": "0", "count": 10},
        "encoders": [],
        "seed": 0,
        "versions": {"embprobe": "0"},
        "conclusions": SAID,
        "left_out": [f"zero-shot: nobody reads {HOSTILE}"],
        "results": [each.as_json() for each in rows or (row(),)],
        **changes,
    }  # fmt: skip
    folder = workspace.results(name)
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


def page_of(workspace: Workspace, **options: Any) -> str:
    return write_report(workspace, workspace.root / "page.html", **options).read_text(encoding="utf-8")


PAIR = ("reference/pixels", "reference/color-histogram")


def fill(workspace: Workspace, images: Images, encoders: Sequence[str] = PAIR, name: str = "one", **card: Any) -> None:
    """Embeddings of these images, and a result that was asked of them."""
    loaded = [load_encoder(each) for each in encoders]
    extract(images, loaded, workspace)
    facts = {"title": "Colour", "question": "Is it seen?", "attribute": "color", "sources": [], **card}
    save(
        workspace,
        name,
        *(row(encoder=each) for each in encoders),
        card=facts,
        images={"name": images.name, "fingerprint": images.fingerprint, "count": len(images)},
        encoders=[{**asdict(each.spec), "fingerprint": each.spec.fingerprint} for each in loaded],
    )


def save_comparison(workspace: Workspace, images: Images, *pairs: tuple[str, str], name: str = "compare-1") -> None:
    """A comparison in which the first encoder takes these pairs for the same, and the second none."""
    measured = Estimate(0.5, 0.25, 0.75, images=len(images), groups=len(images))
    a, b = PAIR
    shown = [DisagreementPair(keys, (0.9, -0.1), (0.99, 0.01), {"style": False}, 0.5) for keys in pairs]
    sharing = PairSharing(HOSTILE, False, measured, 0.25, measured)
    comparison = Comparison(
        images=ImagesSummary.of(images),
        compared=len(images),
        encoders={name: load_encoder(name).spec.fingerprint for name in PAIR},
        settings=ComparisonSettings(),
        queries=len(images),
        resampled="concept",
        seed=0,
        agreements=(Agreement("debiased CKA", a, b, measured, 0.0, 0.0625),),
        explanations=(Explanation(HOSTILE, a, b, measured, measured, measured),),
        disagreements=(
            Disagreement(a, b, (0.9, 0.1), 40, 40, 12, 7, (sharing,), tuple(shown)),
            Disagreement(b, a, (0.8, 0.2), 0, 0, 0, 0, (), ()),
        ),
        looked_at=780,
        contrasts=(),
    )
    write_json(workspace.results(name) / FILE, comparison.as_json())


@pytest.fixture(scope="session")
def few(emoji: Images) -> Images:
    """Forty emoji, two of them with names that try to act; none can be opened again by name."""
    rows = [emoji.rows[i] for i in range(0, 8000, 200)]
    rows[0] = replace(rows[0], labels={**rows[0].labels, "name": HOSTILE, "style": HOSTILE})
    rows[1] = replace(rows[1], key=f"{HOSTILE}.png", labels={})
    return Images("few emoji", tuple(rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of one colour each."""
    colors = {"red": "#f00", "green": "#0f0", "blue": "#00f", "grey": "#888", "white": "#fff"}
    for name, color in colors.items():
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), color).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "space")
