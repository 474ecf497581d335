"""On a GPU: the vectors of the CPU within rounding, half precision close to them, and every GPU in use.

Run where there is one: pytest -m gpu
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from embprobe.embeddings.extract import encode, extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import NetworkEncoder, load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.trainer import pretrain
from embprobe.system.processes import Machine
from tests.conftest import cosines, noise, row_of
from tests.pretraining.conftest import drawings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

PICTURES = [noise(i, (300 - i, 200 + i)) for i in range(40)]
ROWS = Images("noise", tuple(row_of(f"{i:02d}", picture) for i, picture in enumerate(PICTURES)))


@pytest.fixture(scope="module", params=["vit_small_patch16_224.dino", "test_convnext"])
def name(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(request.param).state_dict(), file)
    return f"timm/{request.param}:{file}"


def test_float32_gives_the_vectors_of_the_cpu(name: str) -> None:
    on_cpu, on_gpu = (encode(load_encoder(name, device=device), PICTURES) for device in ("cpu", "cuda"))
    assert np.abs(on_cpu - on_gpu).max() < 1e-4 * np.abs(on_cpu).max()  # TF32 would be off by 1e-3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(name: str, precision: str) -> None:
    exact = encode(load_encoder(name, device="cuda"), PICTURES)
    half = encode(load_encoder(name, device="cuda", precision=precision), PICTURES)
    assert not np.array_equal(exact, half)
    assert np.diag(cosines(exact, half)).min() > 0.99


def test_extraction_on_every_gpu_gives_the_same_store_as_on_the_cpu(name: str, tmp_path: Path) -> None:
    found = {
        device: extract(
            ROWS, [load_encoder(name, device=device)], Workspace.open(tmp_path / device), device=device, batch_size=8
        )[0]
        for device in ("cpu", "cuda")
    }
    assert found["cpu"].keys() == found["cuda"].keys()
    assert found["cpu"].folder.name == found["cuda"].folder.name
    assert np.diag(cosines(found["cpu"].vectors(), found["cuda"].vectors())).min() > 1 - 1e-5


def test_the_text_side_computes_on_the_gpu_too() -> None:
    on_cpu, on_gpu = (
        load_encoder("bundled/clip", device=device).encode_texts(["a cat", "two dogs"]) for device in ("cpu", "cuda")
    )
    assert np.abs(on_cpu - on_gpu).max() < 1e-4


def test_too_large_a_batch_names_a_smaller_one(name: str, tmp_path: Path) -> None:
    encoder = load_encoder(name, device="cuda")
    assert isinstance(encoder, NetworkEncoder)
    whole = torch.cuda.get_device_properties(0).total_memory

    def greedy(network: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return torch.empty(2 * whole, dtype=torch.uint8, device=batch.device)

    encoder.image = greedy
    with pytest.raises(EmbprobeError, match="use --batch-size 4"):
        extract(ROWS, [encoder], Workspace.open(tmp_path / "space"), device="cuda", batch_size=8)


@pytest.mark.parametrize("objective", ["clip", "dino"])
def test_pretraining_starts_with_the_losses_of_the_cpu_and_in_half_precision_close_to_them(
    objective: str, tmp_path: Path
) -> None:
    machines = {
        "cpu": Machine(),
        "float32": Machine(device="cuda"),
        "bfloat16": Machine(device="cuda", precision="bfloat16", accumulate=2, workers=2),
    }
    losses = {}
    for name, machine in machines.items():
        recipe = Recipe(objective, images_seen=12, batch_size=4)
        out = pretrain(drawings(), recipe, tmp_path / name, machine=machine)
        with (out / "losses.csv").open(newline="", encoding="utf-8") as file:
            losses[name] = [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]
    assert losses["float32"] == pytest.approx(losses["cpu"], rel=1e-3)
    assert losses["bfloat16"] == pytest.approx(losses["cpu"], rel=0.1)
