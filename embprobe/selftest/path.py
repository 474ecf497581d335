"""Promises on the way of an image: from a file's bytes, through intervention and encoder, into store and result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec, Floats, ImageInput
from embprobe.errors import UsageError
from embprobe.images.rows import Images, Row
from embprobe.interventions import intervene
from embprobe.interventions.color import oklab_to_srgb, srgb_to_oklab
from embprobe.probing.card import Card
from embprobe.probing.key import BEYOND_CONTROL, CONTROL
from embprobe.probing.run import run_probe
from embprobe.selftest.pictures import Values, images_of, picture_row
from embprobe.selftest.promise import Settings, Verdict, holds, near

_SIDE = 16
"""Side in pixels of what the readers take; pictures are twice as large."""
_MEAN, _STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@dataclass
class PixelReader:
    """An encoder that reads a known function of the mean colour of an image's quarters, and counts its images."""

    name: str
    function: Callable[[Values], Values]
    """From sRGB in 0..1 ``[n, 4, 3]`` to vectors ``[n, d]``."""
    dimension: int
    encoded: int = 0
    spec: EncoderSpec = field(init=False)

    def __post_init__(self) -> None:
        image_input = ImageInput(
            input_size=_SIDE, resize="shortest", resize_to=_SIDE, interpolation="bilinear", mean=_MEAN, std=_STD
        )
        self.spec = EncoderSpec(family="oracle", model=self.name, dimension=self.dimension, image_input=image_input)

    def encode_images(self, batch: Tensor) -> Floats:
        self.encoded += len(batch)
        values = batch.numpy().astype(np.float64) * np.reshape(_STD, (3, 1, 1)) + np.reshape(_MEAN, (3, 1, 1))
        quarters = values.reshape(len(values), 3, 2, _SIDE // 2, 2, _SIDE // 2)[:, :, :, 2:-2, :, 2:-2].mean((3, 5))
        return self.function(quarters.reshape(len(values), 3, 4).transpose(0, 2, 1)).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        raise UsageError("A reader of pixels has no text side.")


def stored(settings: Settings) -> Iterator[Verdict]:
    """Check that vectors are of their own row's pixels: as they are, changed, transparent, and out of the store."""
    pictures = {f"{i}": _quarters(settings.seed + i) for i in range(12)}
    ghost = Image.new("RGBA", (2 * _SIDE, 2 * _SIDE), (255, 0, 0, 0))
    rows = [picture_row(key, picture) for key, picture in pictures.items()]
    images = images_of([*rows, picture_row("transparent", ghost)])
    expected = {key: _colors(picture) for key, picture in pictures.items()} | {"transparent": np.ones((4, 3))}
    reader = PixelReader("colours", lambda colors: colors.reshape(len(colors), 12), 12)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Workspace.open(Path(folder) / "workspace"), seed=settings.seed)
        yield _colors_off("quarters' colours", session, images, reader, expected)
        count = reader.encoded
        backwards = images.take(range(len(images) - 1, -1, -1))
        session.embed(images, [reader], "again")
        yield near("images encoded when the same are embedded again", reader.encoded - count, 0, 0)
        yield _colors_off("quarters' colours of the rows in reverse order", session, backwards, reader, expected)
        grey = {key: _grey(colors) for key, colors in expected.items()}
        yield _colors_off(
            "those of images turned grey", session, intervene(images, "greyscale", 1, seed=0), reader, grey
        )
        torn = Row("torn", {}, "torn", lambda: b"no image")
        some = images_of([rows[0], torn, rows[1]])
        del expected["transparent"]
        yield _colors_off("those of two images, one that cannot be read between them", session, some, reader, expected)


def noticed(settings: Settings) -> Iterator[Verdict]:
    """Check that hue moves an encoder that reads colour alone, and the control of hue one that reads lightness."""
    images = images_of(picture_row(f"{i}", _quarters(settings.seed + i), concept=str(i)) for i in range(40))
    readers = [
        PixelReader("colour", lambda colors: srgb_to_oklab(colors)[..., 1:].reshape(len(colors), 8), 8),
        PixelReader("lightness", lambda colors: srgb_to_oklab(colors)[..., 0] - 0.6, 4),
    ]
    card = Card.model_validate(
        {
            "schema": 1,
            "attribute": "planted",
            "title": "Planted",
            "question": "Is colour read?",
            "resample": "concept",
            "measures": [
                {"kind": "displacement", "intervention": "hue", "strengths": [90, 180], "control": "lightness"},
            ],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Workspace.open(Path(folder) / "workspace"), seed=settings.seed)
        rows = run_probe(card, images, readers, [], session).rows
    estimates = {
        (row.encoder.removeprefix("oracle/"), row.key.variant, row.key.strength): row.estimate
        for row in rows
        if not row.is_difference
    }
    # vectors of colour turn with the hue, and unrelated ones are 90° apart: 1 - cos 90° = 1, 1 - cos 180° = 2
    yield near("displacement by hue 90 of a reader of colour", estimates["colour", None, 90], 1, 0.12)
    yield near("by hue 180", estimates["colour", None, 180], 2, 0.2)
    # without room in sRGB for another lightness, the control takes some of the chroma
    yield near("by the control of hue 90", estimates["colour", CONTROL, 90], 0, 0.1)
    yield near("displacement by hue 180 of a reader of lightness", estimates["lightness", None, 180], 0, 0.02)
    control = estimates["lightness", CONTROL, 180]
    yield holds("by the control", "above 0.1", f"{control:.3f}", control > 0.1)
    for name in ("colour", "lightness"):
        beyond, moved = estimates[name, BEYOND_CONTROL, 180], estimates[name, None, 180]
        about = f"displacement beyond the control of a reader of {name}, displacement less control"
        yield near(about, beyond, moved - estimates[name, CONTROL, 180], 1e-6)


def _colors_off(
    about: str, session: Session, images: Images, reader: PixelReader, expected: dict[str, Values]
) -> Verdict:
    """Return the verdict on the largest difference of the embedded colours from the expected ones."""
    embedded = session.embed(images, [reader], about)
    (vectors,) = embedded.vectors.values()
    pairs = zip(embedded.keys(), np.asarray(vectors).reshape(len(vectors), 4, 3), strict=True)
    differences = [np.abs(colors - expected[key]).max() for key, colors in pairs]
    return near(f"largest error of the embedded {about}", float(max(differences)), 0, 0.01)


def _quarters(seed: int) -> Image.Image:
    """Return a picture of four squares in random colours of medium lightness and low chroma."""
    rng = np.random.default_rng(seed)
    lightness, angle = rng.uniform(0.45, 0.75, 4), rng.uniform(0, 2 * np.pi, 4)
    lab = np.column_stack([lightness, 0.07 * np.cos(angle), 0.07 * np.sin(angle)])
    colors = np.rint(255 * oklab_to_srgb(lab).clip(0, 1)).astype(np.uint8).reshape(2, 2, 3)
    return Image.fromarray(colors.repeat(_SIDE, 0).repeat(_SIDE, 1))


def _colors(picture: Image.Image) -> Values:
    """Return the colours of the four squares, ``[4, 3]``, in 0..1."""
    return np.asarray(picture, np.float64)[_SIDE // 2 :: _SIDE, _SIDE // 2 :: _SIDE].reshape(4, 3) / 255


def _grey(colors: Values) -> Values:
    """Return greys of the same Oklab lightness, worked out from the formula: a grey of lightness L is L³ in linear."""
    linear = srgb_to_oklab(colors)[:, :1] ** 3
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.repeat(curve, 3, axis=1)
