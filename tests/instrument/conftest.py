"""Some of the bundled concepts, with all their drawings."""

from __future__ import annotations

import pytest

from embprobe.images import Images


@pytest.fixture(scope="session")
def some_emoji(emoji: Images) -> Images:
    """Every sixth concept in every style, so that all splits are there."""
    return every(emoji, 6)


@pytest.fixture(scope="session")
def few_emoji(emoji: Images) -> Images:
    """Every twentieth."""
    return every(emoji, 20)


def every(images: Images, n: int) -> Images:
    kept = set(sorted(set(images.label("concept")))[::n])
    return images.take(i for i, row in enumerate(images.rows) if row.labels["concept"] in kept)
