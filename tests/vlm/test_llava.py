"""LLaVA-1.5 as published, on tiny random models in the real file formats, against transformers' own LLaVA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, CLIPVisionModel, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration

from embprobe.encoders import load_encoder
from embprobe.images.rows import Images
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.image_tokens import LiveTokens, token_encoder
from embprobe.vlm.language import Language, load_language
from embprobe.vlm.model import Batch, VisionLanguageModel, build_connector, collate
from embprobe.vlm.prompts import IMAGE_ID, PROMPTS, UNLEARNED, PackedSamples, Sample, caption_sample, sample_of
from embprobe.vlm.recipe import read_recipe
from tests.conftest import row_of
from tests.vlm.tiny_clip import tiny_clip
from tests.vlm.tiny_llama import tiny_llama

VICUNA = PROMPTS["vicuna-v1"]
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("language") / "tiny-llama")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("encoder") / "tiny-clip")


@pytest.fixture(scope="module")
def language(llama: Path) -> Language:
    return load_language(llama)


@pytest.fixture(scope="module")
def source(clip: Path) -> LiveTokens:
    encoder = load_encoder(f"transformers/local-dir:{clip}")
    rng = np.random.default_rng(0)
    rows = [row_of(key, Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))) for key in ("a", "b")]
    wanted = read_recipe("llava-1.5").image.model_copy(update={"stored": "float32"})
    return LiveTokens(Images("noise", rows), token_encoder(encoder, wanted))


def learned(sample: Sample, tokenizer: Any) -> list[str]:
    """Return the stretches of a sample's text that are learned."""
    stretches: list[list[int]] = [[]]
    for label in sample.labels:
        if label != UNLEARNED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


# --- what is read and what is learned ------------------------------------------------------------------------------


def test_a_conversation_reads_as_in_llavas_code(language: Language) -> None:
    turns = [Turn(f"{IMAGE}\nWhat is it?", "A bus."), Turn("Is it red?", "No.")]
    sample = sample_of(Conversation(key="1", image="a", turns=turns), VICUNA, language.tokenizer)
    at = sample.ids.index(IMAGE_ID)
    assert sample.ids[0] == language.tokenizer.bos_token_id
    assert language.tokenizer.decode(sample.ids[1:at]) == f"{SYSTEM} USER: "
    rest = "\nWhat is it? ASSISTANT: A bus.</s>USER: Is it red? ASSISTANT: No.</s>"
    assert language.tokenizer.decode(sample.ids[at + 1 :]) == rest
    assert learned(sample, language.tokenizer) == [" A bus.</s>", " No.</s>"]
    assert sample.labels[-1] == language.tokenizer.eos_token_id


def test_a_conversation_without_an_image_has_no_place_for_one(language: Language) -> None:
    sample = sample_of(Conversation(key="1", image=None, turns=[Turn("Hi.", "Hello.")]), VICUNA, language.tokenizer)
    assert IMAGE_ID not in sample.ids
    assert language.tokenizer.decode(sample.ids[1:]) == f"{SYSTEM} USER: Hi. ASSISTANT: Hello.</s>"


def test_the_first_stage_reads_the_image_and_learns_the_caption_and_a_line_break(language: Language) -> None:
    sample = caption_sample("a", "a red bus", VICUNA, language.tokenizer)
    assert sample.ids[:2] == (language.tokenizer.bos_token_id, IMAGE_ID)
    assert language.tokenizer.decode(sample.ids[2:]) == "a red bus\n"
    assert sample.labels == (UNLEARNED, UNLEARNED, *sample.ids[2:])


def test_packed_samples_are_the_samples(language: Language) -> None:
    talk = Conversation(key="1", image=None, turns=[Turn("Hi.", "Hello."), Turn("a", "b")])
    samples = [
        caption_sample("a", "a red bus", VICUNA, language.tokenizer),
        sample_of(talk, VICUNA, language.tokenizer),
    ]
    packed = PackedSamples(iter(samples))
    assert list(packed) == samples and packed[-1] == samples[1] and packed[0:1] == samples[:1] and len(packed) == 2
    with pytest.raises(IndexError):
        packed[2]


# --- transformers' own LLaVA -----------------------------------------------------------------------------------------


