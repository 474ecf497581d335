"""Tokens of images, stored and computed, by the bundled encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.encoders.given import given_vectors
from embprobe.encoders.preprocessing import preprocess
from embprobe.encoders.spec import Encoder, TokenGrid
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.vlm.image_tokens import LiveTokens, moments, stored_tokens, token_encoder
from embprobe.vlm.recipe import ImageTokens


@pytest.fixture(scope="module")
def clip() -> Encoder:
    return load_encoder("bundled/clip")


@pytest.fixture
def few(emoji: Images) -> Images:
    return emoji.take([0, 7, 70, 300, 500])


def test_stored_tokens_are_the_computed_ones(clip: Encoder, few: Images, workspace: Workspace) -> None:
    reader = token_encoder(clip, ImageTokens())
    live, stored = LiveTokens(few, reader), stored_tokens(few, reader, Session(workspace))
    exact = LiveTokens(few, token_encoder(clip, ImageTokens(stored="float32")))
    asked = [few.keys[3], few.keys[0], few.keys[3]]
    computed, read = live(asked), stored(asked)
    assert computed.dtype == read.dtype == torch.float32
    assert computed.shape == read.shape == (3, 16, 128)
    assert live.count == stored.count == 16 and live.width == stored.width == 128  # patches alone
    # float16 keeps 11 binary digits, of tokens that are computed, too
    torch.testing.assert_close(read, computed, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(read, exact(asked), rtol=1e-3, atol=1e-3)
    assert not torch.equal(read, exact(asked)) and torch.equal(read, read.half().float())
    assert torch.equal(read[0], read[2])
    assert (read[0] - read[1]).abs().max() > 0.1
    assert live.name == stored.name == "bundled/clip,layer=5,norm=none,stored=float16,pooling=tokens"
    assert live.fingerprint == stored.fingerprint
    assert list(live.keys) == list(stored.keys) == list(few.keys)


def test_float32_keeps_them_as_they_are(clip: Encoder, few: Images, workspace: Workspace) -> None:
    reader = token_encoder(clip, ImageTokens(stored="float32"))
    read = stored_tokens(few, reader, Session(workspace))(few.keys)
    torch.testing.assert_close(read, LiveTokens(few, reader)(few.keys), rtol=1e-5, atol=1e-5)


def test_layer_minus_two_is_the_last_but_one(clip: Encoder, few: Images) -> None:
    reader = token_encoder(clip, ImageTokens(layer=-2))
    # the bundled encoder has six blocks, and a class token before 4 x 4 patches
    assert reader.spec.layer == 5 and reader.spec.tokens == TokenGrid(prefix=1, rows=4, columns=4)
    fifth = LiveTokens(few, token_encoder(clip, ImageTokens(layer=5)))(few.keys)
    assert torch.equal(LiveTokens(few, reader)(few.keys), fifth)
    last = LiveTokens(few, token_encoder(clip, ImageTokens(layer=-1)))(few.keys)
    assert (last - fifth).abs().max() > 0.1


def test_the_class_token_is_left_out(clip: Encoder, few: Images) -> None:
    reader, options = token_encoder(clip, ImageTokens()), {"layer": "5", "norm": "none", "pooling": "cls"}
    (of_class,) = clip.views(options)  # type: ignore[attr-defined]
    image_input = clip.spec.require_image_input()
    pictures = torch.stack([preprocess(row.load(), image_input) for row in few.rows])
    raw = np.asarray(reader.encode_images(pictures), np.float32)
    assert raw.shape == (5, 17, 128)
    np.testing.assert_allclose(raw[:, 0], of_class.encode_images(pictures), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(LiveTokens(few, reader)(few.keys), raw[:, 1:])


def test_an_encoder_of_tokens_is_taken_as_it_is(clip: Encoder) -> None:
    reader = token_encoder(clip, ImageTokens())
    assert token_encoder(reader, ImageTokens(layer=1)) is reader


def test_pixels_have_the_grid_of_the_first_encoder(few: Images) -> None:
    pixels = load_encoder("reference/pixels")
    first = type("First", (), {"spec": token_encoder(pixels, ImageTokens()).with_grid(3, 3).spec})()  # type: ignore[attr-defined]
    reader = token_encoder(pixels, ImageTokens(), first)
    assert reader.spec.tokens == TokenGrid(prefix=0, rows=3, columns=3)
    assert LiveTokens(few, reader)(few.keys[:1]).shape == (1, 9, 3 * 12 * 12)
    alone = token_encoder(pixels, ImageTokens()).spec.tokens
    assert alone == TokenGrid(prefix=0, rows=4, columns=4)


# --- what gives no tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reference/color-histogram", "reference/texture"])
def test_an_encoder_of_one_vector_is_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=f"^'{name}' gives an image one vector, and a language model reads tokens.$"):
        token_encoder(load_encoder(name), ImageTokens())


def test_given_vectors_are_a_sentence() -> None:
    with pytest.raises(UsageError, match="'mine' gives an image one vector"):
        token_encoder(given_vectors("mine", np.eye(2, dtype=np.float32), ["a", "b"]), ImageTokens())


def test_vectors_have_no_count_of_tokens(clip: Encoder, few: Images) -> None:
    with pytest.raises(UsageError, match="'bundled/clip' gives an image one vector"):
        LiveTokens(few, clip).count  # noqa: B018


def test_a_layer_that_is_not_there_is_a_sentence(clip: Encoder) -> None:
    with pytest.raises(UsageError, match="bundled/clip.* layer"):
        token_encoder(clip, ImageTokens(layer=40))


def test_an_image_without_tokens_is_named(clip: Encoder, few: Images, workspace: Workspace) -> None:
    reader = token_encoder(clip, ImageTokens())
    for source in (LiveTokens(few, reader), stored_tokens(few, reader, Session(workspace))):
        with pytest.raises(EmbprobeError, match=r"no tokens of the image 'nobody'\.$"):
            source([few.keys[0], "nobody"])


# --- mean and deviation --------------------------------------------------------------------------------------------


@dataclass
class Known:
    """Two images of two tokens."""

    name: str = "known"
    fingerprint: str = "1"
    count: int = 2
    width: int = 3
    keys: Sequence[str] = ("a", "b")

    def __call__(self, keys: Sequence[str]) -> Tensor:
        tokens = {"a": [[0.0, 5.0, 1.0], [2.0, 5.0, 1.0]], "b": [[4.0, 5.0, -1.0], [6.0, 5.0, -1.0]]}
        return torch.tensor([tokens[key] for key in keys])


def test_moments_by_hand() -> None:
    mean, deviation = moments(Known())
    assert mean.tolist() == [3, 5, 0]
    # the first: squares of -3, -1, 1, 3 are 20, over 3; the second is the same everywhere; the third: 4 over 3
    torch.testing.assert_close(deviation, torch.tensor([(20 / 3) ** 0.5, 1.0, (4 / 3) ** 0.5]))


class Counted(Known):
    """Images whose key is the one number of their one token."""

    def __call__(self, keys: Sequence[str]) -> Tensor:
        return torch.tensor([[[float(key)]] for key in keys])


def test_moments_are_those_of_the_first_1024_images() -> None:
    mean, deviation = moments(Counted(count=1, width=1, keys=[f"{i}" for i in range(1500)]))
    assert float(mean) == 1023 / 2
    assert float(deviation) == pytest.approx(np.std(np.arange(1024), ddof=1), rel=1e-6)
