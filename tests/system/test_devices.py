"""Devices by name, on machines with and without GPUs, which torch is made to believe in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import UsageError
from embprobe.system.devices import each_of, resolve_device, unused_gpu

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes torch find so many GPUs, and one of a Mac or none."""

    def make(gpus: int, *, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA Dream")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return make


@pytest.mark.parametrize(
    ("asked", "gpus", "mps", "found"),
    [
        ("auto", 0, False, ["cpu"]),
        ("auto", 1, False, ["cuda:0"]),
        ("auto", 4, False, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        ("auto", 0, True, ["mps"]),
        ("auto", 1, True, ["cuda:0"]),
        ("cpu", 0, False, ["cpu"]),
        ("cpu", 4, False, ["cpu"]),
        ("cuda", 1, False, ["cuda:0"]),
        ("cuda", 4, False, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        ("cuda:0", 1, False, ["cuda:0"]),
        ("cuda:3", 4, False, ["cuda:3"]),
        ("mps", 0, True, ["mps"]),
    ],
)
def test_a_name_stands_for_these_devices(machine: Machine, asked: str, gpus: int, mps: bool, found: list[str]) -> None:
    machine(gpus, mps=mps)
    assert each_of(resolve_device(asked)) == found


@pytest.mark.parametrize("gpus", [0, 1, 4])
@pytest.mark.parametrize("asked", ["", ":", "gpu", "CPU", "cpu:0", "cpu:", "mps:0", "cuda:", "cuda:x", "cuda:-1"])
def test_what_is_no_device_is_said_to_be_none(machine: Machine, asked: str, gpus: int) -> None:
    machine(gpus, mps=True)
    with pytest.raises(UsageError, match=rf"^There is no device '{asked}'\. There are: auto, cpu, cuda"):
        resolve_device(asked)


@pytest.mark.parametrize(
    "asked", ["cuda:٣", "cuda:³", "cuda:1 ", "cuda: 1", "cuda:1:1", "cuda:1.0", "cuda:00", "cuda:01"]
)
def test_a_number_is_one_that_torch_reads_too(machine: Machine, asked: str) -> None:
    machine(4)
    with pytest.raises(UsageError, match="There is no "):
        resolve_device(asked)


def test_what_is_not_here_is_said(machine: Machine) -> None:
    machine(0)
    for asked in ("cuda", "cuda:0", "mps"):
        with pytest.raises(UsageError, match=rf"finds no {asked[:4].rstrip(':')}.* device here\. Use --device auto"):
            resolve_device(asked)
    machine(1)
    with pytest.raises(UsageError, match=r"There is no 'cuda:7': torch finds 1 here, counted from 0\."):
        resolve_device("cuda:7")
    machine(4)
    with pytest.raises(UsageError, match=r"There is no 'cuda:4': torch finds 4"):
        resolve_device("cuda:4")
    with pytest.raises(UsageError, match=r"There is no 'cuda:9{99}'"):
        resolve_device(f"cuda:{'9' * 99}")


@given(st.text() | st.from_regex(r"(cpu|cuda|mps|auto):?\w*", fullmatch=True))
def test_what_resolves_is_a_device_for_torch(asked: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 4)
        try:
            devices = each_of(resolve_device(asked))
        except UsageError:
            return
    assert [str(torch.device(device)) for device in devices] == devices


@pytest.mark.parametrize(
    ("device", "gpus", "said"),
    [
        ("cpu", 0, ""),
        ("cpu", 1, "1 of 1 GPUs (NVIDIA Dream) will not be used: --device auto"),
        ("cpu", 4, "4 of 4 GPUs (NVIDIA Dream) will not be used: --device auto"),
        ("cuda", 1, ""),
        ("cuda", 4, ""),
        ("cuda:0", 1, ""),
        ("cuda:2", 4, "3 of 4 GPUs (NVIDIA Dream) will not be used: --device auto"),
    ],
)
def test_a_gpu_that_will_not_be_used_is_said_aloud(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, said: str
) -> None:
    machine(gpus)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # the driver's file, on machines that have one
    assert unused_gpu(device) == said


def test_a_gpu_that_torch_cannot_use_is_said_aloud_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(0)
    monkeypatch.setattr(Path, "exists", lambda path: str(path).startswith("/proc/driver/nvidia"))
    assert unused_gpu("cpu").startswith("There is an NVIDIA GPU, but this torch (")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    machine(0, mps=True)
    assert unused_gpu("cpu") == "The GPU of this Mac will not be used: --device auto"
    assert unused_gpu("mps") == ""
