"""Batches, the connector and the merged sequence, on numbers that one can read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embprobe.errors import EmbprobeError
from embprobe.vlm.model import Batch, Standardised, VisionLanguageModel, build_connector, collate, learned
from embprobe.vlm.prompts import IMAGE_ID, UNLEARNED, Sample

SEEN = Sample((1, IMAGE_ID, 5, 6), (UNLEARNED, UNLEARNED, UNLEARNED, 6), "a")
READ = Sample((1, 7), (UNLEARNED, 7), None)


class Table(nn.Module):
    """A language model of 8 tokens whose embeddings are (10 x token, 10 x token + 1); its logits are set by a test."""

    def __init__(self, logits: Tensor | None = None) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(8, 2)
        with torch.no_grad():
            self.embeddings.weight.copy_(10 * torch.arange(8.0)[:, None] + torch.arange(2.0))
        self.set, self.mask = logits, torch.empty(0)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, use_cache: bool) -> Any:
        assert not use_cache
        self.mask = attention_mask
        return SimpleNamespace(logits=inputs_embeds if self.set is None else self.set)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_an_image_takes_its_places_and_the_shorter_sample_is_filled_up() -> None:
    batch = collate([SEEN, READ], 2, context=8)
    assert batch.ids.tolist() == [[1, IMAGE_ID, IMAGE_ID, 5, 6], [1, 7, 0, 0, 0]]
    assert batch.labels.tolist() == [[-100, -100, -100, -100, 6], [-100, 7, -100, -100, -100]]
    assert batch.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert learned(batch) == 2
    moved = batch.to("meta")
    assert {each.device.type for each in (moved.ids, moved.labels, moved.mask)} == {"meta"}


def test_a_label_of_the_first_token_is_not_learned_since_nothing_stands_before_it() -> None:
    batch = collate([Sample((7, 7), (7, 7), None), Sample((3,), (3,), None)], 0, context=8)
    assert learned(batch) == 1


def test_the_end_of_a_sample_that_is_longer_than_the_context_is_cut() -> None:
    batch = collate([SEEN], 2, context=4)
    assert batch.ids.tolist() == [[1, IMAGE_ID, IMAGE_ID, 5]]
    assert batch.labels.tolist() == [[UNLEARNED] * 4] and learned(batch) == 0


def test_a_context_without_room_for_an_image_and_a_text_is_a_sentence() -> None:
    with pytest.raises(EmbprobeError, match=r"context of 3 tokens has no room for the 2 of an image.* set a larger"):
        collate([SEEN], 2, context=3)
    with pytest.raises(EmbprobeError, match=r"context of 1,000 tokens has no room for the 1,024 of an image"):
        collate([READ, SEEN], 1024, context=1000)
    assert collate([READ], 1024, context=8).ids.shape == (1, 2)  # a text alone needs none


# --- the merged sequence ---------------------------------------------------------------------------------------------


def connector_that_adds(value: float) -> nn.Module:
    """Return a connector of 2 to 2 numbers that adds ``value`` to each."""
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.fill_(value)
    return linear


def test_the_connectors_tokens_stand_where_the_image_does() -> None:
    model = VisionLanguageModel(Table(), connector_that_adds(0.5))
    second = Sample((IMAGE_ID, 2), (UNLEARNED, 2), "b")
    batch = collate([SEEN, READ, second], 2, context=8)
    tokens = torch.tensor([[[100.0, 101.0], [102.0, 103.0]], [[200.0, 201.0], [202.0, 203.0]]])
    assert model.embedded(batch.ids, tokens).tolist() == [
        [[10, 11], [100.5, 101.5], [102.5, 103.5], [50, 51], [60, 61]],
        [[10, 11], [70, 71], [0, 1], [0, 1], [0, 1]],  # token 0 where it is filled up
        [[200.5, 201.5], [202.5, 203.5], [20, 21], [0, 1], [0, 1]],
    ]


def test_a_blind_model_reads_the_first_embedding_where_an_image_would_stand() -> None:
    batch = collate([SEEN], 1, context=8)
    assert VisionLanguageModel(Table(), None).embedded(batch.ids, None)[0, :, 0].tolist() == [10, 0, 50, 60]


def test_the_language_model_gets_the_mask() -> None:
    table = Table()
    VisionLanguageModel(table, None).logits(collate([SEEN, READ], 2, context=8), None)
    assert table.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]


def test_tokens_reach_the_connector_in_the_precision_of_its_weights() -> None:
    connector = connector_that_adds(0.0).to(torch.float64)
    embedded = VisionLanguageModel(Table(), connector).embedded(collate([SEEN], 1, context=8).ids, torch.ones(1, 1, 2))
    assert embedded.dtype == torch.float32 and embedded[0, 1].tolist() == [1, 1]


# --- the loss --------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_the_learned_tokens_alone() -> None:
    # three tokens in the vocabulary; the logits behind token t are for token t + 1
    logits = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [9.0, 9.0, 9.0]]])
    batch = Batch(torch.tensor([[1, 1, 2]]), torch.tensor([[0, UNLEARNED, 2]]), torch.ones(1, 3, dtype=torch.long))
    # learned is only the last token, whose logits are 0, 0, 3: -log(e^3 / (1 + 1 + e^3))
    expected = -torch.log(torch.tensor(3.0).exp() / (2 + torch.tensor(3.0).exp()))
    model = VisionLanguageModel(Table(logits), None)
    torch.testing.assert_close(model(batch, None), expected)
    # both: -log(e^1 / (e^2 + e^1 + 1)) of the second token, whose id is 1, and the same as before
    both = Batch(batch.ids, torch.tensor([[0, 1, 2]]), batch.mask)
    first = -torch.log(torch.tensor(1.0).exp() / (torch.tensor(2.0).exp() + torch.tensor(1.0).exp() + 1))
    torch.testing.assert_close(model(both, None), first + expected)
    nothing = Batch(batch.ids, torch.full((1, 3), UNLEARNED), batch.mask)
    assert float(model(nothing, None)) == 0


def test_a_batch_without_images_gives_the_connector_a_gradient_of_zero() -> None:
    model = VisionLanguageModel(Table(), connector_that_adds(0.5))
    one = Sample((1, 1), (UNLEARNED, 1), None)
    model(collate([one], 2, context=8), None).backward()
    assert model.connector is not None
    gradients = [weights.grad for weights in model.connector.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


# --- the connector ---------------------------------------------------------------------------------------------------


def test_tokens_are_standardised_by_given_numbers() -> None:
    standardised = Standardised(torch.tensor([1.0, 100.0]), torch.tensor([2.0, 50.0]))
    assert standardised(torch.tensor([[[3.0, 0.0], [1.0, 150.0]]])).tolist() == [[[1, -2], [0, 1]]]
    assert not list(standardised.parameters())  # they are not learned
    assert sorted(standardised.state_dict()) == ["deviation", "mean"]  # and saved with the weights


@pytest.mark.parametrize(
    ("depth", "shapes"),
    [
        (1, {"0.weight": (6, 4), "0.bias": (6,)}),
        (2, {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (6, 6), "2.bias": (6,)}),
    ],
)
def test_the_connector_has_its_depth_and_the_widths_of_both_models(
    depth: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    connector = build_connector(4, 6, depth=depth, seed=0)
    assert {name: tuple(value.shape) for name, value in connector.state_dict().items()} == shapes
    assert [type(layer).__name__ for layer in connector] == ["Linear", "GELU", "Linear"][: 2 * depth - 1]
    assert connector(torch.zeros(3, 5, 4)).shape == (3, 5, 6)
    bounds = {"0": 4**-0.5, "2": 6**-0.5}
    for name, value in connector.state_dict().items():
        assert 0 < value.abs().max() <= bounds[name[0]]


def test_the_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build_connector(4, 6, depth=2, seed=3).state_dict()
    before = torch.random.get_rng_state()
    torch.rand(5)
    again = build_connector(4, 6, depth=2, seed=3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    other = build_connector(4, 6, depth=2, seed=4).state_dict()
    assert not any(torch.equal(value, other[name]) for name, value in first.items())
    torch.random.set_rng_state(before)
    drawn = torch.rand(5)
    torch.random.set_rng_state(before)
    build_connector(4, 6, depth=2, seed=3)
    assert torch.equal(torch.rand(5), drawn)  # and nothing is drawn from torch's own state


def test_a_standardised_connector_has_the_weights_of_one_that_is_not() -> None:
    standardised = Standardised(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 4.0]))
    plain, before = (build_connector(2, 3, depth=2, seed=0, standardised=each) for each in (None, standardised))
    tokens = torch.tensor([[5.0, 7.0]])
    assert torch.equal(before(tokens), plain(torch.tensor([[2.0, 2.0]])))
