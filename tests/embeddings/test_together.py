"""Several sets of images encoded together: an image is read once, and every vector is what it would be alone."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import embprobe.embeddings.engines.schedule
import embprobe.embeddings.store
from embprobe.embeddings.extract import extract, extract_together
from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import Session
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import intervene, sharing
from tests.conftest import make_encoder, noise


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 4)


class Files:
    """Rows of PNG files in memory, which count how often each is read."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()

    def __call__(self, count: int, unreadable: tuple[int, ...] = ()) -> Images:
        return Images("files", tuple(self._row(i, i in unreadable) for i in range(count)))

    def _row(self, i: int, unreadable: bool) -> Row:
        buffer = io.BytesIO()
        noise(i, (12, 8)).save(buffer, format="PNG")
        content = b"torn" if unreadable else buffer.getvalue()

        def source() -> bytes:
            self.read[f"{i:02d}"] += 1
            return content

        return Row(f"{i:02d}", {}, f"{i}", source)


def by(sets: Sequence[Images], encoders: Sequence[Encoder]) -> list[Wanted]:
    """Return sets whose vectors by the same encoders are wanted."""
    return [Wanted(images, encoders) for images in sets]


def draws_into_its_image(image: Image.Image) -> Image.Image:
    image.paste((255, 0, 0), (0, 0, 6, 8))
    return image


def refuses(image: Image.Image) -> Image.Image:
    raise UnreadableImage("not to be changed")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "negative": ImageOps.invert,
    "drawn": draws_into_its_image,
    "refused": refuses,
    "mirrored": ImageOps.mirror,
}


def changed(images: Images, name: str) -> Images:
    return images.map(name, lambda row: (name, CHANGES[name]))


def spaces(tmp_path: Path) -> tuple[Workspace, Workspace]:
    return Workspace.open(tmp_path / "together"), Workspace.open(tmp_path / "alone")


def test_an_image_is_read_once_for_all_changes_and_encoders(tmp_path: Path) -> None:
    files, (space, _) = Files(), spaces(tmp_path)
    images = files(10)
    sets = [images, *(changed(images, name) for name in ("negative", "drawn", "mirrored"))]
    a, b = make_encoder("a", side=8), make_encoder("b", side=6)
    done: list[int] = []
    extract_together(by(sets, [a, b]), space, progress=done.append)
    assert set(files.read.values()) == {1} and len(files.read) == 10
    assert (a.encoded, b.encoded, sum(done)) == (40, 40, 40)
    for each in sets:
        assert all(store.complete and not store.written for store in extract(each, [a, b], space))
    assert set(files.read.values()) == {1}


def test_a_change_that_draws_into_its_image_changes_no_other_set(tmp_path: Path) -> None:
    images, (space, _) = Files()(3), spaces(tmp_path)
    drawn, encoder = changed(images, "drawn"), make_encoder(side=8)
    extract_together(by([drawn, images], [encoder]), space)
    (plain,), (red,) = (extract(each, [encoder], space) for each in (images, drawn))
    assert (red.vectors()[:, 0] > plain.vectors()[:, 0]).all()  # half of it is red
    assert np.array_equal(plain.vectors(), extract(images, [encoder], spaces(tmp_path)[1])[0].vectors())


@given(
    names=st.lists(st.sampled_from([*CHANGES, ""]), min_size=1, max_size=5),
    counts=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    unreadable=st.sets(st.integers(0, 8), max_size=3),
    begun=st.integers(0, 3),
)
@settings(max_examples=30, deadline=None)
def test_every_store_is_byte_for_byte_what_it_would_be_alone(
    names: list[str], counts: list[int], unreadable: set[int], begun: int
) -> None:
    images = Files()(9, tuple(unreadable))
    sets = [
        (images if not name else changed(images, name)).take(range(count))
        for name, count in zip(names, counts, strict=False)
    ]
    encoders = [make_encoder("a", side=8), make_encoder("b", side=6)]
    with tempfile.TemporaryDirectory() as root:
        space, alone = spaces(Path(root))
        for each in sets[:begun]:  # some are there already, of one encoder
            stores_of(each, encoders[:1], space)
        extract_together(by(sets, encoders), space)
        for each in sets:
            for store in stores_of(each, encoders, alone):
                folder = space.store(each, store.spec)
                for path in (store.folder / "img_emb").iterdir():
                    assert path.read_bytes() == (folder / "img_emb" / path.name).read_bytes()
                    table = Path("metadata", path.name.replace("img_emb", "metadata")).with_suffix(".parquet")
                    assert (store.folder / table).read_bytes() == (folder / table).read_bytes()
                assert (store.folder / "rejected.jsonl").read_text() == (folder / "rejected.jsonl").read_text()


