"""Conditions of measures: all that a card embeds, read once for all of them and for all cards of a command."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from embprobe import api
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.images import Images, Row
from embprobe.images import row as module_of_rows
from embprobe.images.decoding import decode
from embprobe.interventions import registry
from embprobe.probing.card import attributes, bundled_card
from embprobe.probing.context import NotApplicable
from embprobe.probing.run import run_probe
from embprobe.selftest.oracles import Oracle, OracleSession
from tests.conftest import Ran, make_encoder, noise, row_of
from tests.probing.conftest import card_of

MIXED = Oracle("mixed", {"category": 0.2, "concept": 0.2, "text": 0.1, "color": 0.2, "style": 0.2})


@dataclass(frozen=True)
class Listening(OracleSession):
    """Remembers which sets it was told to prepare, and which were embedded."""

    wanted: Counter[str] = field(default_factory=Counter)
    embedded: Counter[str] = field(default_factory=Counter)

    def prepare(self, wanted: Sequence[Wanted], activity: str) -> None:
        self.wanted.update(each.images.fingerprint for each in wanted)

    def embed(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        self.embedded[images.fingerprint] += 1
        return super().embed(images, encoders, activity)


@pytest.mark.parametrize("attribute", [name for name in attributes() if name != "dense"])  # of tokens: test_dense.py
@pytest.mark.parametrize("labelled", [True, False])
def test_every_bundled_card_names_beforehand_all_that_it_embeds(
    attribute: str, labelled: bool, emoji: Images, workspace: Workspace
) -> None:
    kept = set(sorted(set(emoji.label("concept")))[::40])
    images = emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)
    images = images if labelled else images.labelled(lambda row: {}).take(range(40))
    session = Listening(workspace)  # natural pairs measure colours, which are stored
    try:
        run_probe(bundled_card(attribute), images, [MIXED], [], session)
    except NotApplicable:
        assert not labelled
    assert session.embedded.keys() <= session.wanted.keys()
    assert session.embedded or not labelled


# --- each image is read once -------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each file was decoded."""
    counted: Counter[bytes] = Counter()

    def counting(encoded: bytes, **options: Any) -> Image.Image:
        counted[encoded] += 1
        return decode(encoded, **options)

    monkeypatch.setattr(module_of_rows, "decode", counting)
    return counted


def files(count: int = 12) -> Images:
    """PNG files in memory, half of them of each concept and look."""
    rows = []
    for i in range(count):
        buffer = io.BytesIO()
        noise(i, (16, 12)).save(buffer, format="PNG")
        labels = {"concept": f"c{i // 2}", "name": f"thing{i // 2}", "look": f"l{i % 2}"}
        rows.append(Row(f"{i:02d}", labels, f"{i}", buffer.getvalue if i % 3 else partial(bytes, buffer.getvalue())))
    return Images("files", tuple(rows))


MOVED: Mapping[str, Any] = {
    "kind": "displacement",
    "intervention": "hue",
    "strengths": [60, 120],
    "control": "noise 0.05",
}
DRAWN: Mapping[str, Any] = {
    "kind": "decoding",
    "label": "word",
    "classifier": "knn",
    "k": 1,
    "controls": ["shuffled"],
    "fit": {"where": {"split": ["train"]}},
    "tests": {"unseen images": {"where": {"split": ["test"]}}},
    "treatments": {"thus": ["word=thus 0.9"], "maybe": ["word=maybe 0.9"]},
}
CROSSED: Mapping[str, Any] = {
    "kind": "variance",
    "unit": "concept",
    "of": ["color"],
    "factors": {"concept": "concept", "color": {"red": ["tint=20 1"], "blue": ["tint=250 1"]}},
}
FIRST: Mapping[str, Any] = {"kind": "attraction", "attribute": ["look"], "among": ["concept"]}


def test_a_card_decodes_each_image_once(workspace: Workspace, decoded: Counter[bytes]) -> None:
    encoders = [make_encoder("a", side=8), make_encoder("b", side=6)]
    results = run_probe(card_of(MOVED, DRAWN, CROSSED, FIRST), files(), encoders, [], Session(workspace))
    assert {row.key.kind for row in results.rows} == {"displacement", "decoding", "variance", "attraction"}
    assert len(decoded) == 12 and set(decoded.values()) == {1}


def test_cards_of_one_command_decode_each_image_once(workspace: Workspace, decoded: Counter[bytes]) -> None:
    cards = [card_of(MOVED), card_of(CROSSED, attribute="other", references=["reference/pixels"]), card_of(FIRST)]
    encoders = [make_encoder("a", side=8)]
    each = list(api.probe_cards(files(), cards, encoders, save=False, session=Session(workspace)))
    assert len(each) == 3 and not any(isinstance(results, NotApplicable) for results in each)
    assert len(decoded) == 12 and set(decoded.values()) == {1}


