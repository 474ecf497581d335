"""Cells: the numbers of scikit-learn, kept, gone on with, and never mistaken for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from torch import Tensor

from embprobe.benchmarking import run as running
from embprobe.benchmarking.cell import Cell, load_cell, load_scores
from embprobe.benchmarking.dataset import Dataset, dataset_of
from embprobe.benchmarking.run import Ran, run_benchmark
from embprobe.benchmarking.tasks import Part, Texts, find_task
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import given_vectors
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.images.dataset_cards import find_dataset
from tests.benchmarking.planted import encoder, flowers, session
from tests.conftest import make_encoder, real_images


def run(dataset: Dataset | Sequence[Dataset], encoders: Sequence[Encoder], tasks: str, workspace: Workspace) -> Ran:
    datasets = [dataset] if isinstance(dataset, Dataset) else dataset
    return run_benchmark(datasets, encoders, [find_task(name) for name in tasks.split()], session(workspace))


def values(ran: Ran) -> dict[tuple[str, str], float]:
    return {(cell.task, cell.encoder.name): cell.value.estimate for cell in ran.cells}


def test_k_nn_and_accuracy_are_those_of_scikit_learn(workspace: Workspace) -> None:
    dataset = flowers({"rose": 60, "iris": 40, "lily": 50})
    a = encoder("a", dataset, noise=0.6)
    found = values(run(dataset, [a], "knn-1", workspace))
    labels, splits = np.array(dataset.images.label("category")), np.array(dataset.images.label("split"))
    x = normalize(np.asarray(a.vectors, np.float64))
    reference = KNeighborsClassifier(1).fit(x[splits == "train"], labels[splits == "train"])
    assert found["knn-1", "a"] == reference.score(x[splits == "test"], labels[splits == "test"])


def test_mean_per_class_is_balanced_accuracy(workspace: Workspace) -> None:
    dataset = replace(flowers({"rose": 90, "iris": 20}), metric="mean per class")
    a = encoder("a", dataset, noise=0.7)
    ran = run(dataset, [a], "knn-1", workspace)
    (cell,), (scored,) = ran.cells, ran.scores
    truth = np.array(scored.classes)
    predicted = np.where(scored.values == 1, truth, np.where(truth == "rose", "iris", "rose"))
    assert cell.main == "mean per class" and cell.chance == 0.5
    assert cell.value.estimate == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert cell.numbers["accuracy"].estimate == pytest.approx((truth == predicted).mean())
    per_class = {name: each.estimate for name, each in cell.per_class.items()}
    assert np.mean(list(per_class.values())) == pytest.approx(cell.value.estimate)
    assert {name: each.images for name, each in cell.per_class.items()} == {"rose": 45, "iris": 10}


def test_chance_of_balanced_folds_is_one_over_the_number_of_classes(workspace: Workspace) -> None:
    dataset = flowers({f"class {i}": 13 for i in range(7)}, test=0)  # 13 in five folds: 3, 3, 3, 2, 2
    a = encoder("a", dataset, noise=0.1, dimension=8)
    (cell,) = run(dataset, [a], "knn-1", workspace).cells
    assert cell.chance == pytest.approx(1 / 7) and cell.split.tested == 91


def test_cells_are_kept_and_only_new_ones_are_scored(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = flowers({"rose": 20, "iris": 20})
    a, b = encoder("a", dataset, noise=0.5), encoder("b", dataset, noise=0.9, seed=1)
    first = run(dataset, [a], "knn-1 gda", workspace)
    assert first.scored == 2
    second = run(dataset, [a, b], "knn-1 gda", workspace)
    assert second.scored == 2 and [cell for cell in second.cells if cell.encoder.name == "a"] == list(first.cells)
    monkeypatch.setattr(running, "_score", None)  # nothing is scored any more
    third = run(dataset, [a, b], "knn-1 gda", workspace)
    assert third.scored == 0 and third.cells == second.cells


def test_what_decides_a_score_makes_another_cell(workspace: Workspace) -> None:
    dataset = flowers({"rose": 20, "iris": 20})
    a = encoder("a", dataset, noise=0.5)
    (cell,) = run(dataset, [a], "knn-1", workspace).cells
    keys, columns = dataset.images.keys, {name: dataset.images.values(name) for name in ("category", "split")}
    other = [*columns["category"][1:], "rose"]
    relabelled = dataset_of(Images.without_pictures("flowers", keys, {**columns, "category": other}))
    turned = [{"train": "test", "test": "train"}[str(value)] for value in columns["split"]]
    swapped = dataset_of(Images.without_pictures("flowers", keys, {**columns, "split": turned}))
    same_name = encoder("a", dataset, noise=0.5, seed=9)
    for changed, vectors in ((relabelled, a), (swapped, a), (dataset, same_name)):
        ran = run(changed, [vectors], "knn-1", workspace)
        assert ran.scored == 1 and ran.cells[0].fingerprint != cell.fingerprint
    assert run(dataset, [a], "knn-1", workspace).cells == [cell]


def test_damaged_records_are_scored_again_and_a_newer_one_is_refused(workspace: Workspace) -> None:
    dataset = flowers({"rose": 20, "iris": 20})
    a = encoder("a", dataset, noise=0.5)
    ran = run(dataset, [a], "knn-1", workspace)
    (path,), (cell,) = ran.paths, ran.cells
    for damage in ("", "{", "[]", '{"schema": 1}'):
        path.write_text(damage)
        assert run(dataset, [a], "knn-1", workspace).cells == [cell] or load_cell(path).numbers == cell.numbers
    path.with_suffix(".parquet").unlink()
    assert run(dataset, [a], "knn-1", workspace).scored == 1
    path.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(EmbprobeError, match="cannot be read. Remove it and its record"):
        run(dataset, [a], "knn-1", workspace)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(EmbprobeError, match="is of schema 2; this embprobe reads up to 1"):
        load_cell(path)


def test_a_task_that_is_impossible_is_left_out_and_the_others_are_scored(workspace: Workspace) -> None:
    dataset = flowers({"rose": 2, "iris": 2})  # one each to fit on
    ran = run(dataset, [encoder("a", dataset, noise=0.1)], "gda knn-1", workspace)
    assert [cell.task for cell in ran.cells] == ["knn-1"]
    (left_out,) = ran.left_out
    assert (left_out.task, left_out.encoder) == ("gda", "a") and "two different embeddings" in left_out.reason


def test_a_data_set_that_cannot_be_split_costs_no_other(workspace: Workspace) -> None:
    good, bad = flowers({"rose": 20, "iris": 20}), flowers({"rose": 4, "iris": 1}, test=0, name="few")
    both = np.concatenate([np.asarray(encoder("a", each, noise=0.1).vectors) for each in (good, bad)])
    vectors = [given_vectors("a", both, [*good.images.keys, *bad.images.keys])]
    ran = run([bad, good], vectors, "knn-1", workspace)
    assert [cell.dataset.name for cell in ran.cells] == ["flowers"]
    assert [(each.dataset, each.task) for each in ran.left_out] == [("few", "")]
    assert "there is nothing to fit on" in ran.left_out[0].reason


def test_nothing_to_do_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="at least one data set, one encoder and one task"):
        run_benchmark([], [], [], session(workspace))


def test_scores_lie_beside_the_record(workspace: Workspace) -> None:
    dataset = flowers({"rose": 20, "iris": 20})
    ran = run(dataset, [encoder("a", dataset, noise=0.5)], "knn-1", workspace)
    (path,) = ran.paths
    scored = load_scores(path)
    assert scored.keys == [
        key for key, split in zip(dataset.images.keys, dataset.images.label("split"), strict=True) if split == "test"
    ]
    assert scored.values.mean() == load_cell(path).value.estimate == ran.cells[0].value.estimate


def test_the_linear_probe_on_cifar_10_is_near_scikit_learns_and_k_nn_is_equal(workspace: Workspace) -> None:
    from embprobe.encoders import load_encoder

    images = real_images("cifar-10.parquet")
    splits = np.array(images.label("split"))
    rows = np.concatenate([np.flatnonzero(splits == "train")[::4], np.flatnonzero(splits == "test")[::5]])
    dataset = dataset_of(images.take(rows))
    pixels = load_encoder("reference/pixels", device="cpu")
    ran = run(dataset, [pixels], "knn-1 linear-probe", workspace)
    found = values(ran)
    embedded = session(workspace).embed(dataset.images, [pixels], "")
    x, labels = np.asarray(embedded.vectors["reference/pixels"], np.float64), embedded.label("category")
    train = embedded.label("split") == "train"
    nearest = KNeighborsClassifier(1, metric="cosine").fit(x[train], labels[train])
    assert found["knn-1", "reference/pixels"] == pytest.approx(nearest.score(x[~train], labels[~train]), abs=1e-3)
    scale = x[train].std()
    best = max(
        LogisticRegression(C=c, max_iter=300)
        .fit(x[train] / scale, labels[train])
        .score(x[~train] / scale, labels[~train])
        for c in (1e-3, 1e-2)
    )
    assert found["linear-probe", "reference/pixels"] == pytest.approx(best, abs=0.015)


def test_texts_of_classes_are_the_whole_list_in_all_templates(workspace: Workspace, tmp_path: Path) -> None:
    colors = {"red": (255, 0, 0), "green": (0, 255, 0)}
    for name, color in colors.items():
        for i in range(6):
            (tmp_path / "colors" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), color).save(tmp_path / "colors" / name / f"{i}.png")
    asked: list[str] = []

    def text(texts: Sequence[str]) -> Tensor:
        asked.extend(texts)
        axes = {"red": 0, "green": 1, "blue": 2}
        return torch.eye(3)[[next(axis for name, axis in axes.items() if name in each) for each in texts]]

    dataset = dataset_of(load_images(str(tmp_path / "colors")))
    dataset = replace(dataset, classes=("red", "green", "blue"), templates=("a {}.", "the {}."))
    ran = run(dataset, [make_encoder(text=text)], "zero-shot", workspace)
    assert sorted(asked) == sorted(f"{word} {name}." for word in ("a", "the") for name in ("red", "green", "blue"))
    assert ran.cells[0].value.estimate == 1.0 and ran.cells[0].dataset.classes == 3


def test_tasks_are_named_with_a_suggestion() -> None:
    assert find_task("knn-7").title == "k-NN (7)"
    with pytest.raises(UsageError, match="There is no task 'linear-prob'. Did you mean 'linear-probe'?"):
        find_task("linear-prob")
    for name in ("knn-0", "knn-", "knn--1", "knn-1.5", "few"):
        with pytest.raises(UsageError):
            find_task(name)


def test_captions_find_their_image_and_images_their_caption() -> None:
    none, unknown = np.empty(0, np.str_), np.array([""] * 3)
    vectors = np.array([[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]])  # two captions of the first image
    texts = Texts(np.array(["a cat", "a kitten", "a dog", "a cow"]), vectors, np.array([0, 0, 1, 2]))
    images = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0.1]])  # the third is nearer to the dog's text
    part = Part(np.empty((0, 3)), none, none, images, unknown, captions=texts)
    assert find_task("image-to-text").score(part).tolist() == [1, 1, 0]
    assert find_task("text-to-image").score(part).tolist() == [1, 1, 1]
    moved = replace(part, test=np.array([[1.0, 0, 0], [1, 0.2, 0], [0, 0, 1]]))
    assert find_task("text-to-image").score(moved).tolist() == [0.5, 1, 1]  # the kitten's text is as near to the second


def test_a_cell_is_read_as_it_was_written(workspace: Workspace) -> None:
    dataset = flowers({"rose": 20, "iris": 20})
    ran = run(dataset, [encoder("a", dataset, noise=0.5)], "gda", workspace)
    cell = ran.cells[0]
    assert Cell.model_validate(cell.model_dump(mode="json", by_alias=True)) == cell
    assert cell.versions.keys() >= {"embprobe", "torch", "numpy"} and cell.seconds >= 0


def test_few_shot_is_impossible_where_a_class_has_fewer_images(workspace: Workspace) -> None:
    dataset = flowers({"rose": 20, "iris": 6})
    ran = run(dataset, [encoder("a", dataset, noise=0.1)], "few-shot-1 few-shot-4", workspace)
    assert [cell.task for cell in ran.cells] == ["few-shot-1"] and ran.cells[0].value.estimate == 1.0
    assert "'iris' has 3 images to fit on, fewer than the 4" in ran.left_out[0].reason


def test_a_set_that_only_tests_is_tested_by_the_one_it_is_fitted_on(workspace: Workspace) -> None:
    training = replace(flowers({"rose": 20, "iris": 20}, name="garden"), card="garden")
    sketches = replace(flowers({"rose": 5, "iris": 5}, test=0, name="sketches"), fitted_on="garden", only_tests=True)
    keys = [*training.images.keys, *sketches.images.keys]
    parts = [np.asarray(encoder("a", each, noise=0.1).vectors) for each in (training, sketches)]
    vectors = given_vectors("a", np.concatenate(parts), keys)
    ran = run([sketches, training], [vectors], "knn-1", workspace)
    assert [(cell.dataset.name, cell.split.name, cell.split.fitted_on) for cell in ran.cells] == [
        ("sketches", "fitted on garden", "garden"),
        ("garden", "train → test", ""),
    ]
    assert [(cell.split.fitted, cell.split.tested) for cell in ran.cells] == [(20, 10), (20, 20)]
    notes: list[str] = []
    with_notes = session(workspace, notes)
    alone = run_benchmark([sketches], [vectors], [find_task("knn-1")], with_notes)
    assert not alone.cells
    reason = "there is nothing to fit on, so tasks that fit are left out: name garden with its place, too"
    assert f"sketches, all images: {reason}" in notes


def pictures(folder: Path, shared: int) -> Dataset:
    """Ten training and ten test pictures of two classes; so many of the tests are copies of training images."""
    for i in range(20):
        split, name = ("train", "test")[i >= 10], ("red", "green")[i % 2]
        path = folder / split / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = np.array([230, 20, 20] if name == "red" else [20, 230, 20])
        pixels = np.clip(color + np.random.default_rng(i).normal(0, 40, (12, 12, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    for i in range(shared):
        copy = folder / "test" / ("red", "green")[i % 2] / f"{10 + i}.png"
        copy.write_bytes((folder / "train" / ("red", "green")[i % 2] / f"{i}.png").read_bytes())
    return dataset_of(load_images(str(folder)))


def test_test_images_that_are_training_images_are_counted_and_removed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, notes = pictures(tmp_path / "pictures", shared=3), list[str]()
    with_notes = session(workspace, notes)
    tasks, means = [find_task("knn-1")], make_encoder()
    kept = run_benchmark([dataset], [means], tasks, with_notes, leaks="bytes")
    assert kept.cells[0].split.tested == 10
    said = "3 of 10 test images are among the training images: 3 as the same file; --without-leaks leaves them out"
    assert f"pictures, train → test: {said}" in notes
    removed = run_benchmark([dataset], [means], tasks, with_notes, leaks="bytes", without_leaks=True)
    assert removed.cells[0].split.tested == 7 and removed.cells[0].fingerprint != kept.cells[0].fingerprint
    monkeypatch.setattr(running, "_READ_UNASKED", 19)
    unasked = run_benchmark([dataset], [means], tasks, with_notes, leaks="auto", without_leaks=True)
    assert unasked.cells[0].split.tested == 10 and any("were not looked for" in note for note in notes)
    monkeypatch.setattr(running, "_READ_UNASKED", 20)
    asked = run_benchmark([dataset], [means], tasks, with_notes, leaks="auto", without_leaks=True)
    assert asked.cells[0].split.tested == 7
    clean = pictures(tmp_path / "clean", shared=0)
    notes.clear()
    assert run_benchmark([clean], [means], tasks, with_notes, leaks="near").cells[0].split.tested == 10
    assert not any("among the training images" in note for note in notes)


def test_images_without_a_caption_are_left_out_of_retrieval(workspace: Workspace) -> None:
    keys, captions = ["a", "b", "c", "d"], ["a red one\na crimson one", "a green one", None, "a blue one"]
    images = Images.without_pictures("captioned", keys, {"caption": captions})
    dataset = dataset_of(images, captions="caption")
    assert dataset.label == "" and dataset.classes == ()

    class Colors:
        """Vectors by key, and of texts by the colour that they name."""

        spec = replace(make_encoder(text=lambda texts: torch.eye(3)).spec, image_input=None)

        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            colors = {"red": 0, "crimson": 0, "green": 1, "blue": 2}
            return np.eye(3, dtype=np.float32)[
                [next(i for name, i in colors.items() if name in text) for text in texts]
            ]

    notes: list[str] = []
    given = given_vectors("a", np.eye(3)[[0, 1, 1, 2]] + 0.01, keys)
    speaking = replace(given, spec=replace(given.spec, has_text=True))
    object.__setattr__(speaking, "encode_texts", Colors().encode_texts)
    ran = run_benchmark(
        [dataset], [speaking], [find_task("image-to-text"), find_task("text-to-image")], session(workspace, notes)
    )
    assert [(cell.task, cell.split.tested, cell.value.estimate) for cell in ran.cells] == [
        ("image-to-text", 3, 1.0),
        ("text-to-image", 3, 1.0),
    ]
    assert any("1 of 4 test images have no caption, and are left out of retrieval" in note for note in notes)
    swapped = Images.without_pictures("captioned", keys, {"caption": ["a green one", "a red one", None, "a blue one"]})
    again = run_benchmark(
        [dataset_of(swapped, captions="caption")], [speaking], [find_task("image-to-text")], session(workspace)
    )
    assert again.scored == 1 and again.cells[0].value.estimate == pytest.approx(1 / 3)  # other captions, another cell


def test_images_of_another_data_set_than_the_card_names_are_refused() -> None:
    found = find_dataset("cifar-10")
    assert found is not None
    images = Images.without_pictures("flowers", ["a", "b"], {"category": ["rose", "iris"]})
    with pytest.raises(EmbprobeError, match="No image of 'flowers' is of a class of its card \\('airplane' and so on"):
        dataset_of(images, found[0])