def stores_of(images: Images, encoders: Sequence[Encoder], space: Workspace) -> list[Store]:
    try:
        return extract(images, encoders, space)
    except EmbprobeError:  # nothing of the set can be read
        return []


def test_a_set_of_which_nothing_can_be_read_is_left_to_the_one_who_embeds_it(tmp_path: Path) -> None:
    images, (space, _) = Files()(5), spaces(tmp_path)
    encoder, refused = make_encoder(side=8), changed(images, "refused")
    session = Session(space)
    session.prepare(by([images, refused], [encoder]), "both")
    assert len(session.embed(images, [encoder], "plain")) == 5
    with pytest.raises(EmbprobeError, match="not to be changed"):
        session.embed(refused, [encoder], "refused")


def test_interventions_make_the_same_vectors_together_and_alone(tmp_path: Path, emoji: Images) -> None:
    named, (space, alone) = emoji.take(range(0, 9000, 1500)), spaces(tmp_path)
    names = (("hue", 120.0), ("hue/lightness", 120.0), ("greyscale", 1.0), ("word=thus", 0.6), ("noise", 0.05))
    sets = [intervene(named, name, strength, seed=0) for name, strength in names]
    encoder = make_encoder(side=8)
    extract_together(by(sets, [encoder]), space)
    for each in sets:
        together, by_itself = (extract(each, [encoder], where) for where in (space, alone))
        assert together[0].written == 0
        assert np.array_equal(together[0].vectors(), by_itself[0].vectors())


def test_too_many_rows_are_encoded_in_several_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("embprobe.embeddings.session._TOGETHER", 9)
    files, (space, _) = Files(), spaces(tmp_path)
    images, encoder = files(5), make_encoder(side=8)
    sets = [images, changed(images, "negative"), replace(changed(images, "mirrored"), name="m")]
    Session(space).prepare(by(sets, [encoder]), "three")
    assert encoder.encoded == 15 and set(files.read.values()) == {3}


@given(
    positions=st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=12), min_size=1, max_size=4),
    names=st.lists(st.sampled_from([*CHANGES, ""]), min_size=4, max_size=4),
    unreadable=st.sets(st.integers(0, 8), max_size=3),
    waiting=st.sampled_from([0, 800, 2**30]),
    batch=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_images_are_shared_in_whatever_order_and_however_often_sets_show_them(
    positions: list[list[int]], names: list[str], unreadable: set[int], waiting: int, batch: int
) -> None:
    files = Files()
    images = files(9, tuple(unreadable))
    sets = []
    for number, (rows, name) in enumerate(zip(positions, names, strict=False)):
        chosen = (images if not name else changed(images, name)).take(rows)
        keyed = tuple(replace(row, key=f"{row.key}#{i}") for i, row in enumerate(chosen.rows))
        sets.append(replace(chosen, rows=keyed, name=f"{number}"))
    encoders = [make_encoder("a", side=8), make_encoder("b", side=6)]
    shown = {row for rows in positions for row in rows}
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(embprobe.embeddings.engines.schedule, "WAITING", waiting)
        patch.setattr(embprobe.embeddings.extract, "BATCH_SIZE", batch)
        space, alone = spaces(Path(root))
        extract_together(by(sets, encoders), space)
        if waiting == 2**30:
            assert files.read == {f"{row:02d}": 1 for row in shown}
        for each in sets:
            for store in stores_of(each, encoders, alone):
                folder = space.store(each, store.spec)
                for path in (store.folder / "img_emb").iterdir():
                    assert path.read_bytes() == (folder / "img_emb" / path.name).read_bytes()
                assert (store.folder / "rejected.jsonl").read_text() == (folder / "rejected.jsonl").read_text()


def test_batches_are_those_of_a_set_alone(tmp_path: Path) -> None:
    images, (space, alone) = Files()(40), spaces(tmp_path)
    sets = [images.take(range(0, 40, 3)), images, changed(images, "negative").take(range(1, 40, 2))]
    together, by_itself = make_encoder(side=8), make_encoder(side=8)
    extract_together(by(sets, [together]), space)
    for each in sets:
        extract(each, [by_itself], alone)
    assert Counter(together.batches) == Counter(by_itself.batches)  # in shards of 4 rows


