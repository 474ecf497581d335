"""A comparison is loaded as it was saved, whichever version of embprobe saved it, or refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embprobe.comparing.result import (
    Agreement,
    Comparison,
    ComparisonSettings,
    Disagreement,
    DisagreementPair,
    Explanation,
    ImagesSummary,
    PairContrast,
    PairSharing,
    load_comparison,
    rows_by_key,
)
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.statistics import Estimate
from tests.conftest import noise, row_of

SAVED = """\
{
  "version": 2,
  "images": {"name": "photos", "fingerprint": "1b50a4e60b45f52a", "count": 10},
  "images_compared": 9,
  "encoders": {"reference/pixels": "49d1588afbd3c68b", "test/means": "0a0a0a0a0a0a0a0a"},
  "terms": {
    "k": 3,
    "by": ["split"],
    "pairs": 1,
    "near_far": [0.9, 0.8],
    "far_near": null,
    "percentiles": [0.95, 0.5],
    "sampled": 20000,
    "most_per_image": 4
  },
  "images_whose_neighbours_were_compared": 9,
  "resampled": "image",
  "seed": 7,
  "agreement": [
    {
      "measure": "mutual 3-NN",
      "a": "reference/pixels",
      "b": "test/means",
      "found": {"estimate": 0.5, "low": 0.25, "high": 0.75, "images": 9, "groups": 9, "p": null},
      "chance": 0,
      "chance_high": 0.375
    }
  ],
  "explanation": [
    {
      "attribute": "color",
      "a": "reference/pixels",
      "b": "test/means",
      "of_a": {"estimate": 0.5, "low": 0.25, "high": 0.75, "images": 9, "groups": 9, "p": null},
      "of_b": {"estimate": 0.25, "low": 0.0, "high": 0.5, "images": 9, "groups": 9, "p": null},
      "difference": {"estimate": 0.25, "low": 0.125, "high": 0.5, "images": 9, "groups": 9, "p": 0.01}
    }
  ],
  "disagreement": [
    {
      "near": "reference/pixels",
      "far": "test/means",
      "limits": [0.9, 0.8],
      "found": 30,
      "counted": 24,
      "images": 6,
      "busiest": 4,
      "sharing": [
        {
          "attribute": "color",
          "distance": true,
          "share": {"estimate": 0.5, "low": 0.25, "high": 0.75, "images": 9, "groups": 9, "p": null},
          "matched": 0.75,
          "beyond": {"estimate": -0.25, "low": -0.5, "high": 0.0, "images": 9, "groups": 9, "p": 0.06}
        }
      ],
      "pairs": [
        {
          "keys": ["a.png", "b.png"],
          "cosines": [0.95, 0.25],
          "percentiles": [0.99, 0.5],
          "same": {"split": true},
          "color": 0.125
        }
      ]
    },
    {
      "near": "test/means",
      "far": "reference/pixels",
      "limits": [0.5, 0.25],
      "found": 0,
      "counted": 0,
      "images": 0,
      "busiest": 0,
      "sharing": [],
      "pairs": []
    }
  ],
  "pairs_looked_at": 36,
  "contrast": [
    {
      "attribute": "color",
      "distance": true,
      "a": "reference/pixels",
      "b": "test/means",
      "difference": {"estimate": -0.25, "low": -0.5, "high": -0.125, "images": 9, "groups": 9, "p": 0.01}
    }
  ]
}
"""
COMPARISON = Comparison(
    images=ImagesSummary("photos", "1b50a4e60b45f52a", 10),
    compared=9,
    encoders={"reference/pixels": "49d1588afbd3c68b", "test/means": "0a0a0a0a0a0a0a0a"},
    settings=ComparisonSettings(k=3, by=("split",), pairs=1, near_far=(0.9, 0.8), most_per_image=4),
    queries=9,
    resampled="image",
    seed=7,
    agreements=(
        Agreement("mutual 3-NN", "reference/pixels", "test/means", Estimate(0.5, 0.25, 0.75, 9, 9), 0.0, 0.375),
    ),
    explanations=(
        Explanation(
            "color",
            "reference/pixels",
            "test/means",
            Estimate(0.5, 0.25, 0.75, 9, 9),
            Estimate(0.25, 0.0, 0.5, 9, 9),
            Estimate(0.25, 0.125, 0.5, 9, 9, p=0.01),
        ),
    ),
    disagreements=(
        Disagreement(
            "reference/pixels",
            "test/means",
            (0.9, 0.8),
            30,
            24,
            6,
            4,
            (
                PairSharing(
                    "color",
                    True,
                    Estimate(0.5, 0.25, 0.75, 9, 9),
                    0.75,
                    Estimate(-0.25, -0.5, 0.0, 9, 9, p=0.06),
                ),
            ),
            (DisagreementPair(("a.png", "b.png"), (0.95, 0.25), (0.99, 0.5), {"split": True}, 0.125),),
        ),
        Disagreement("test/means", "reference/pixels", (0.5, 0.25), 0, 0, 0, 0, (), ()),
    ),
    looked_at=36,
    contrasts=(
        PairContrast("color", True, "reference/pixels", "test/means", Estimate(-0.25, -0.5, -0.125, 9, 9, p=0.01)),
    ),
)


def put(folder: Path, text: str) -> Path:
    (folder / "comparison.json").write_text(text, encoding="utf-8")
    return folder


def test_a_file_without_a_version_is_of_the_first(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"comparison version 1; this embprobe reads version 2\. Remove"):
        load_comparison(put(tmp_path, SAVED.replace('"version": 2,', "")))


def test_a_comparison_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    path = COMPARISON.save(Workspace.open(tmp_path / "new"))
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(SAVED)
    loaded = load_comparison(path.parent)
    assert loaded == COMPARISON and loaded.fingerprint == COMPARISON.fingerprint
    assert loaded.sentence("reference/pixels", "test/means") == (
        "Similarity goes more with color (by 0.250, 0.125 to 0.500) for reference/pixels."
    )
    assert loaded.pair_sentence("reference/pixels", "test/means") == (
        "Pairs have more in common than random ones, and than those of the other kind: "
        "those near for reference/pixels only in color."
    )
    assert [(near.near, far.near) for near, far in loaded.both_ways()] == [("reference/pixels", "test/means")]


def test_names_that_are_no_text_are_loaded_as_they_were(tmp_path: Path) -> None:
    odd = replace(COMPARISON, images=ImagesSummary("\udce9", "0", 1), encoders={"python:\udce9": "0"})
    assert load_comparison(odd.save(Workspace.open(tmp_path / "new")).parent) == odd


def test_rows_are_found_by_the_keys_that_are_printed() -> None:
    row = row_of("\udce9.png", noise(0))
    assert rows_by_key(Images("one", (row,))) == {"\\xe9.png": row}


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_a_comparison_of_another_version_is_refused(tmp_path: Path, version: object) -> None:
    put(tmp_path, json.dumps({"version": version}))
    with pytest.raises(EmbprobeError, match=rf"comparison version {version}; this embprobe reads version 2\. Remove"):
        load_comparison(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 2}', "[" * 100_000, SAVED.replace("0.375", "NaN")]
)
def test_a_file_that_is_none_is_damaged(tmp_path: Path, text: str) -> None:
    with pytest.raises(EmbprobeError, match=r"comparison\.json' is damaged\. Remove it, and run 'embprobe compare'"):
        load_comparison(put(tmp_path, text))


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("images", "count"), "many", "images.count"),
        (("images", "name"), None, "images.name"),
        (("images_compared",), 1.5, "images_compared"),
        (("encoders",), ["reference/pixels"], "encoders"),
        (("terms", "near_far"), [0.5], "terms.near_far.1"),
        (("agreement", 0, "found"), {"estimate": 0.5}, "agreement.0.found.low"),
        (("agreement", 0, "chance"), "0", "agreement.0.chance"),
        (("explanation", 0, "difference", "p"), "small", "explanation.0.difference.p"),
        (("disagreement", 0, "pairs", 0, "keys"), ["a", "b", "c"], "disagreement.0.pairs.0.keys"),
        (("disagreement", 0, "pairs", 0, "same", "split"), 1, "disagreement.0.pairs.0.same.split"),
        (("disagreement", 0, "pairs", 0, "color"), "red", "disagreement.0.pairs.0.color"),
        (("disagreement", 0, "sharing", 0, "matched"), "most", "disagreement.0.sharing.0.matched"),
        (("contrast", 0, "distance"), 1, "contrast.0.distance"),
    ],
)
def test_a_wrong_value_is_damage_and_its_key_is_known(
    tmp_path: Path, path: tuple[Any, ...], value: object, key: str
) -> None:
    content = json.loads(SAVED)
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(EmbprobeError, match=r"comparison\.json' is damaged\. Remove it") as damage:
        load_comparison(put(tmp_path, json.dumps(content)))
    assert f"is damaged at '{key}':" in str(damage.value.__cause__)


def test_a_comparison_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"comparison\.json' cannot be read: No such file"):
        load_comparison(tmp_path)
