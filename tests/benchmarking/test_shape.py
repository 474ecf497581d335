"""Shape bias of planted encoders, one that sees shapes, one that sees textures, and of published decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import embprobe as ep
from embprobe.benchmarking.dataset import Dataset, dataset_of
from embprobe.benchmarking.shape import decisions_biases, shape_biases
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import GivenVectors, given_vectors
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.measures.decisions import SIXTEEN_CLASSES
from embprobe.measures.shape_bias import estimate_shape_bias
from tests.benchmarking.planted import session

CLASSES = np.array(SIXTEEN_CLASSES)
C = len(CLASSES)
PAIRS = np.array([(shape, texture) for shape in range(C) for texture in range(C)])
"""The classes of shape and texture of each image, all 256 combinations; in 16 of them both are the same."""
CONFLICT = PAIRS[:, 0] != PAIRS[:, 1]


def cues(pairs: NDArray[np.int64] = PAIRS, name: str = "cues") -> Images:
    labels = {"shape": CLASSES[pairs[:, 0]].tolist(), "texture": CLASSES[pairs[:, 1]].tolist()}
    return Images.without_pictures(name, [f"{name}/{i}" for i in range(len(pairs))], labels)


def dataset(images: Images) -> Dataset:
    return dataset_of(images, label="shape")


def seen(name: str, classes: NDArray[np.int64], images: Images) -> GivenVectors:
    """An encoder that sees of each image one class, and gives it a direction of its own."""
    return given_vectors(name, np.eye(C)[classes], images.keys)


class Reader(GivenVectors):
    """The same with a text side: a text has the direction of the class that it names."""

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        named = [next(i for i, each in enumerate(CLASSES) if f" {each}." in text) for text in texts]
        return np.eye(C)[named].astype(np.float32)


def with_text(encoder: GivenVectors) -> Reader:
    return Reader(replace(encoder.spec, has_text=True), encoder.keys, encoder.vectors)


def test_shape_alone_is_1_texture_alone_0_and_neither_covers_nothing(workspace: Workspace) -> None:
    images = cues()
    shape, texture = PAIRS.T
    third = np.where(CONFLICT, [min({0, 1, 2} - {a, b}) for a, b in PAIRS], shape)
    encoders = [seen("shapes", shape, images), seen("textures", texture, images), seen("neither", third, images)]
    notes: list[str] = []
    found = shape_biases(dataset(images), session(workspace, notes), encoders)
    assert [(each.name, each.by, each.classes) for each in found] == [
        ("shapes", "nearest mean", 16), ("textures", "nearest mean", 16), ("neither", "nearest mean", 16),
    ]  # fmt: skip
    biases = [each.biases for each in found]
    assert [(b.shape, b.texture, b.neither, b.left_out) for b in biases] == [
        (240, 0, 0, 16), (0, 240, 0, 16), (0, 0, 240, 16),
    ]  # fmt: skip
    assert [b.bias and b.bias.estimate for b in biases] == [1.0, 0.0, None]
    assert [b.coverage and b.coverage.estimate for b in biases] == [1.0, 1.0, 0.0]
    assert set(biases[0].by_class) == set(SIXTEEN_CLASSES) and notes == []


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_a_mixture_has_the_bias_of_its_decisions(workspace: Workspace, seed: int) -> None:
    images, rng = cues(), np.random.default_rng(seed)
    decided = np.where(CONFLICT, rng.integers(0, C, len(PAIRS)), PAIRS[:, 0])
    [found] = shape_biases(dataset(images), session(workspace), [seen(f"mixed-{seed}", decided, images)])
    expected = estimate_shape_bias(CLASSES[decided], CLASSES[PAIRS[:, 0]], CLASSES[PAIRS[:, 1]])
    assert found.biases == expected


def test_an_encoder_with_text_decides_by_names_too(workspace: Workspace) -> None:
    images = cues()
    encoder = with_text(seen("reader", PAIRS[:, 1], images))
    means, names = shape_biases(dataset(images), session(workspace), [encoder])
    assert (means.by, names.by) == ("nearest mean", "zero-shot") and names.classes == 16
    assert (names.biases.shape, names.biases.texture) == (0, 240) == (means.biases.shape, means.biases.texture)


def test_means_come_of_other_images_and_not_of_those_decided_on(workspace: Workspace) -> None:
    conflicts = cues(PAIRS[CONFLICT])
    photographs = Images.without_pictures(
        "photographs", [f"p/{i}" for i in range(C + 1)], {"category": [*CLASSES.tolist(), "zebra"]}
    )
    keys, classes = [*conflicts.keys, *photographs.keys], np.concatenate([PAIRS[CONFLICT][:, 0], np.arange(C), [3]])
    encoder = given_vectors("shapes", np.eye(C)[classes], keys)
    notes: list[str] = []
    [found] = shape_biases(dataset(conflicts), session(workspace, notes), [encoder], means_of=photographs)
    assert found.biases.shape == 240 and found.biases.left_out == 0
    assert notes[0].startswith("1 of 17 images of 'photographs' are of no class to decide among")
    # the same images as means: only those of one class of shape and texture count
    images, notes = cues(), []
    encoder = seen("textures", PAIRS[:, 1], images)
    [same] = shape_biases(dataset(images), session(workspace, notes), [encoder], means_of=images)
    assert same.biases.texture == 240 and notes[0].startswith("240 of 256 images of 'cues' are of no class")
    # by shape without a texture, an image would be its own mean
    own = Images.without_pictures("own", images.keys, {"shape": images.label("shape")})
    [left] = shape_biases(dataset(images), session(workspace, notes), [encoder], means_of=own)
    assert left.biases.texture == 240 and "240 of 256 images of 'own'" in notes[-1]


def test_classes_without_a_mean_are_left_out_of_decisions_by_means_alone(workspace: Workspace) -> None:
    rows = CONFLICT | (PAIRS[:, 0] < 3)  # images of the first three classes agree: 3 x 2 conflicts among them
    images = cues(PAIRS[rows])
    encoder = with_text(seen("shapes", PAIRS[rows][:, 0], images))
    notes: list[str] = []
    means, names = shape_biases(dataset(images), session(workspace, notes), [encoder])
    assert (means.biases.shape, means.classes) == (6, 3) and (names.biases.shape, names.classes) == (240, 16)
    assert notes == [
        "234 of 243 images have a shape or texture that no other image has, and are left out of decisions by class "
        "means"
    ]


def test_without_means_names_decide_and_without_names_it_is_an_error(workspace: Workspace) -> None:
    images = cues(PAIRS[CONFLICT])
    encoder, notes = seen("shapes", PAIRS[CONFLICT][:, 0], images), list[str]()
    [found] = shape_biases(dataset(images), session(workspace, notes), [with_text(encoder)])
    assert found.by == "zero-shot" and found.biases.shape == 240 and notes[0].startswith("No class means can be taken")
    with pytest.raises(EmbprobeError, match="No class means can be taken: give other images"):
        shape_biases(dataset(images), session(workspace), [encoder])


def test_images_without_a_conflict_or_a_label_are_a_sentence(workspace: Workspace) -> None:
    agreeing = cues(PAIRS[~CONFLICT])
    with pytest.raises(EmbprobeError, match="No image has a shape of one class and a texture of another"):
        shape_biases(dataset(agreeing), session(workspace), [seen("x", PAIRS[~CONFLICT][:, 0], agreeing)])
    bare = Images.without_pictures("bare", ["a", "b"], {"shape": ["cat", "car"]})
    encoder = given_vectors("x", np.eye(2), bare.keys)
    with pytest.raises(EmbprobeError, match="needs the label 'texture'"):
        shape_biases(dataset(bare), session(workspace), [encoder])
    with pytest.raises(EmbprobeError, match="needs the label 'category'"):
        images = cues()
        other = Images.without_pictures("other", ["a"], {"kind": ["cat"]})
        shape_biases(dataset(images), session(workspace), [seen("x", PAIRS[:, 0], images)], means_of=other)


def write_decisions(path: Path, *lines: tuple[str, str, str, str]) -> Path:
    """A file of decisions; a line is a subject, a decision, and the classes of shape and texture."""
    text = "subj,session,trial,rt,object_response,category,condition,imagename\n"
    for i, (subject, decision, shape, texture) in enumerate(lines):
        text += f"{subject},1,{i},0.5,{decision},{shape},cc,0001_cc_{shape}1-{texture}2.png\n"
    path.write_text(text, encoding="utf-8")
    return path


def test_published_decisions_of_people_are_counted_together_over_images_and_networks_by_themselves(
    tmp_path: Path,
) -> None:
    one = write_decisions(
        tmp_path / "people.csv",
        ("subject-01", "knife", "knife", "bicycle"),
        ("subject-01", "car", "car", "bicycle"),
        ("subject-02", "bicycle", "knife", "bicycle"),
        ("subject-02", "na", "car", "bicycle"),
    )
    two = write_decisions(
        tmp_path / "net.csv",
        ("net", "bicycle", "knife", "bicycle"),
        ("net", "dog", "car", "bicycle"),
        ("net", "unicorn", "car", "bicycle"),
    )
    notes: list[str] = []
    found = decisions_biases([one, two], note=notes.append)
    assert [each.name for each in found] == ["people (2)", "subject-01", "subject-02", "net"]
    assert [(each.biases.shape, each.biases.texture, each.biases.neither) for each in found] == [
        (2, 1, 1), (2, 0, 0), (0, 1, 1), (0, 1, 1),
    ]  # fmt: skip
    people = found[0].biases
    assert people.bias is not None and people.bias.estimate == pytest.approx(2 / 3) and people.bias.groups == 2
    assert people.coverage is not None and people.coverage.estimate == 0.75
    assert len(notes) == 1 and "1 of 3 lines of net.csv left out" in notes[0]
    assert decisions_biases([]) == []


def test_the_api_gives_encoders_and_published_decisions_in_one_list(workspace: Workspace, tmp_path: Path) -> None:
    images = cues()
    file = write_decisions(tmp_path / "net.csv", ("net", "knife", "knife", "bicycle"), ("net", "car", "knife", "car"))
    encoder = seen("shapes", PAIRS[:, 0], images)
    found = ep.shape_bias(images, encoder, decisions=file, workspace=workspace.root, device="cpu")
    assert [(each.name, each.by) for each in found] == [("shapes", "nearest mean"), ("net", "published")]
    assert [each.biases.bias and each.biases.bias.estimate for each in found] == [1.0, 0.5]
    assert ep.shape_bias(decisions=[file])[0].as_json()["bias"]["estimate"] == 0.5
    with pytest.raises(UsageError, match="needs images with the labels shape and texture, or a file of decisions"):
        ep.shape_bias()
