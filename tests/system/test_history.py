from __future__ import annotations

import copy
from pathlib import Path

import pytest

from embprobe.system import history
from embprobe.system.history import History


@pytest.fixture
def _two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ROWS", 2)


def test_a_short_run_has_a_row_for_every_step() -> None:
    short = History(history.ROWS)
    for step in (1, 2, 3):
        short.add(step, {"loss": 10.0 * step})
    assert short.rows == [{"step": 1, "loss": 10}, {"step": 2, "loss": 20}, {"step": 3, "loss": 30}]


@pytest.mark.usefixtures("_two_rows")
def test_rows_are_means_over_stretches_and_the_last_may_be_shorter() -> None:
    # seven steps for two rows: a stretch is 7 // 2 = 3 steps
    long = History(7)
    for step, loss in enumerate((1, 2, 6, 4, 4, 10, 5), start=1):
        long.add(step, {"loss": loss, "scale": 2.0 * loss})
    assert long.rows == [
        {"step": 3, "loss": 3, "scale": 6},  # (1 + 2 + 6) / 3
        {"step": 6, "loss": 6, "scale": 12},  # (4 + 4 + 10) / 3
        {"step": 7, "loss": 5, "scale": 10},
    ]


@pytest.mark.usefixtures("_two_rows")
def test_a_look_is_a_row_of_its_own_and_ends_no_stretch() -> None:
    long = History(4)
    assert long.last_look == {}
    long.add(1, {"loss": 1})
    long.look(1, {"rank": 7})
    long.add(2, {"loss": 5})
    assert long.rows == [{"step": 1, "rank": 7}, {"step": 2, "loss": 3}]
    assert long.last_look == {"rank": 7}


@pytest.mark.usefixtures("_two_rows")
@pytest.mark.parametrize("kept", range(8))
def test_one_that_was_restored_goes_on_exactly(kept: int) -> None:
    losses = [0.1 * 3**step for step in range(7)]  # sums of these depend on their order

    def go_on(history: History, start: int, stop: int) -> None:
        for step in range(start, stop):
            history.add(step + 1, {"loss": losses[step]})
            if step % 2:
                history.look(step + 1, {"rank": losses[step]})

    whole, first, second = History(7), History(7), History(7)
    go_on(whole, 0, 7)
    go_on(first, 0, kept)
    state = copy.deepcopy(first.state())
    go_on(first, kept, 7)  # what the first does after that is no matter of the second
    second.restore(state)
    go_on(second, kept, 7)
    assert second.rows == whole.rows == first.rows and second.last_look == whole.last_look


def test_the_file_has_six_digits_and_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    short = History(2)
    short.add(1, {"loss": 1234567.0, "scale": 1 / 3})
    short.look(1, {"rank": 2.5})
    short.write(tmp_path / "losses.csv")
    assert (tmp_path / "losses.csv").read_text() == ("step,loss,scale,rank\n1,1.23457e+06,0.333333,\n1,,,2.5\n")
    short.add(2, {"loss": 1e-9, "scale": 0.0})
    short.write(tmp_path / "losses.csv")  # in place of the old one
    assert (tmp_path / "losses.csv").read_text().splitlines()[3:] == ["2,1e-09,0,"]
    assert [path.name for path in tmp_path.iterdir()] == ["losses.csv"]
