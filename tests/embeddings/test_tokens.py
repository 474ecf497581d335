"""Stores of tokens: written shard by shard, read without a copy, of a size that may be limited."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import embprobe as ep
from embprobe.embeddings import store as stores_module
from embprobe.embeddings.extract import encode
from embprobe.embeddings.session import Session
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import load_images
from embprobe.images.rows import Images, Row

NAME = "reference/random-vit,pooling=tokens"


@pytest.fixture
def images() -> Images:
    return load_images("bundled/emoji").take(range(40))


@pytest.fixture
def session(workspace: Workspace) -> Session:
    return Session(workspace)


def test_tokens_come_in_shards_and_are_read_as_they_were_computed(
    images: Images, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores_module, "SHARD_BYTES", 12 * 17 * 128 * 4 + 5)  # twelve rows of 17 x 128 floats
    encoder = load_encoder(NAME)
    tokens = session.tokens(images, encoder, "tokens")
    assert tokens.tokens.shape == (40, 17, 128) and not isinstance(tokens.tokens, np.ndarray)
    (store,) = session.stores(images, [encoder], "tokens", tokens=True)
    assert store.shard_rows == 12 and store.shard_count == 4 and store.written == 0
    vectors = session.embed(images, [load_encoder("reference/random-vit")], "vectors").vectors["reference/random-vit"]
    assert np.array_equal(tokens.prefix(slice(0, 40))[:, 0], vectors)  # the class token is the network's own output
    mean = session.embed(images, [load_encoder("reference/random-vit,layer=6,norm=last,pooling=mean")], "mean")
    (own,) = mean.vectors.values()
    chosen = np.array([39, 0, 11, 12, 5])
    assert np.abs(tokens.patches(chosen).mean((1, 2)) - own[chosen]).max() < 1e-6
    some = tokens.at([images.rows[i].key for i in (30, 2)])
    assert np.array_equal(some.tokens[1, 4], tokens.tokens[2, 4]) and some.tokens[:, 3, 7].shape == (2,)


def test_float16_takes_half_the_disk_and_its_vectors_are_rounded_once(images: Images, session: Session) -> None:
    exact, halved = (session.tokens(images, load_encoder(f"{NAME}{more}"), "") for more in ("", ",stored=float16"))
    assert exact.tokens.nbytes == 2 * halved.tokens.nbytes == 40 * 17 * 128 * 4
    assert np.array_equal(np.asarray(exact.tokens).astype(np.float16), np.asarray(halved.tokens))


def test_a_number_that_float16_cannot_hold_leaves_the_row_out_and_says_why(images: Images, session: Session) -> None:
    encoder: Any = load_encoder(f"{NAME},stored=float16")
    encoder.network.vit.norm.weight.data[:] = 1e5
    with pytest.raises(EmbprobeError, match="stored in float16, whose largest number is 65,504: try stored=float32"):
        session.tokens(images, encoder, "")


def test_where_one_vector_is_needed_tokens_are_refused_before_anything_is_computed(
    images: Images, session: Session
) -> None:
    encoder = load_encoder(NAME)
    for refused in (session.embed, session.stores):
        with pytest.raises(UsageError, match="17 vectors, and here one is needed: say pooling=cls or pooling=mean"):
            refused(images, [encoder], "")
    with pytest.raises(UsageError, match="one vector: say pooling=tokens"):
        session.tokens(images, load_encoder("reference/random-vit"), "")
    assert session.workspace.stores() == []


def test_what_tokens_take_is_told_and_may_be_limited(
    images: Images, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    size = 40 * 17 * 128 * 4  # 348,160 bytes
    encoder = load_encoder(NAME)
    with pytest.raises(UsageError, match="take 350KB, and --most-disk allows 340KB"):
        Session(workspace, most_disk=340_000, note=said.append).tokens(images, encoder, "")
    assert workspace.stores() == [] and said == []

    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(size))
    with pytest.raises(UsageError, match="the disk has not that much left: leave images out, store in half the space"):
        Session(workspace).tokens(images, encoder, "")
    monkeypatch.undo()
    session = Session(workspace, most_disk=size, note=said.append)
    session.tokens(images, encoder, "")
    assert said == [f"the tokens of '{NAME}' take 350KB on the disk: 40 x 17 x 128 in float32"]
    Session(workspace, most_disk=1, note=said.append).tokens(images, encoder, "")  # they are there
    assert len(said) == 1


def test_damaged_tokens_are_found_and_made_again(images: Images, session: Session, tmp_path: Path) -> None:
    before = np.array(session.tokens(images, load_encoder(NAME), "").tokens)
    (folder,) = session.workspace.stores()
    file = folder / "img_emb" / "img_emb_00000.npy"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert [checked.damaged for checked in verify_stores(session.workspace)] == [(0,)]
    file.write_bytes(content[:-8])
    again = Session(session.workspace).tokens(images, load_encoder(NAME), "").tokens
    assert np.array_equal(before, again)


# --- pooled by a mask ---------------------------------------------------------------------------------------------

MASKED = "reference/random-vit,pooling=patches@mask"


def cut_outs() -> Images:
    """Pictures: one opaque in its left half, one everywhere, one nowhere, and one in a speck that is cropped away."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 48, 48, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[0, :, :24, 3], pixels[1, ..., 3] = 255, 255
    speck = np.zeros((48, 200, 4), np.uint8)
    speck[:3, :3, 3] = 255
    pictures = [Image.fromarray(each) for each in (*pixels[:3], speck)]
    names = ["half", "opaque", "clear", "speck"]
    return Images("cut-outs", [Row(n, {}, n, lambda p=p: p) for n, p in zip(names, pictures, strict=True)])  # type: ignore[misc]