def reference(clip: Path, llama: Path, connector: torch.nn.Module, image_token: int) -> Any:
    """Return transformers' LLaVA of the same weights."""
    encoder, language = CLIPVisionModel.from_pretrained(clip), LlamaForCausalLM.from_pretrained(llama)
    model: Any = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=AutoConfig.from_pretrained(clip),
            text_config=AutoConfig.from_pretrained(llama),
            image_token_index=image_token,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
    )
    model.model.vision_tower.load_state_dict(encoder.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    weights = connector.state_dict()
    for place, name in (("0", "linear_1"), ("2", "linear_2")):
        layer = getattr(model.model.multi_modal_projector, name)
        layer.load_state_dict({part: weights[f"{place}.{part}"] for part in ("weight", "bias")})
    return model.eval()


def pixels(source: LiveTokens, keys: tuple[str, ...]) -> Tensor:
    """Return images as CLIP's encoder is fed: scaled by the mean and the deviation of its authors' images."""
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    deviation = np.array([0.26862954, 0.26130258, 0.27577711])
    rows = {row.key: np.asarray(row.load()) / 255 for row in source.images.rows}
    return torch.from_numpy(np.stack([((rows[key] - mean) / deviation).transpose(2, 0, 1) for key in keys])).float()


@torch.no_grad()
def test_logits_and_loss_are_those_of_transformers_llava(
    clip: Path, llama: Path, language: Language, source: LiveTokens
) -> None:
    connector = build_connector(source.width, 16, depth=2, seed=1)
    ours = VisionLanguageModel(language.model, connector).eval()
    asked = Conversation(key="1", image="b", turns=[Turn(f"{IMAGE}\na?", "b"), Turn("c?", "d")])
    samples = [
        sample_of(asked, VICUNA, language.tokenizer),
        caption_sample("a", "a cat and a dog", VICUNA, language.tokenizer),
    ]
    batch = collate(samples, source.count, context=512)
    unknown = language.tokenizer.unk_token_id  # in no text, so that it can stand for the image
    assert (source.count, source.width) == (16, 8) and not (batch.ids == unknown)[batch.mask == 1].any()
    assert (batch.ids == IMAGE_ID).sum(1).tolist() == [16, 16]
    theirs = reference(clip, llama, connector, unknown)
    for i, key in enumerate(("b", "a")):  # one by one, since places that are filled up hold the same token as an image
        length = int(batch.mask[i].sum())
        alone = Batch(batch.ids[i : i + 1, :length], batch.labels[i : i + 1, :length], batch.mask[i : i + 1, :length])
        expected = theirs(
            input_ids=alone.ids.masked_fill(alone.ids == IMAGE_ID, unknown),
            pixel_values=pixels(source, (key,)),
            labels=alone.labels,
        )
        logits = ours.logits(alone, source([key]))
        torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=0)
        together = ours.logits(batch, source(["b", "a"]))[i, :length]
        torch.testing.assert_close(together, expected.logits[0], atol=1e-5, rtol=0)
        count = int((alone.labels[:, 1:] != UNLEARNED).sum())
        torch.testing.assert_close(ours(alone, source([key])) / count, expected.loss, atol=1e-5, rtol=0)
    assert (ours.logits(batch, source(["a", "b"])) - ours.logits(batch, source(["b", "a"]))).abs().max() > 1e-3


# --- the published schedule ------------------------------------------------------------------------------------------


def test_steps_and_learning_rates_are_the_published_ones() -> None:
    first, second = read_recipe("llava-1.5").stages
    assert (first.data, first.trains, first.batch_size) == ("captions", "connector", 256)
    assert (second.data, second.trains, second.batch_size) == ("conversations", "both", 128)
    assert (first.steps(558_128), second.steps(665_298)) == (2181, 5198)
    # 3 % of 2,181 steps are 65.4, so the 67th step has the highest rate; a quarter of the cosine later cos(pi / 4)
    assert [first.learning_rate_at(step, 2181) for step in (0, 33, 66)] == [0.0, 5e-4, 1e-3]
    assert first.learning_rate_at(66 + 705, 2181) == pytest.approx(0.5e-3 * (1 + np.cos(np.pi / 3)))
    assert first.learning_rate_at(2180, 2181) < 1e-8
    assert second.learning_rate_at(156, 5198) == 2e-5 and second.learning_rate_at(78, 5198) == 1e-5
    assert (first.weight_decay, second.weight_decay, first.connector_learning_rate) == (0, 0, None)


def test_lora_is_the_published_one() -> None:
    first, second = read_recipe("llava-1.5-lora").stages
    assert first == read_recipe("llava-1.5").stages[0]
    assert second.lora is not None and (second.lora.rank, second.lora.alpha) == (128, 256)
    assert (second.learning_rate, second.connector_learning_rate) == (2e-4, 2e-5)
    assert second.learning_rate_at(156, 5198, second.connector_learning_rate) == 2e-5


def test_the_rates_are_those_of_transformers_cosine() -> None:
    from transformers import get_cosine_schedule_with_warmup

    (first, _) = read_recipe("llava-1.5").stages
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=first.learning_rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, 30, 1000)  # 3 % of 1,000
    for step in range(1000):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(first.learning_rate_at(step, 1000), abs=1e-12)
        optimizer.step()
        schedule.step()