def test_cards_together_find_what_each_finds_alone(tmp_path: Path) -> None:
    cards = [card_of(MOVED, DRAWN), card_of(CROSSED, attribute="other", references=["reference/pixels"])]
    encoders = [make_encoder("a", side=8), make_encoder("b", side=6)]
    spaces = [Session(Workspace.open(tmp_path / name)) for name in ("together", "alone")]
    together = api.probe_cards(files(), cards, encoders, save=False, session=spaces[0])
    for card, results in zip(cards, together, strict=True):
        assert not isinstance(results, NotApplicable)
        alone = api.probe(files(), card, encoders, save=False, session=spaces[1])
        assert results.as_json() == alone.as_json()


def test_a_control_applies_its_intervention_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    turned: Counter[float] = Counter()
    hue = registry.INTERVENTIONS["hue"]
    (rotate,) = [hue.planner(files()).edit]  # type: ignore[attr-defined]

    def counting(strength: float) -> Any:
        edit = rotate(strength)

        def apply(image: Image.Image, rng: Any) -> Image.Image:
            turned[strength] += 1
            return edit.apply(image, rng)  # type: ignore[no-any-return]

        return replace(edit, apply=apply)

    from embprobe.interventions.base import SamePlan, matched
    from embprobe.interventions.color import match_lightness

    planner: Callable[[Images], Any] = lambda donors: SamePlan(counting)  # noqa: E731
    mine = replace(hue, planner=planner, controls={"lightness": matched(planner, match_lightness)})
    monkeypatch.setitem(registry.INTERVENTIONS, "hue", mine)
    run_probe(card_of({**MOVED, "control": "lightness"}), files(), [make_encoder("a", side=8)], [], Session(workspace))
    assert turned == {60: 12, 120: 12}


# --- what cannot be made -----------------------------------------------------------------------------------------


def test_a_measure_that_images_do_not_allow_says_so_as_before(workspace: Workspace) -> None:
    impossible = {**MOVED, "intervention": "background", "strengths": [1], "control": None}
    lacking = {"kind": "attraction", "attribute": ["breed"], "among": ["concept"]}
    results = run_probe(card_of(impossible, lacking, FIRST), files(), [make_encoder(side=8)], [], Session(workspace))
    assert {row.key.kind for row in results.rows} == {"attraction"}
    assert results.left_out == [
        "displacement: what it does to images can be done to none of 'files': '00': it has no transparent background "
        "that could be swapped",
        "attraction: it needs the label 'breed', which none of the images in 'files' has",
    ]


def test_a_card_of_which_nothing_is_possible_does_not_stop_the_others(workspace: Workspace) -> None:
    lost = card_of({"kind": "attraction", "attribute": ["breed"], "among": ["concept"]})
    each = list(
        api.probe_cards(files(), [lost, card_of(FIRST)], [make_encoder()], save=False, session=Session(workspace))
    )
    assert isinstance(each[0], NotApplicable) and not isinstance(each[1], NotApplicable)


def test_what_was_prepared_is_not_reported_again(workspace: Workspace) -> None:
    shown: list[str] = []

    def progress(activity: str, total: int) -> Any:
        shown.append(activity)
        from embprobe.embeddings.session import no_progress

        return no_progress(activity, total)

    run_probe(card_of(MOVED, FIRST), files(), [make_encoder(side=8)], [], Session(workspace, progress=progress))
    assert shown == ["Mine, 4 conditions"]


def test_an_unreadable_image_is_listed_once(photos: Path, run: Callable[..., Ran], tmp_path: Path) -> None:
    (next(iter(photos.rglob("*.png"))).parent / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\ntorn")
    card = tmp_path / "two.toml"
    head = {"schema": 1, "attribute": "mine", "title": "Mine", "question": "Does it?", "resample": "concept"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in head.items()]
    measure = 'kind = "displacement"\nintervention = "hue"\nstrengths = [60, 120]'
    card.write_text("\n".join([*lines, "[[measures]]", measure]))
    ran = run("probe", photos, "--card", card, "-e", "reference/pixels")
    assert ran.err.count("torn.png") == 1 and ran.err.count(" conditions: ") == 1


def test_rows_of_pictures_in_memory_are_shared_too(workspace: Workspace) -> None:
    images = Images("memory", tuple(row_of(f"{i}", noise(i), concept=f"c{i}") for i in range(6)))
    results = run_probe(card_of(MOVED), images, [make_encoder(side=8)], [], Session(workspace))
    assert len({row.key for row in results.rows}) == 8
