"""Some of the bundled concepts, with all their drawings."""

from __future__ import annotations

import pytest

from embprobe.images import Images


@pytest.fixture(scope="session")
def some_emoji(emoji: Images) -> Images:
    """Every sixth concept in every style, so that all splits are there."""
    kept = set(sorted(set(emoji.label("concept")))[::6])
    return emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)
