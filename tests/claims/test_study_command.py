"""`embprobe study` from end to end, with reference encoders in the roles and a few emoji."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import embprobe.cli.study
from embprobe.claims.model import bundled_claims
from embprobe.claims.roles import known_roles
from embprobe.images import Images
from tests.conftest import Run

ROLES = ("-e", "clip=reference/pixels", "-e", "dino=reference/color-histogram")
NAMES = {"clip": "reference/pixels", "dino": "reference/color-histogram", "twin": "reference/random-vit"}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, emoji: Images) -> None:
    """The program's emoji are every hundredth concept."""
    kept = set(sorted(set(emoji.label("concept")))[::100])
    few = Images("few", tuple(row for row in emoji.rows if row.labels["concept"] in kept))
    monkeypatch.setattr(embprobe.cli.study, "open_rows", lambda images, run: few)


def test_a_study_is_printed_saved_drawn_and_reported(run: Run, space: Path) -> None:
    found = run("study", *ROLES)
    assert found.code == 0
    (folder,) = (space / "results").iterdir()
    assert folder.name.startswith("study-")
    assert {path.name for path in folder.iterdir()} == {"results.json", "scores.parquet", "figure.png", "figure.svg"}
    assert f"Figure: {folder / 'figure.png'}" in found.err
    saved = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    verdicts = {claim["sentence"]: claim["verdict"] for claim in saved["claims"]}
    assert list(verdicts) == [claim.sentence for claim in bundled_claims()]
    asked = [claim for claim in bundled_claims() if verdicts[claim.sentence] != "not asked"]
    played = [claim for claim in bundled_claims() if {claim.a, claim.b} == {"clip", "dino"}]
    assert {claim.sentence for claim in asked} <= {claim.sentence for claim in played} and len(asked) > 10
    printed = " ".join(found.out.replace("│", " ").split())
    assert f"Holm-corrected over the {len(asked)} claims that were asked" in printed
    assert "Not asked, for no encoder was named for 'siglip': SigLIP and CLIP are similarly accurate" in printed
    assert "variance share of color" in printed and "margin 0.05" in printed
    # cells of the row beside stand between the lines of a sentence
    assert "Paper: DINO" in printed and "(65.8" in printed and "second hand" in printed
    assert "Differs: theirs" in printed
    assert "pairs near for it only" in printed
    assert "clip is " in found.out and "its untrained twin at 'concept k-NN, unseen drawings'" in found.out
    assert "Check passed: " in found.out or "CHECK FAILED: " in found.out
    roles = "clip is reference/pixels, dino is reference/color-histogram, twin is reference/random-vit"
    assert f"Roles: {roles}." in found.out

    assert saved["roles"] == NAMES and {row["attribute"] for row in saved["results"]} == {
        "category", "geometry", "text", "color", "style", "fine-grained", "robustness", "vision", "pairs"
    }  # fmt: skip
    assert run("report").code == 0
    page = (space / "report.html").read_text(encoding="utf-8")
    assert "The study&#39;s claims" in page and "CLIP is more sensitive to the category than DINO" in page
    assert "data:image/webp;base64," in page


def test_json_is_what_is_saved_and_all_there_is_on_standard_output(run: Run, space: Path) -> None:
    found = run("study", "-e", "clip=reference/pixels", "-e", "nclip=reference/color-histogram", "--json")
    assert found.code == 0
    told = json.loads(found.out)
    (path,) = space.glob("results/*/results.json")
    assert told == json.loads(path.read_text(encoding="utf-8"))
    asked = [claim for claim in told["claims"] if claim["verdict"] != "not asked"]
    assert [(claim["a"], claim["b"], claim["number"]["target"], claim["number"]["test"]) for claim in asked] == [
        ("nclip", "clip", "category", "unseen drawings")
    ]
    assert asked[0]["difference"]["measure"] == "category decoding, unseen drawings"
    assert asked[0]["difference"]["p"] == asked[0]["difference"]["p_adjusted"]  # one claim, nothing to correct for
    assert {row["attribute"] for row in told["results"]} == {"category", "geometry"}  # no other card is asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-e", "reference/pixels"), "'reference/pixels' gives no role an encoder: write ROLE=ENCODER"),
        (("-e", "clip=reference/pixels"), "No claim has both its encoders: no encoder was named for 'dino'"),
        (("-e", "clip=reference/pixel", "-e", "dino=reference/pixels"), "Did you mean reference/pixels or"),
        ((*ROLES, "--pretrain", "100"), "--pretrain trains the encoders that are studied: leave it out or --encoder."),
    ],
)
def test_what_cannot_be_served_is_a_sentence(run: Run, space: Path, arguments: tuple[str, ...], message: str) -> None:
    found = run("study", *arguments)
    assert found.code == 2 and found.out == ""
    assert found.err.startswith("embprobe: ") and message in found.err and "Traceback" not in found.err
    assert not (space / "results").exists()


def test_the_help_names_the_roles(run: Run) -> None:
    shown = " ".join(run("study", "--help").out.replace("│", " ").split())
    assert all(f" {role}," in shown or f" {role} or twin (an untrained" in shown for role in known_roles())
