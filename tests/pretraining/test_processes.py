from __future__ import annotations

import csv
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed

from embprobe.errors import UsageError
from embprobe.system.processes import Machine, Processes, choose_machine, torch_threads
from tests.pretraining.apart import Ended, Order

Apart = Callable[..., list[Ended]]


def one_of_three(monkeypatch: pytest.MonkeyPatch, rank: int) -> Processes:
    """As ``torchrun`` starts it, but alone."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    return Processes("cpu")


def test_a_machine_has_what_suits_its_device() -> None:
    assert choose_machine("cpu") == Machine("cpu", "float32", accumulate=1, workers=0, threads=None)
    gpu = choose_machine("cuda")
    assert gpu.precision == "bfloat16" and gpu.workers == min(8, os.cpu_count() or 1)
    assert choose_machine("cuda:1", precision="float32", workers=0, accumulate=4, threads=2) == Machine(
        "cuda:1", "float32", accumulate=4, workers=0, threads=2
    )


def test_there_is_no_other_precision() -> None:
    with pytest.raises(UsageError, match="no precision 'float16' to train in. There are: float32, bfloat16"):
        choose_machine("cpu", precision="float16")


def test_autocast_is_of_the_precision_and_in_float32_nothing() -> None:
    a = torch.ones(2, 2)
    assert isinstance(Machine().autocast(), nullcontext)
    with Machine(precision="bfloat16").autocast():
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32


def test_the_parts_of_a_batch_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes("cpu").parts(12, 1) == [slice(0, 12)]
    assert Processes("cpu").parts(12, 3) == [slice(0, 4), slice(4, 8), slice(8, 12)]
    # three processes with four images each, in two parts of two
    assert one_of_three(monkeypatch, 0).parts(12, 2) == [slice(0, 2), slice(2, 4)]
    assert one_of_three(monkeypatch, 2).parts(12, 2) == [slice(8, 10), slice(10, 12)]


def test_a_batch_that_cannot_be_cut_evenly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="A batch of 10 cannot be cut into 1 x 4 equal parts"):
        Processes("cpu").parts(10, 4)
    with pytest.raises(UsageError, match="A batch of 10 cannot be cut into 3 x 1 equal parts"):
        one_of_three(monkeypatch, 1).parts(10, 1)


def test_the_first_process_writes_and_each_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.arange(12.0).view(6, 2)
    alone = Processes("cpu")
    assert (
        alone.first and torch.equal(alone.own(features), features) and torch.equal(alone.gathered(features), features)
    )
    ranks = [one_of_three(monkeypatch, rank) for rank in range(3)]
    assert [each.first for each in ranks] == [True, False, False]
    assert torch.equal(ranks[1].own(features), features[2:4])
    assert torch.equal(torch.cat([each.own(features) for each in ranks]), features)


# --- two processes that are two ----------------------------------------------------------------------------------


def losses(folder: Path) -> list[dict[str, float]]:
    with (folder / "losses.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["clip", "dino"])
def test_two_processes_have_the_losses_of_one(name: str, tmp_path: Path, apart: Apart) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    alone = Order(str(tmp_path / "alone"), name, images_seen=12)
    first, second = (
        replace(alone, out=str(tmp_path / str(rank)), accumulate=2, environment={**shared, "RANK": str(rank)})
        for rank in range(2)
    )
    for ended in (*apart(alone), *apart(first, second)):
        assert not ended.error
    assert not (tmp_path / "1").exists()  # the first writes for both
    found, expected = losses(tmp_path / "0"), losses(tmp_path / "alone")
    assert [row["step"] for row in found if "loss" in row] == [1, 2, 3]
    assert len({row["loss"] for row in found if "loss" in row}) == 3
    for row, same in zip(found, expected, strict=True):
        assert row == pytest.approx(same, rel=1e-4)


def test_the_number_of_threads_is_restored() -> None:
    torch.set_num_threads(1)
    with pytest.raises(KeyError), torch_threads(2):
        assert torch.get_num_threads() == 2
        raise KeyError
    with torch_threads(None):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 1