def test_each_set_has_its_own_encoders(tmp_path: Path) -> None:
    files, (space, _) = Files(), spaces(tmp_path)
    images, a, b = files(5), make_encoder("a", side=8), make_encoder("b", side=8)
    negative = changed(images, "negative")
    extract_together([Wanted(images, [a]), Wanted(negative, [b]), Wanted(images, [a])], space)
    assert (a.encoded, b.encoded, set(files.read.values())) == (5, 5, {1})
    assert extract(images, [a], space)[0].written == extract(negative, [b], space)[0].written == 0
    assert not space.store(images, b.spec).exists()


def test_a_set_that_is_part_of_another_takes_its_vectors(tmp_path: Path) -> None:
    files, (space, _) = Files(), spaces(tmp_path)
    images, encoder = replace(files(9), place="here"), make_encoder(side=8)
    part = images.take([1, 4, 7])
    Session(space).prepare(by([part, images, changed(part, "negative")], [encoder]), "all")
    assert encoder.encoded == 12 and set(files.read.values()) == {1}
    (vectors,) = Session(space).embed(part, [encoder], "part").vectors.values()
    assert np.array_equal(vectors, extract(images, [encoder], space)[0].vectors()[[1, 4, 7]])
    assert encoder.encoded == 12 and set(files.read.values()) == {1}


def test_no_more_stores_are_written_together_than_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("embprobe.embeddings.together.most_open_files", lambda: 4)
    files, (space, _) = Files(), spaces(tmp_path)
    images, encoder = files(5), make_encoder(side=8)
    sets = [images, changed(images, "negative"), replace(changed(images, "mirrored"), name="m")]
    Session(space).prepare(by(sets, [encoder]), "three")
    assert encoder.encoded == 15 and set(files.read.values()) == {2}


def test_no_more_vectors_are_held_than_are_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("embprobe.embeddings.together._VECTORS", 2 * 5 * 3 * 4)  # two sets of 5 rows in 3 dimensions
    files, (space, _) = Files(), spaces(tmp_path)
    images, encoder = files(5), make_encoder(side=8)
    sets = [images, *(changed(images, name) for name in ("negative", "mirrored", "drawn"))]
    Session(space).prepare(by([replace(each, name=f"{i}") for i, each in enumerate(sets)], [encoder]), "four")
    assert encoder.encoded == 20 and set(files.read.values()) == {2}


def test_sources_that_cannot_be_hashed_are_shared_by_the_rows_that_have_the_same_one(tmp_path: Path) -> None:
    class Source(list[int]):
        def __call__(self) -> Image.Image:
            self.append(1)
            return noise(len(self), (8, 8))

    source, encoder = Source(), make_encoder(side=8)
    images = Images("one", (Row("k", {}, "c", source),))
    extract_together(by([images, changed(images, "negative")], [encoder]), spaces(tmp_path)[0])
    assert len(source) == 1 and encoder.encoded == 2


def test_only_one_picture_at_a_time_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest: list[int] = []
    shown: list[int] = []

    def watched(image: Image.Image, purpose: Hashable, made: object) -> None:
        sharing.remember(image, purpose, made)
        largest.append(sharing._here.size)
        shown.append(len(sharing._here.made or ()))

    monkeypatch.setattr("embprobe.interventions.base.remember", watched)
    images = Files()(12)
    sets = [intervene(images, "posterize", strength, seed=0) for strength in (5.0, 6.0, 7.0)]
    extract_together(by(sets, [make_encoder(side=8)]), spaces(tmp_path)[0])
    assert len(shown) == 36 and max(shown) == 3 and max(largest) <= 3 * 12 * 8 * 3
    assert sharing._here.made is None


def test_progress_is_told_while_pictures_are_read_and_not_when_batches_are_full(tmp_path: Path) -> None:
    images, done = Files()(6), list[int]()
    sets = [images, changed(images, "negative"), changed(images, "mirrored")]
    extract_together(by(sets, [make_encoder(side=8)]), spaces(tmp_path)[0], progress=done.append)
    assert sum(done) == 18 and len(done) >= 2 and max(done) < 18
