"""What several tests share: the bundled emoji, a folder of photographs, rows from memory, an encoder that counts."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import embprobe.cli.app
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec, Floats, ImageInput
from embprobe.errors import UsageError
from embprobe.images import Images, Row, load_images
from embprobe.images.decoding import UnreadableImage
from embprobe.images.paths import GUESSED_LABELS

settings.register_profile("embprobe", deadline=None)  # how long an example takes depends on the machine
settings.load_profile("embprobe")


def channel_means(batch: Tensor) -> Tensor:
    """The mean red, green and blue: three numbers one can work out by hand. ``[n, 3, s, s] -> [n, 3]``."""
    return batch.mean((2, 3))


@dataclass
class CountingEncoder:
    """A function of pixels in 0..1 behind the encoder protocol; it remembers how many images each batch had."""

    spec: EncoderSpec
    function: Callable[[Tensor], Tensor]
    text: Callable[[Sequence[str]], Tensor] | None = None
    batches: list[int] = field(default_factory=list)

    @property
    def encoded(self) -> int:
        return sum(self.batches)

    def encode_images(self, batch: Tensor) -> Floats:
        self.batches.append(len(batch))
        return self.function(batch).numpy().astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        if self.text is None:
            raise UsageError("no text side")
        return self.text(texts).numpy().astype(np.float32)


def make_encoder(
    name: str = "means",
    function: Callable[[Tensor], Tensor] = channel_means,
    *,
    side: int = 4,
    dimension: int = 3,
    weights_sha256: str = "",
    text: Callable[[Sequence[str]], Tensor] | None = None,
) -> CountingEncoder:
    """A fresh :class:`CountingEncoder`, ``test/means`` unless told otherwise."""
    spec = EncoderSpec(
        family="test",
        model=name,
        weights_sha256=weights_sha256,
        dimension=dimension,
        has_text=text is not None,
        image_input=ImageInput(
            input_size=side,
            resize="shortest",
            resize_to=side,
            interpolation="bilinear",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
    )
    return CountingEncoder(spec, function, text)


def changed(spec: EncoderSpec, **values: Any) -> EncoderSpec:
    """A spec with other values of its fields and of those of its image input."""
    fed = {name: values.pop(name) for name in list(values) if name in {field.name for field in fields(ImageInput)}}
    return replace(spec, image_input=replace(spec.require_image_input(), **fed), **values)


@dataclass
class Reads:
    """Rows of noise that never touch the disk; ``keys`` lists every key as often as it was read."""

    keys: list[str] = field(default_factory=list)

    def __call__(
        self,
        n: int,
        *,
        unreadable: Sequence[int] = (),
        labels: Mapping[str, Sequence[str]] | None = None,
        name: str = "noise",
    ) -> Images:
        return Images(
            name, tuple(self._row(i, i in unreadable, {k: v[i] for k, v in (labels or {}).items()}) for i in range(n))
        )

    def _row(self, i: int, unreadable: bool, labels: Mapping[str, str]) -> Row:
        key = f"{i:03d}"

        def read() -> Image.Image:
            self.keys.append(key)
            if unreadable:
                raise UnreadableImage("torn in two")
            return noise(i)

        return Row(key=key, labels=labels, content=f"{i}{unreadable}", source=read)


def noise(seed: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> Image.Image:
    """Noise around a random colour, so that no two pictures have the same mean."""
    rng = np.random.default_rng(seed)
    width, height = size
    values = rng.integers(0, 200, channels) + rng.integers(0, 56, (height, width, channels))
    return Image.fromarray(values.astype(np.uint8))


def solid(color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, color)


def row_of(key: str, picture: Image.Image, **labels: str) -> Row:
    """A row of a picture in memory."""
    content = hashlib.sha256(picture.tobytes()).hexdigest()
    return Row(key=key, labels=labels, content=content, source=picture.copy)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file of this format."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(row: Row) -> str | None:
    """Why a row cannot be read; None if it can."""
    try:
        row.read()
    except UnreadableImage as error:
        return str(error)
    return None


def snapshot(folder: Path) -> dict[str, bytes] | None:
    """Everything below a folder, to see that nothing changed; None if there is no folder."""
    if not folder.exists():
        return None
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def cosines(queries: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float64]:
    """``[n, d], [m, d] -> [n, m]``, in float64 and as the definition says."""
    a, b = np.asarray(queries, np.float64), np.asarray(vectors, np.float64)
    return np.asarray(a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)[None])


class Malicious:
    """What unpickling this would do, a stranger decides: here, make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class Ran(NamedTuple):
    """What became of a command: its exit code, and what it printed."""

    code: object
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """Where :func:`run` has its workspace."""
    return tmp_path / "space"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], space: Path) -> Run:
    """Runs the whole program in this process; what it prints holds no traceback."""
    monkeypatch.setenv("EMBPROBE_WORKSPACE", str(space))

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["embprobe", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            embprobe.cli.app.main()
        ran = Ran(ended.value.code, *capsys.readouterr())
        assert "Traceback" not in ran.err
        return ran

    return run


@pytest.fixture(scope="session")
def emoji() -> Images:
    return load_images("bundled/emoji")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and the same sums come out on every machine."""
    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine images in three subfolders, in six formats and as many sizes, two with an alpha channel."""
    files = {
        "bird/a.png": ((40, 30), "PNG", 4),
        "bird/b.jpg": ((64, 48), "JPEG", 3),
        "cat/c.jpeg": ((30, 40), "JPEG", 3),
        "cat/d.png": ((25, 25), "PNG", 3),
        "cat/e.webp": ((48, 32), "WEBP", 4),
        "dog/f.gif": ((20, 50), "GIF", 3),
        "dog/g.bmp": ((33, 17), "BMP", 3),
        "dog/h.tiff": ((21, 22), "TIFF", 3),
        "dog/i.JPG": ((100, 10), "JPEG", 3),
    }
    folder = tmp_path / "photos"
    for seed, (name, (size, kind, channels)) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed, size, channels).save(path, kind)
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No network, and nothing fetched before; and what the library logs is silenced."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def real_images(name: str) -> Images:
    """The real images of a file in the folder that ``EMBPROBE_TEST_DATA`` names; without it the test is skipped."""
    folder = os.environ.get("EMBPROBE_TEST_DATA")
    if not folder:
        pytest.skip(f"EMBPROBE_TEST_DATA names no folder with {name}")
    return load_images(str(Path(folder) / name))


def remarks(images: Images) -> tuple[str, ...]:
    """The notes of a reader, without the one that tells the labels it guessed."""
    return tuple(note for note in images.notes if not note.startswith(GUESSED_LABELS))
