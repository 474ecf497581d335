"""libtiff prints past Python; only its error handler keeps it quiet."""

from __future__ import annotations

import ctypes

import pytest

from embprobe.images.decoding import decode
from embprobe.system.libtiff import silent_libtiff
from tests.images.test_hostile_files import fax_of_nothing


def test_a_damaged_image_prints_nothing_inside_and_its_lines_again_outside(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = fax_of_nothing(100)
    with silent_libtiff():
        decode(damaged)
    assert capfd.readouterr().err == ""
    decode(damaged)
    assert "Fax3Decode" in capfd.readouterr().err


def test_a_libtiff_out_of_reach_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda path: object())  # a library without the symbol
    with silent_libtiff():
        pass
