"""Adapters by peft: what is trained, what is saved, and that the rest stays as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from embprobe.errors import EmbprobeError, UsageError
from embprobe.vlm.language import load_language, save_language
from embprobe.vlm.lora import has_adapters, merged, save_adapters, with_adapters
from embprobe.vlm.recipe import Lora
from tests.vlm.tiny_llama import tiny_llama

LORA = Lora(rank=4, alpha=8, dropout=0.0)
IDS = torch.tensor([[1, 40, 41, 42]])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("language") / "tiny-llama")


def test_without_the_package_it_is_a_sentence(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"pip install 'embprobe\[vlm\]'"):
        with_adapters(load_language(llama), LORA, seed=0)


def test_a_model_is_unchanged_at_first_and_learns_by_its_adapters_alone(llama: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    plain, before = load_language(llama), torch.random.get_rng_state()
    adapted = with_adapters(load_language(llama), LORA, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert has_adapters(adapted) and not has_adapters(plain)
    with torch.no_grad():
        expected = plain.model(IDS).logits
        assert torch.equal(adapted.model(IDS).logits, expected)
    trained = {name: value for name, value in adapted.model.named_parameters() if value.requires_grad}
    # seven linear layers in each of two blocks, A and B of each; neither embeddings nor head
    assert len(trained) == 2 * 7 * 2 and all(".lora_" in name for name in trained)
    assert not any("lm_head" in name or "embed" in name for name in trained)
    same = with_adapters(load_language(llama), LORA, seed=0).model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in adapted.model.state_dict().items())

    for _ in range(3):
        adapted.model(IDS, labels=IDS).loss.backward()
        with torch.no_grad():
            for value in trained.values():
                value -= 5 * value.grad
                value.grad = None
    adapted.model.eval()
    with torch.no_grad():
        learned = adapted.model(IDS).logits
    assert (learned - expected).abs().max() > 1e-3

    save_adapters(adapted, tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").glob("*.safetensors")) == ["adapter_model.safetensors"]
    assert not list((tmp_path / "adapter").glob("*.bin"))
    assert len(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) == len(trained)
    again = peft.PeftModel.from_pretrained(load_language(llama).model, tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, learned)
    with pytest.raises(EmbprobeError, match="could not be written"):
        save_adapters(adapted, tmp_path / "adapter")

    save_language(merged(adapted), tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(load_language(tmp_path / "merged").model(IDS).logits, learned, atol=1e-5, rtol=0)
