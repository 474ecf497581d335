"""Layers compared: with oracles it is known which layers see the same, so which must be nearest to each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

import embprobe as ep
from embprobe.comparing import layers as comparing
from embprobe.comparing.layer_result import CKA, LayerComparison, load_layers
from embprobe.comparing.layers import UNTRAINED, compare_layers
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoders
from embprobe.encoders.layers import choose_layers
from embprobe.encoders.spec import EncoderSpec, Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.measures.cka import cka
from embprobe.measures.mutual_knn import mutual_knn
from embprobe.selftest.oracles import Oracle, OracleSession
from tests.conftest import row_of, solid

MIXED = [{"style": (6 - 2 * i) / 10, "category": 2 * i / 10} for i in range(4)]
"""What four layers see: style at first, category at last."""


@dataclass(frozen=True)
class Deep:
    """An encoder whose layers are oracles."""

    name: str
    seen: Sequence[dict[str, float]]
    spec: EncoderSpec = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", EncoderSpec(family="oracle", model=self.name, dimension=256))

    def layers(self, asked: str = "all") -> list[Oracle]:
        return [self._layer(number) for number in choose_layers(asked, len(self.seen), self.name)]

    def _layer(self, number: int) -> Oracle:
        oracle = Oracle(f"{self.name}-{number}", self.seen[number - 1])
        object.__setattr__(oracle, "spec", replace(oracle.spec, layer=number))
        return oracle

    def encode_images(self, batch: Tensor) -> Floats:
        raise NotImplementedError

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        raise NotImplementedError


EARLY = Deep("early", [MIXED[0], MIXED[1], MIXED[2], MIXED[3]])
LATE = Deep("late", [{"text": 0.5}, {"text": 0.5}, *MIXED])
"""It does two layers later what the other does."""


@pytest.fixture(scope="module")
def few(emoji: Images) -> Images:
    kept = set(sorted(set(emoji.label("concept")))[::20])
    return emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)


@pytest.fixture(scope="module")
def compared(few: Images, tmp_path_factory: pytest.TempPathFactory) -> LayerComparison:
    session = OracleSession(Workspace.open(tmp_path_factory.mktemp("layers")))
    return compare_layers(few, [EARLY, LATE], session)


def test_a_network_that_does_the_same_two_layers_later_is_found_out(compared: LayerComparison) -> None:
    there, back = (each for each in compared.nearest if each.measure == CKA)
    assert (there.a, there.b, there.layers, there.nearest) == (
        "oracle/early",
        "oracle/late",
        (1, 2, 3, 4),
        (3, 4, 5, 6),
    )
    assert there.low == there.high == there.nearest
    # 3/6 - 1/4 = 1/4, 4/6 - 2/4 = 1/6, 5/6 - 3/4 = 1/12, 6/6 - 4/4 = 0
    assert there.deeper == there.deeper_low == there.deeper_high == pytest.approx((1 / 4 + 1 / 6 + 1 / 12) / 4)
    assert back.nearest[2:] == (1, 2, 3, 4)
    first, second, third, *_ = compared.sentences()
    assert first.startswith(f"Layer {compared.best[0].layers[0]} of oracle/early and layer ") and "0 by chance" in first
    assert second == (
        "To layers 1, 2, 3, 4 of oracle/early the nearest of oracle/late are 3, 4, 5, 6: on average deeper, by 0.12 of "
        "the depth (0.12 to 0.12)."
    )
    assert third.startswith("To layers 1, 2, 3, 4, 5, 6 of oracle/late the nearest of oracle/early are ")
    assert compared.best[0].layers in [(1, 3), (4, 6)] and compared.best[0].share > 0.5


def test_numbers_are_those_of_the_measures(compared: LayerComparison, few: Images) -> None:
    a, b = EARLY.layers("2")[0].vectors(few), LATE.layers("5")[0].vectors(few)
    assert compared.similarity("oracle/early", "oracle/late")[1, 4] == pytest.approx(cka(a, b).mean())
    assert compared.similarity("oracle/late", "oracle/early", "mutual 10-NN")[4, 1] == pytest.approx(
        mutual_knn(a, b).mean()
    )
    own = compared.similarity("oracle/early", "oracle/early")
    assert np.array_equal(own, own.T) and np.allclose(np.diagonal(own), 1)
    for each in compared.similarities:
        low, values, high = (np.array(matrix) for matrix in (each.low, each.values, each.high))
        assert (low <= values).all() and (values <= high).all()
    n = len(few)
    assert {(each.measure, each.chance) for each in compared.similarities} == {
        (CKA, 0.0),
        ("mutual 10-NN", 10 / (n - 1)),
    }
    assert compared.resampled == "motif"


def test_what_is_asked_of_it_by_name_is_there_or_named(compared: LayerComparison) -> None:
    assert compared.similarity("oracle/late", UNTRAINED).shape == (6, 6)
    assert compared.subjects == ["oracle/early", "oracle/late"] and compared.encoders[UNTRAINED].untrained
    with pytest.raises(UsageError, match="no debiased CKA of 'oracle/early' and 'oracle/other': the encoders are"):
        compared.similarity("oracle/early", "oracle/other")


def test_where_a_network_changes(few: Images, workspace: Workspace) -> None:
    sudden = Deep("sudden", [{"style": 0.6}, {"style": 0.6}, {"category": 0.6}, {"category": 0.6}])
    found = compare_layers(few, [sudden], OracleSession(workspace))
    change = next(each for each in found.changes if each.measure == CKA)
    assert change.layers == (2, 3) and change.value.estimate < 0.1 and change.ends.estimate < 0.1
    assert not found.best and not found.nearest  # no other network
    assert found.sentences()[0].startswith("oracle/sudden changes most from layer 2 to layer 3: debiased CKA ")
    some = compare_layers(few, [sudden], OracleSession(workspace), "1,4")
    assert some.sentences()[0].startswith("oracle/sudden changes most from layer 1 to layer 4 of the compared ones: ")


def test_it_is_taken_from_the_workspace_and_loaded_as_it_was_saved(few: Images, workspace: Workspace) -> None:
    session, steps = OracleSession(workspace), list[str]()
    found = compare_layers(few, [EARLY], session, "every 2")
    folder = found.save(workspace).parent
    assert load_layers(folder) == found
    again = compare_layers(few, [EARLY], session, "every 2", notify=steps.append)
    assert again == found and steps == [f"{folder / 'layers.json'} has the same comparison, made before"]
    compare_layers(few, [EARLY], session, "every 2", k=3, notify=steps.append)
    assert "layers of oracle/early" in steps


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 9}, "of version 9; this embprobe reads version 1"),
        ({"k": "ten"}, "is damaged"),
        ({"similarities": [{"measure": CKA}]}, "is damaged"),
    ],
)
def test_a_damaged_file_is_refused(few: Images, workspace: Workspace, change: dict[str, Any], reason: str) -> None:
    path = compare_layers(few, [EARLY], OracleSession(workspace), "1,2").save(workspace)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EmbprobeError, match=reason):
        load_layers(path.parent)


def test_a_matrix_that_lacks_a_layer_is_damage(few: Images, workspace: Workspace) -> None:
    path = compare_layers(few, [EARLY], OracleSession(workspace), "1,2").save(workspace)
    content = json.loads(path.read_text())
    content["similarities"][0]["values"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(EmbprobeError, match="is damaged: it has not every layer with every other"):
        load_layers(path.parent)


def test_more_images_are_sampled(few: Images, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "ROWS", 60)
    notes = list[str]()
    found = compare_layers(few, [EARLY], OracleSession(workspace, note=notes.append))
    assert (found.compared, found.images.count) == (60, len(few))
    assert notes == [f"60 random images of {len(few):,} are compared"]


def test_what_cannot_be_compared_is_refused_in_a_sentence(few: Images, workspace: Workspace) -> None:
    session = OracleSession(workspace)
    with pytest.raises(UsageError, match="'oracle/plain' has no layers to compare: leave it out"):
        compare_layers(few, [EARLY, Oracle("plain", {"style": 0.5})], session)
    with pytest.raises(UsageError, match="has 4 layers"):
        compare_layers(few, [EARLY], session, "5")
    with pytest.raises(UsageError, match="One layer of one encoder is nothing to compare"):
        compare_layers(few, [EARLY], session, "-1")
    with pytest.raises(UsageError, match="at least 1"):
        compare_layers(few, [EARLY], session, k=0)
    with pytest.raises(EmbprobeError, match="the 10 nearest, needs at least 12 images; there are 11"):
        compare_layers(few.take(range(11)), [EARLY], session)
    with pytest.raises(EmbprobeError, match="at least 4 images; there are 3"):
        compare_layers(few.take(range(3)), [EARLY], session, k=1)
    with pytest.raises(EmbprobeError, match="oracle/constant-1: All embeddings coincide"):
        compare_layers(few, [Deep("constant", [{"text": 1.0}, {"text": 1.0}])], session)


def test_few_images_are_enough_for_few_neighbours(few: Images, workspace: Workspace) -> None:
    found = compare_layers(few.take(range(12)), [EARLY], OracleSession(workspace), k=2)
    assert found.compared == 12 and all(np.isfinite(each.values).all() for each in found.similarities)


def test_layers_of_networks_are_those_of_their_names(few: Images, workspace: Workspace) -> None:
    rows = few.take(range(0, len(few), 10))
    found = ep.compare(rows, ["bundled/dino", "bundled/clip,layer=*"], layers="2,-1", workspace=workspace.root)
    assert found.subjects == ["bundled/dino", "bundled/clip"]  # the layers of one encoder are one
    assert found.encoders["bundled/clip"].layers == (2, 6) and len(found.encoders[UNTRAINED].layers) == 6
    own = load_encoders(["bundled/dino,layer=6", "bundled/clip,layer=2"])
    dino, clip = Session(workspace).embed(rows, own, "test").vectors.values()
    assert found.similarity("bundled/dino", "bundled/clip")[1, 0] == pytest.approx(cka(dino, clip).mean())
    folder = found.path(workspace).parent
    assert {path.name for path in folder.glob("*.png")} == {"layers-1.png", "within.png"}
    canvas = found.plot()
    assert len(canvas.axes) == 4  # two heat maps and their colour bars


def test_options_of_pairs_do_not_go_with_layers() -> None:
    with pytest.raises(UsageError, match="leave out by, thresholds, or leave out layers"):
        ep.compare(None, ["bundled/dino"], layers="all", by=["style"], thresholds="loose")  # type: ignore[call-overload]


def test_images_all_alike_have_no_layers_to_compare(workspace: Workspace) -> None:
    rows = Images("alike", tuple(row_of(str(i), solid((200, 0, 0))) for i in range(13)))
    with pytest.raises(EmbprobeError, match="bundled/dino,layer=1: All embeddings coincide"):
        compare_layers(rows, load_encoders(["bundled/dino"]), Session(workspace))


def test_the_page_shows_the_layers(few: Images, tmp_path: Path) -> None:
    ep.compare(few.take(range(0, len(few), 10)), ["bundled/dino"], layers="all", workspace=tmp_path)
    page = ep.write_report(workspace=tmp_path).read_text()
    assert "Which layers agree?" in page and "bundled/dino changes most from layer" in page
    assert page.count('alt="Heat maps of how far layers agree') == 1
