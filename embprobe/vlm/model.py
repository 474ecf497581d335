"""A vision-language model: an encoder's tokens go through a connector into a causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.errors import EmbprobeError
from embprobe.vlm.prompts import IMAGE_ID, UNLEARNED, Sample


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass, filled up to the longest on the right."""

    ids: Tensor
    """``[b, s]``; :data:`IMAGE_ID` where a token of an image stands."""
    labels: Tensor
    """``[b, s]``; :data:`UNLEARNED` where nothing is learned."""
    mask: Tensor
    """``[b, s]``, 1 where a token is and 0 where a sample is filled up."""

    def to(self, device: str) -> Batch:
        """Return the same on a device."""
        return Batch(self.ids.to(device), self.labels.to(device), self.mask.to(device))


def collate(samples: Sequence[Sample], image_tokens: int, *, context: int) -> Batch:
    """Put samples together, each place of an image ``image_tokens`` times; what is longer than the context is cut.

    Raises:
        EmbprobeError: The context has no room for an image.

    Example:
        >>> batch = collate([Sample((5, IMAGE_ID, 6), (-100, -100, 6), "a"), Sample((7,), (7,), None)], 2, context=8)
        >>> batch.ids.tolist(), batch.mask.tolist()
        ([[5, -200, -200, 6], [7, 0, 0, 0]], [[1, 1, 1, 1], [1, 0, 0, 0]])
    """
    rows = []
    for sample in samples:
        ids, labels = list(sample.ids), list(sample.labels)
        if sample.image is not None:
            at = ids.index(IMAGE_ID)
            ids[at : at + 1] = [IMAGE_ID] * image_tokens
            labels[at : at + 1] = [UNLEARNED] * image_tokens
            if at + image_tokens >= context:
                raise EmbprobeError(
                    f"A context of {context:,} tokens has no room for the {image_tokens:,} of an image and a text: "
                    "set a larger one in the recipe."
                )
        rows.append((ids[:context], labels[:context]))
    longest = max(len(ids) for ids, _ in rows)

    def filled(values: list[list[int]], value: int) -> Tensor:
        return torch.tensor([each + [value] * (longest - len(each)) for each in values])

    mask = filled([[1] * len(ids) for ids, _ in rows], 0)
    return Batch(filled([ids for ids, _ in rows], 0), filled([labels for _, labels in rows], UNLEARNED), mask)


class Standardised(nn.Module):
    """Give each dimension of tokens mean 0 and variance 1, by numbers that are measured once."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens ``[..., d]``, standardised."""
        return (tokens - self.mean) / self.deviation


def build_connector(
    width: int, language_width: int, *, depth: int, seed: int, standardised: Standardised | None = None
) -> nn.Sequential:
    """Build the connector: ``depth`` linear layers with GELU between them, LLaVA-1.5's ``mlp2x_gelu`` where depth is 2.

    Fresh weights are uniform in ±1 / sqrt(width), as torch draws those of linear layers; the same seed gives the same
    weights, whatever else draws random numbers meanwhile.

    Args:
        width: Of an encoder's tokens.
        language_width: Of the language model's.
        depth: The number of linear layers.
        seed: Of the weights.
        standardised: What tokens go through before, if anything.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for before in (width, *[language_width] * (depth - 1)):
        linear = nn.Linear(before, language_width, device="meta").to_empty(device="cpu")
        for weights in (linear.weight, linear.bias):
            nn.init.uniform_(weights, -(before**-0.5), before**-0.5, generator=generator)
        layers += [linear, nn.GELU()]
    return nn.Sequential(*([] if standardised is None else [standardised]), *layers[:-1])


class VisionLanguageModel(nn.Module):
    """LLaVA's shape (Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning"): the connector's tokens of
    an image stand in its place among those of the text.

    Args:
        language: A causal language model of transformers.
        connector: Sends tokens of the encoder, ``[..., width]``, to the width of the language model's; None of a model
            that sees no images.
    """

    def __init__(self, language: Any, connector: nn.Module | None) -> None:
        super().__init__()
        self.language, self.connector = language, connector

    def embedded(self, ids: Tensor, tokens: Tensor | None) -> Tensor:
        """Return the embeddings of a batch's tokens, ``[b, s, w]``, an image's where ``ids`` say so.

        Args:
            ids: ``[b, s]``.
            tokens: The encoder's tokens of the images in their order, ``[m, t, d]``.
        """
        embeddings: Tensor = self.language.get_input_embeddings()(ids.clamp(min=0))
        if tokens is None or self.connector is None:
            return embeddings
        seen = self.connector(tokens.to(next(self.connector.parameters()).dtype)).to(embeddings.dtype)
        places = (ids == IMAGE_ID).unsqueeze(-1).expand_as(embeddings)
        return embeddings.masked_scatter(places, seen)

    def logits(self, batch: Batch, tokens: Tensor | None) -> Tensor:
        """Return what the model expects behind each token, ``[b, s, vocabulary]``."""
        embeddings = self.embedded(batch.ids, tokens)
        found: Tensor = self.language(inputs_embeds=embeddings, attention_mask=batch.mask, use_cache=False).logits
        return found

    def forward(self, batch: Batch, tokens: Tensor | None) -> Tensor:
        """Return the sum of the cross-entropies of all learned tokens; :func:`learned` counts these."""
        behind = batch.labels[:, 1:]
        chosen = behind != UNLEARNED
        logits = self.logits(batch, tokens)[:, :-1][chosen]
        loss = F.cross_entropy(logits.float(), behind[chosen], reduction="sum")
        if tokens is None and self.connector is not None:
            # a gradient of 0 and not none, or a process whose samples have no image would keep the others waiting
            loss = loss + sum(0.0 * weights.sum() for weights in self.connector.parameters())
        return loss


def learned(batch: Batch) -> int:
    """Return the number of tokens that are learned."""
    return int((batch.labels[:, 1:] != UNLEARNED).sum())
