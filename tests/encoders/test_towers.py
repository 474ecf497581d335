from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.encoders.towers import IMAGE_SIZE, WIDTH, TextTower, Tokenizer, TwoTowers, build_vit, words_of

# ids: 0 padding, 1 start, 2 quote, 3 other, 4 to 29 the letters a to z, 30 to 39 the digits, then the words in order
CAT, DOG = 40, 41


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(["dog", "cat", "dog"])


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids without the padding, which is checked to be all that follows."""
    row = tokenizer([text])[0].tolist()
    length = row.index(0) if 0 in row else len(row)
    assert not any(row[length:])
    return row[:length]


def test_a_known_word_is_one_token_and_an_unknown_one_is_spelled(tokenizer: Tokenizer) -> None:
    assert len(tokenizer) == 42
    assert ids(tokenizer, "cat, dog") == [1, CAT, DOG]
    assert ids(tokenizer, "cat fox 7") == [1, CAT, 9, 18, 27, 37]  # f is the 6th letter, 4 + 5; o 4 + 14; x 4 + 23
    assert ids(tokenizer, "") == [1]


def test_a_quoted_word_is_spelled_between_quotes_even_if_known(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, 'dog, "CAT"') == [1, DOG, 2, 6, 4, 23, 2]
    assert ids(tokenizer, '"cat" cat') == [1, 2, 6, 4, 23, 2, CAT]


def test_case_does_not_matter_and_strange_letters_are_other(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "CAT Dog") == ids(tokenizer, "cat dog")
    assert ids(tokenizer, "é 猫") == [1, 3, 3]


def test_texts_are_padded_or_cut_to_the_context(tokenizer: Tokenizer) -> None:
    both = tokenizer(["cat", "cat " * 30])
    assert both.shape == (2, 24) and both.dtype == torch.long
    assert both[1].tolist() == [1] + 23 * [CAT]


def test_the_order_and_number_of_words_given_do_not_matter() -> None:
    first, other = Tokenizer(["a", "dog", "cat"]), Tokenizer(["cat", "cat", "dog"])
    assert first.words == other.words == ("cat", "dog")  # "a" is a letter already
    assert torch.equal(first(['a "dog" cat']), other(['a "dog" cat']))


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_text_becomes_ids_there_are(texts: list[str]) -> None:
    tokenizer = Tokenizer(["dog", "cat"])
    found = tokenizer(texts)
    assert found.shape == (len(texts), 24)
    assert ((found >= 0) & (found < len(tokenizer))).all() and (found[:, 0] == 1).all()


def test_words_of_texts_leave_out_what_is_quoted() -> None:
    assert words_of(['Cat, people & body, "DUST"', "cat 2"]) == {"cat", "people", "body", "2"}


def test_no_caption_of_the_tokenizers_own_words_is_spelled() -> None:
    texts = ["ice cream, food & drink", "piñata, activities"]
    tokenizer = Tokenizer(words_of(texts))
    assert [len(ids(tokenizer, text)) for text in texts] == [5, 3]  # start and one for each word


def test_the_vit_is_as_described() -> None:
    vit = build_vit(0)
    assert vit(torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)).shape == (2, WIDTH)
    assert vit(torch.zeros(2, 3, IMAGE_SIZE // 2, IMAGE_SIZE // 2)).shape == (2, WIDTH)  # local crops
    # a block: attention 4 d d + 4 d, MLP 8 d d + 5 d, two norms 4 d = 198,272 at d = 128; six of these 1,189,632;
    # patches 3 * 64 * d + d = 24,704; positions (36 + 1) d = 4,736; CLS d = 128; last norm 2 d = 256
    assert sum(p.numel() for p in vit.parameters()) == 1_189_632 + 24_704 + 4_736 + 128 + 256


@pytest.mark.parametrize("vocabulary", [(), ("cat", "dog")])
def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state(vocabulary: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = TwoTowers(seed=5, vocabulary=vocabulary).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = (TwoTowers(seed=seed, vocabulary=vocabulary).state_dict() for seed in (5, 6))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["vit.patch_embed.proj.weight"], other["vit.patch_embed.proj.weight"])


def test_the_vit_does_not_depend_on_whether_there_is_language() -> None:
    alone, beside = TwoTowers(seed=5).vit.state_dict(), TwoTowers(seed=5, vocabulary=["cat"]).vit.state_dict()
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_without_language_the_embedding_is_the_cls_token_and_with_it_its_projection() -> None:
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    alone, beside = TwoTowers(seed=5).eval(), TwoTowers(seed=5, vocabulary=["cat"]).eval()
    with torch.no_grad():
        features = alone.encode_images(images)
        assert torch.equal(features, alone.vit.forward_features(images)[:, 0])
        torch.testing.assert_close(beside.encode_images(images), features @ beside.image_projection.weight.T)


@torch.no_grad()
def test_the_text_tower_ignores_padding() -> None:
    tower = TextTower(42).eval()
    tokens = Tokenizer(["cat", "dog"])(["cat dog", 'dog "cat"'])
    before = tower(tokens)
    tower.tokens.weight[0] = 100  # what padding looks like
    tower.positions[7:] = 100  # where only padding is: the longer text has start, dog and five to spell "cat"
    torch.testing.assert_close(tower(tokens), before)
    tower.positions[6] = 100
    changed = (tower(tokens) - before).abs().amax(1) > 1e-3
    assert changed.tolist() == [False, True]


@torch.no_grad()
def test_a_text_is_encoded_alike_alone_and_among_others() -> None:
    towers = TwoTowers(seed=0, vocabulary=["cat", "dog"]).eval()
    texts = ["cat", 'a dog with a "HAT"', "dog " * 40]
    together = towers.encode_texts(texts)
    assert together.shape == (3, WIDTH)
    for text, row in zip(texts, together, strict=True):
        torch.testing.assert_close(towers.encode_texts([text])[0], row)


@torch.no_grad()
def test_the_order_of_words_and_of_letters_changes_the_embedding() -> None:
    towers = TwoTowers(seed=0, vocabulary=["cat", "dog"]).eval()
    one, other, spelled, anagram = towers.encode_texts(["cat dog", "dog cat", '"TEA"', '"EAT"'])
    assert (one - other).abs().max() > 1e-4 and (spelled - anagram).abs().max() > 1e-4
