"""The networks that embprobe trains: tokens, heads, and text beside the ViT."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import (
    CLUSTERS,
    ClusterHead,
    Head,
    TextTower,
    Tokenizer,
    TwoTowers,
    build_head,
    words_of,
)
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH

# ids: 0 padding, 1 start, 2 quote, 3 other, 4 to 29 the letters a to z, 30 to 39 the digits, then the words in order
CAT, DOG = 40, 41


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(["dog", "cat", "dog"])


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return token ids without the padding, and check that nothing but padding follows."""
    row = tokenizer([text])[0].tolist()
    length = row.index(0) if 0 in row else len(row)
    assert not any(row[length:])
    return row[:length]


def test_a_known_word_is_one_token_and_an_unknown_one_is_spelled(tokenizer: Tokenizer) -> None:
    assert len(tokenizer) == 42
    assert ids(tokenizer, "cat, dog") == [1, CAT, DOG]
    assert ids(tokenizer, "cat fox 7") == [1, CAT, 9, 18, 27, 37]  # f is the 6th letter, 4 + 5; o 4 + 14; x 4 + 23
    assert ids(tokenizer, "") == [1]


def test_a_quoted_word_is_the_word_between_quotes(tokenizer: Tokenizer) -> None:
    # so that a word read in an image and the same word in a caption are one token
    assert ids(tokenizer, 'dog, "CAT"') == [1, DOG, 2, CAT, 2]
    assert ids(tokenizer, '"cat" cat') == [1, 2, CAT, 2, CAT]
    assert ids(tokenizer, '"FOX"') == [1, 2, 9, 18, 27, 2]
    assert ids(tokenizer, 'a "cat') == [1, 4, 2, CAT]  # a quote that is not closed


def test_case_does_not_matter_and_strange_letters_are_other(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "CAT Dog") == ids(tokenizer, "cat dog")
    assert ids(tokenizer, "é 猫") == [1, 3, 3]


def test_texts_are_padded_to_the_longest_and_cut_to_the_context(tokenizer: Tokenizer) -> None:
    both = tokenizer(["cat", "cat dog dog"])
    assert both.tolist() == [[1, CAT, 0, 0], [1, CAT, DOG, DOG]] and both.dtype == torch.long
    long = tokenizer(["cat", "cat " * 30])
    assert long.tolist() == [[1, CAT, *22 * [0]], [1] + 23 * [CAT]]
    assert tokenizer(["", ""]).tolist() == [[1], [1]]
    assert tokenizer([]).shape == (0, 1)


def test_the_order_and_number_of_words_given_do_not_matter() -> None:
    first, other = Tokenizer(["a", "dog", "cat"]), Tokenizer(["cat", "cat", "dog"])
    assert first.words == other.words == ("cat", "dog")  # "a" is a letter already
    assert torch.equal(first(['a "dog" cat']), other(['a "dog" cat']))


@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_text_becomes_known_ids(texts: list[str]) -> None:
    tokenizer = Tokenizer(["dog", "cat"])
    token_ids = tokenizer(texts)
    assert len(token_ids) == len(texts) and token_ids.shape[1] <= 24
    assert ((token_ids >= 0) & (token_ids < len(tokenizer))).all() and (token_ids[:, 0] == 1).all()


def test_words_of_texts_by_hand() -> None:
    assert words_of(['Cat, people & body, "DUST"', "cat_2"]) == {"cat", "people", "body", "dust", "2"}


def test_no_caption_of_the_tokenizers_own_words_is_spelled() -> None:
    texts = ["ice cream, food & drink", "piñata, activities"]
    tokenizer = Tokenizer(words_of(texts))
    assert [len(ids(tokenizer, text)) for text in texts] == [5, 3]  # start and one for each word


def with_text_tower(head: Head, seed: int = 5) -> TwoTowers:
    """Return towers whose text side knows two words."""
    return TwoTowers(seed=seed, text=TextTower(seed=seed, vocabulary=["cat", "dog"]), head=head).eval()


HEADS: tuple[Head, ...] = get_args(Head)
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)


@EVERY_HEAD
@pytest.mark.parametrize("text", [False, True])
def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state(head: Head, text: bool) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        towers = with_text_tower(head, seed) if text else TwoTowers(seed=seed, head=head)
        return towers.state_dict()

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = weights(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = weights(5), weights(6)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["vit.blocks.0.attn.qkv.weight"], other["vit.blocks.0.attn.qkv.weight"])


def test_the_vit_depends_neither_on_language_nor_on_the_head() -> None:
    alone = TwoTowers(seed=5).vit.state_dict()
    for head in HEADS:
        assert all(torch.equal(alone[name], value) for name, value in with_text_tower(head).vit.state_dict().items())


