from __future__ import annotations

from dataclasses import replace

import pytest

from embprobe.errors import UsageError
from embprobe.pretraining.recipe import Recipe


def test_steps_are_whole_batches_and_at_least_one() -> None:
    assert Recipe("clip", images_seen=32, batch_size=5).steps == 6  # of 6.4
    assert Recipe("clip", images_seen=3, batch_size=5).steps == 1


def test_the_learning_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    # 10 steps of which 0.2 are 2: 1/2 and 2/2 of the peak; then from cos 0 in eighths of pi: step 6 is half way down
    recipe = Recipe("clip", images_seen=100, batch_size=10, learning_rate=0.4, warmup=0.2)
    rates = [recipe.learning_rate_at(step) for step in range(10)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.4])
    assert rates[4] == pytest.approx(0.4 * (1 + 2**-0.5) / 2)  # cos(pi / 4)
    assert rates[6] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(0.4 * (1 - 0.92388) / 2, rel=1e-4)  # cos(7 pi / 8) = -0.92388
    assert recipe.learning_rate_at(10) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_learning_rate_is_above_zero_in_a_run_of_any_length(warmup: float, steps: int) -> None:
    recipe = Recipe("clip", images_seen=steps, batch_size=1, learning_rate=0.4, warmup=warmup)
    rates = [recipe.learning_rate_at(step) for step in range(steps)]
    assert all(0 < rate <= 0.4 for rate in rates)
    assert max(rates) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"objective": "mae"},
            "no objective 'mae'. There are: clip, siglip, nclip, xclip, slip, declip, dino, dino-v1",
        ),
        ({"augmentation": "strong"}, "no augmentation 'strong'. There are: published, dino, no-jitter, planckian"),
        (
            {"objective": "dino", "language_model": "minilm"},
            "'dino' reads no captions, so a language model is of no use",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(changed: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(Recipe("clip"), **changed)  # type: ignore[arg-type]