def test_patches_are_pooled_by_the_mask_and_images_without_one_are_left_out(session: Session) -> None:
    images = cut_outs()
    embedded = session.embed(images, [load_encoder(MASKED), load_encoder("reference/random-vit")], "")
    assert embedded.keys() == ["half"]
    tokens = session.tokens(images, load_encoder(NAME), "")
    left = tokens.patches(slice(0, 1))[0, :, :2].reshape(8, -1).mean(0)  # 48 pixels, 4 patches of 12: two are covered
    assert np.abs(embedded.vectors[MASKED][0] - left).max() < 1e-6
    (store,) = session.stores(images, [load_encoder(MASKED)], "")
    assert {row.key: row.reason.partition(",")[0] for row in store.rejected} == {
        "opaque": "opaque everywhere",
        "clear": "opaque nowhere",
        "speck": "nothing of its opaque part is within the crop",
    }
    (other,) = session.stores(images, [load_encoder("reference/random-vit")], "")
    assert other.rejected == []  # for it, an image without a mask is an image


def test_masks_of_ones_own_pool_as_the_alpha_channel_does(session: Session) -> None:
    images = cut_outs()
    tokens = session.tokens(images, load_encoder(NAME), "")
    masks = {row.key: row.read().getchannel("A") for row in images.rows if row.key != "opaque"}
    mine = tokens.pooled({**masks, "speck": Image.new("RGB", (200, 48), "white")})
    assert mine.keys() == ["half", "speck"] and mine.notes == (
        "2 of 4 images have no mask that covers what the encoder sees and are left out: 'opaque', 'clear'",
    )
    own = session.embed(images, [load_encoder(MASKED)], "").vectors[MASKED]
    assert np.abs(mine.vectors[NAME][0] - own[0]).max() < 1e-6
    everywhere = tokens.patches(slice(3, 4)).mean((1, 2))
    assert np.abs(mine.vectors[NAME][1] - everywhere).max() < 1e-6
    with pytest.raises(EmbprobeError, match="None of the 4 images has a mask under its key"):
        tokens.pooled({"nobody": Image.new("L", (9, 9), 255)})


def test_half_a_patch_counts_half() -> None:
    encoder: Any = load_encoder(MASKED)
    tokens = np.zeros((1, 17, 128), np.float32)
    tokens[0, 1 + 0], tokens[0, 1 + 1] = 1.0, 4.0  # the first two patches
    mask = np.zeros((48, 48))
    mask[:12, :18] = 1  # the first patch, and half of the second: (1 + 0.5 * 4) / 1.5
    assert np.allclose(encoder.pooled_by_mask(tokens, [mask]), 2.0)


def test_where_there_is_no_mask_to_pool_by_it_is_said(session: Session) -> None:
    photographs = Images("photos", [Row("a", {}, "a", lambda: Image.new("RGB", (60, 60), "red"))])
    with pytest.raises(EmbprobeError, match="opaque everywhere, so nothing says where its object is"):
        session.embed(photographs, [load_encoder(MASKED)], "")
    with pytest.raises(UsageError, match="Of a query there is none: say pooling=mean"):
        encode(load_encoder(MASKED), [Image.new("RGB", (60, 60))])


def test_from_python_the_tokens_of_any_network_are_one_call(images: Images, workspace: Workspace) -> None:
    last = ep.embed_tokens(images, "reference/random-vit", workspace=workspace.root)
    assert last.name == NAME and last.tokens.shape == (40, 17, 128)
    fourth = ep.embed_tokens(images, "reference/random-vit,layer=4", workspace=workspace.root)
    own = ep.embed(images, "reference/random-vit,layer=4", workspace=workspace.root)
    (vectors,) = own.vectors.values()
    assert np.array_equal(fourth.prefix(slice(0, 40))[:, 0], vectors)
    for name in ("reference/color-histogram", "vectors:nobody.npy"):
        with pytest.raises(EmbprobeError):
            ep.embed_tokens(images, name, workspace=workspace.root)
