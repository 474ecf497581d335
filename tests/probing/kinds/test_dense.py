"""Dense: which tokens are asked, what is left out where something is missing, and what is the same in all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import Session
from embprobe.embeddings.token_set import TokenSet
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder, load_encoders
from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.probing.context import NotApplicable
from embprobe.probing.dense_scenes import partners
from embprobe.probing.results import Results
from embprobe.probing.run import run_probe
from tests.conftest import Run, make_encoder, row_of, solid
from tests.probing.conftest import card_of, found_by

RANDOM = "reference/random-vit"


def cut_outs(number: int = 12, **labels: Sequence[str]) -> Images:
    """Discs and boxes of a quarter of a transparent picture, each of a colour of its own."""
    rows = []
    for i in range(number):
        picture = Image.new("RGBA", (48, 48))
        draw = ImageDraw.Draw(picture).ellipse if i % 2 else ImageDraw.Draw(picture).rectangle
        draw((12, 12, 36, 36), (20 * i, 250 - 20 * i, 128, 255))
        own = {name: values[i] for name, values in labels.items()}
        rows.append(row_of(f"{i:03d}", picture, **({"concept": f"c{i // 2}"} | own)))
    return Images("cut-outs", tuple(rows))


@dataclass(frozen=True)
class Listening(Session):
    """A session that remembers the rows and encoders of which tokens were wanted, and embeds nothing else."""

    wanted: list[tuple[str, str]] = field(default_factory=list)
    given: list[tuple[str, str]] = field(default_factory=list)

    def prepare(self, wanted: Sequence[Wanted], activity: str) -> None:
        self.wanted.extend((each.images.fingerprint, e.spec.fingerprint) for each in wanted for e in each.encoders)
        super().prepare(wanted, activity)

    def tokens(self, images: Images, encoder: Encoder, activity: str) -> TokenSet:
        self.given.append((images.fingerprint, encoder.spec.fingerprint))
        return super().tokens(images, encoder, activity)

    def embed(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        raise AssertionError("patches are asked of tokens alone")


def asked(workspace: Workspace, images: Images, names: Sequence[str], **table: object) -> tuple[Results, Listening]:
    session = Listening(workspace)
    card = card_of({"kind": "dense", **table})
    return run_probe(card, images, load_encoders(names), [], session, differences=False), session


def test_all_tokens_are_encoded_in_the_pass_before(workspace: Workspace) -> None:
    results, session = asked(workspace, cut_outs(), [RANDOM, "reference/pixels"], ask=["object"], shuffled=False)
    assert sorted(session.given) == sorted(session.wanted) and len(session.given) == 2
    assert {row.key.variant for row in results.rows} == {"mIoU", "accuracy"}
    assert {row.encoder for row in results.rows} == {RANDOM, "reference/pixels", "guessing"}


def test_a_layer_is_that_of_the_name(workspace: Workspace) -> None:
    names = [f"{RANDOM},layer=2", f"{RANDOM},layer=2,pooling=tokens", f"{RANDOM},layer=2,pooling=mean", RANDOM]
    results, session = asked(workspace, cut_outs(), names, ask=["patch place"], shuffled=False)
    numbers = {name: found_by(results, name)[0].estimate for name in names}
    assert numbers[names[0]] == numbers[names[1]] == numbers[names[2]] != numbers[RANDOM]
    assert len({spec for _, spec in session.given}) == 2


def test_pixels_stand_in_the_grid_of_the_subject(workspace: Workspace) -> None:
    fine = load_encoder("reference/pixels,pooling=tokens").with_grid(8, 8)  # type: ignore[attr-defined]
    session = Listening(workspace)
    card = card_of({"kind": "dense", "ask": ["object"], "shuffled": False})
    run_probe(card, cut_outs(), [fine], [load_encoder("reference/pixels")], session, differences=False)
    assert len({spec for _, spec in session.given}) == 1


def test_what_the_class_token_lacks_is_asked_of_those_that_have_one(workspace: Workspace) -> None:
    results, _ = asked(workspace, cut_outs(), [RANDOM, "reference/pixels"], ask=["object place"])
    variants = {
        name: {row.key.variant for row in found_by(results, name, condition=None)}
        for name in (RANDOM, "reference/pixels")
    }
    assert variants["reference/pixels"] == {"from the mean of patches", "from all patches"}
    assert variants[RANDOM] - variants["reference/pixels"] == {
        "from the class token",
        "from all patches beyond the class token",
    }
    of = {row.key.variant: row.estimate for row in found_by(results, RANDOM, condition=None)}
    beyond = of["from all patches beyond the class token"]
    assert beyond == pytest.approx(of["from all patches"] - of["from the class token"])


def test_an_encoder_without_tokens_is_left_out_and_alone_it_is_refused(workspace: Workspace) -> None:
    results, _ = asked(workspace, cut_outs(), [RANDOM, "reference/texture"], ask=["patch place"])
    assert {row.encoder for row in results.rows} == {RANDOM}
    (note,) = [note for note in results.left_out if "texture" in note]
    assert note == "patches, of reference/texture: it gives an image one vector and has no tokens"
    card = card_of({"kind": "dense"})
    with pytest.raises(NotApplicable, match="it asks patches, and test/means has no tokens"):
        run_probe(card, cut_outs(), [make_encoder()], [], Session(workspace))


def test_photographs_are_told_that_cut_outs_are_needed(workspace: Workspace) -> None:
    photographs = Images("photos", tuple(row_of(f"{i}", solid((20 * i, 9, 9)), concept=f"c{i}") for i in range(6)))
    with pytest.raises(NotApplicable, match="images with transparent parts, and 'photos' has none: '0': it has no"):
        asked(workspace, photographs, [RANDOM])
    with pytest.raises(NotApplicable, match="vectors and no pictures"):
        given = Images.without_pictures("given", ["a", "b"], {"concept": ["x", "y"]})
        run_probe(card_of({"kind": "dense"}), given, [load_encoder(RANDOM)], [], Session(workspace))


def test_a_photograph_among_cut_outs_is_left_out(workspace: Workspace) -> None:
    images = cut_outs()
    mixed = Images("mixed", (*images.rows, row_of("photo", solid((9, 9, 9)), concept="photo")))
    results, _ = asked(workspace, mixed, [RANDOM], ask=["patch place"])
    assert {row.images for row in results.rows} == {12}


def test_grids_that_differ_are_noted_and_too_coarse_ones_left_out(workspace: Workspace) -> None:
    """Of a grid of one patch, none is of the object and another of the background."""
    one, four = (load_encoder("reference/pixels,pooling=tokens").with_grid(n, n) for n in (1, 4))  # type: ignore[attr-defined]
    one.spec = replace(one.spec, model="one")
    card = card_of({"kind": "dense", "ask": ["object", "patch place"], "shuffled": False})
    results = run_probe(card, cut_outs(), [four, load_encoder(RANDOM)], [], Session(workspace), differences=False)
    assert results.left_out == []
    results = run_probe(card, cut_outs(), [four, one], [], Session(workspace), differences=False)
    assert {row.encoder for row in results.rows if row.key.target == "object or background"} == {
        four.spec.name,
        "guessing",
    }
    grids, *coarse = results.left_out
    assert "grids of 4 x 4 and 1 x 1 patches" in grids and "guessing is that of 4 x 4" in grids
    assert [note.partition(": ")[2] for note in coarse] == [
        f"object or background, of {one.spec.name}: This measure needs at least two different values of the label: "
        "all are 'background'",
        f"place of a patch, of {one.spec.name}: The truth is the same in all images, so there is nothing to explain",
    ]


def test_too_few_concepts_are_too_few_folds(workspace: Workspace) -> None:
    with pytest.raises(NotApplicable, match="need at least 3 concepts"):
        asked(workspace, cut_outs(4), [RANDOM])


def test_questions_that_miss_a_label_are_noted_alone(workspace: Workspace) -> None:
    results, _ = asked(workspace, cut_outs(), [RANDOM], ask=["patch place", "same part", "name"], shuffled=False)
    assert {row.key.target for row in results.rows} == {"place of a patch"}
    notes = " ".join(results.left_out)
    assert "several pictures of a concept that differ in family or style" in notes
    assert "not all images have a name" in notes
    named, _ = asked(workspace, cut_outs(name=[f"n{i}" for i in range(12)]), [RANDOM], ask=["patch place", "name"])
    assert any("need an encoder with text" in note for note in named.left_out)


def test_patches_are_compared_with_names_in_the_space_of_the_class_token(workspace: Workspace) -> None:
    encoder = load_encoder("bundled/clip")
    (tokens,) = encoder.views({"pooling": "tokens"})  # type: ignore[attr-defined]
    batch = torch.rand(3, 3, 48, 48, generator=torch.manual_seed(0))
    projected = tokens.project_tokens(np.ascontiguousarray(tokens.encode_images(batch)[:, 0]))
    np.testing.assert_allclose(projected, encoder.encode_images(batch), atol=1e-5)
    images = cut_outs(name=["cat", "dog", "car"] * 4)
    results, _ = asked(workspace, images, ["bundled/clip", "bundled/clip,layer=3"], ask=["name"])
    assert {(row.encoder, row.key.variant) for row in results.rows} == {
        ("bundled/clip", "its name"),
        ("bundled/clip", "another name"),
    }
    assert {row.floor for row in results.rows} == {0.5}


def test_partners_are_drawn_by_another_hand_and_depend_on_keys_alone() -> None:
    rows = cut_outs(6, concept=["a", "a", "a", "b", "b", "c"], family=["x", "x", "y", "x", "x", "y"])
    assert partners(rows, "concept", ["family"]).tolist() == [2, 2, 0, -1, -1, -1]
    turned = rows.take([5, 4, 3, 2, 1, 0])
    assert partners(turned, "concept", ["family"]).tolist() == [-1, -1, -1, 5, 3, 3]
    assert (partners(rows, "breed", ["family"]) == -1).all() and (partners(rows, "concept", ["hand"]) == -1).all()


def test_a_scene_without_a_mask_is_refused(tmp_path: Path) -> None:
    card = card_of({"kind": "dense", "scene": "count=2"})
    with pytest.raises(UsageError, match="'count=2' has no control 'mask'"):
        card.measures[0].check()


def test_all_attributes_are_all_but_those_that_take_long(run: Run, photos: Path) -> None:
    ran = run("probe", photos, "--attribute", "all", "--explain")
    assert ran.code == 0 and "Vision-centric questions: " in ran.out and "Patches: " not in ran.out
    named = run("probe", photos, "--attribute", "all", "--attribute", "dense", "--explain")
    assert "Patches: What do patch tokens know of a scene" in named.out
