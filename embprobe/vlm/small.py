"""A small language model from scratch: a tokenizer of words, and a causal transformer of a million weights or two."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from embprobe.vlm.recipe import SmallModel

if TYPE_CHECKING:
    from embprobe.vlm.language import Language

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_SPECIAL = (UNKNOWN, START, END)


def word_tokenizer(texts: Iterable[str]) -> Any:
    """Make a fast tokenizer of transformers with the words of some texts, and each mark of punctuation, as its tokens.

    Example:
        >>> tokenizer = word_tokenizer(["what is written ? dust , moon"])
        >>> tokenizer("moon , what ?")["input_ids"]
        [7, 3, 8, 4]
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*_SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, bos_token=START, eos_token=END, unk_token=UNKNOWN)


def small_language(texts: Iterable[str], shape: SmallModel, *, context: int, seed: int) -> Language:
    """Make a language model with fresh weights for the words of some texts; the same seed gives the same weights.

    It is a Llama (Touvron et al. 2023) by transformers' own class, with the weights of its input for its output.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from embprobe.vlm.language import Language

    tokenizer = word_tokenizer(texts)
    configuration = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(configuration)
    return Language(model=model, tokenizer=tokenizer, name="small", context=context)