@torch.no_grad()
def test_the_embedding_is_the_cls_token_after_the_head() -> None:
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    none, linear, clusters = (with_text_tower(head) for head in HEADS)
    features = none.vit.forward_features(images)[:, 0]
    assert torch.equal(none.encode_images(images), features) and none.dimension == WIDTH
    weight = linear.image_projection.get_parameter("weight")
    assert weight.shape == (WIDTH, WIDTH) and linear.dimension == WIDTH
    torch.testing.assert_close(linear.encode_images(images), features @ weight.T)  # there is no bias
    first, last = (clusters.image_projection.get_submodule(f"layers.{i}") for i in (0, 2))
    torch.testing.assert_close(clusters.encode_images(images), last(F.gelu(first(features))))
    assert clusters.encode_images(images).shape == (2, CLUSTERS) and clusters.dimension == CLUSTERS


@torch.no_grad()
def test_logits_of_clusters_are_standardised_by_the_statistics_of_training() -> None:
    head = ClusterHead(2)
    # the first logit of this batch is 3, 5: mean 4, variance 1 in the loss, 2 as an estimate for others
    batch = torch.zeros(2, CLUSTERS)
    batch[:, 0] = torch.tensor([3.0, 5.0])
    assert head.standardised(batch)[:, 0].tolist() == pytest.approx([-1, 1], abs=1e-4)
    assert (head.mean[0].item(), head.variance[0].item()) == pytest.approx((0.04, 1.01))  # a hundredth of the way
    for _ in range(1500):
        head.standardised(batch)
    head.eval()
    assert head.standardised(batch)[:, 0].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5], abs=1e-4)
    features = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    logits = head.layers(features)
    torch.testing.assert_close(head(features)[:, 0], (logits[:, 0] - 4) / (2 + 1e-5) ** 0.5)
    torch.testing.assert_close(head.train()(features), logits)  # until the loss has seen all of the batch


@EVERY_HEAD
@torch.no_grad()
def test_each_side_has_a_head_of_its_own(head: Head) -> None:
    towers = with_text_tower(head)
    features = towers.text_features(["cat", "a dog"])
    assert features.shape == (2, WIDTH) and towers.text_width == WIDTH
    embeddings = towers.encode_texts(["cat", "a dog"])
    assert embeddings.shape == (2, towers.dimension)
    torch.testing.assert_close(embeddings, towers.text_projection(features))
    if head != "none":
        assert not torch.allclose(embeddings, towers.image_projection(features), atol=1e-2)


def test_towers_without_a_text_side_encode_no_texts() -> None:
    towers = TwoTowers(seed=0, head="linear")
    assert not towers.has_text and not [name for name in towers.state_dict() if name.startswith("text")]
    for attempt in (
        lambda: towers.encode_texts(["cat"]),
        lambda: towers.text_features(["cat"]),
        lambda: towers.text_width,
    ):
        with pytest.raises(ValueError, match="no text side"):
            attempt()


@torch.no_grad()
def test_the_text_tower_ignores_padding() -> None:
    tower = TextTower(seed=0, vocabulary=["cat", "dog"]).eval()
    texts = ["cat", 'dog "cat"']
    before = tower(texts)
    tower.tokens.weight[0] = 100  # the embedding of padding
    tower.positions[5:] = 100  # positions of padding alone: the longer text has start, dog, a quote, cat and a quote
    torch.testing.assert_close(tower(texts), before)
    tower.positions[4] = 100
    changed = (tower(texts) - before).abs().amax(1) > 1e-3
    assert changed.tolist() == [False, True]


@torch.no_grad()
def test_a_text_is_encoded_alike_alone_and_among_others() -> None:
    towers = with_text_tower("linear")
    texts = ["cat", 'a dog with a "HAT"', "dog " * 40, ""]
    together = towers.encode_texts(texts)
    assert together.shape == (4, WIDTH)
    for text, row in zip(texts, together, strict=True):
        torch.testing.assert_close(towers.encode_texts([text])[0], row)


@torch.no_grad()
def test_the_order_of_words_and_of_letters_changes_the_embedding() -> None:
    one, other, spelled, anagram = with_text_tower("linear").encode_texts(["cat dog", "dog cat", '"TEA"', '"EAT"'])
    assert (one - other).abs().max() > 1e-4 and (spelled - anagram).abs().max() > 1e-4


@pytest.mark.parametrize("width", [3, 128])
@EVERY_HEAD
def test_a_head_by_its_shape(head: Head, width: int) -> None:
    # none: no weights; linear: 128 d; clusters: d * 256 + 256 and 256 * 256 = 65,536
    layers = build_head(head, width)
    expected = {"none": 0, "linear": 128 * width, "clusters": 256 * width + 256 + 65_536}[head]
    assert sum(parameter.numel() for parameter in layers.parameters()) == expected
    assert layers(torch.zeros(2, width)).shape == (2, {"none": width, "linear": WIDTH, "clusters": CLUSTERS}[head])
