"""Read the sizes of a network that embprobe trained from the header of its weights file, without torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

IMAGE_SIZE = 48
"""Side of the input, in pixels."""
WIDTH = 128
"""Width of the ViT, and dimension of its CLS token."""
_EMBEDDING = {"none": "vit.norm.weight", "linear": "image_projection.weight", "clusters": "image_projection.mean"}
"""By head, the weights whose first axis is as long as the embedding."""


def read_header(path: Path) -> tuple[int, bool]:
    """Return the dimension of the embedding and whether the file holds a text tower, without reading the weights."""
    with safe_open(path, framework="numpy") as file:
        weights = _EMBEDDING[(file.metadata() or {}).get("head", "none")]
        dimension: int = file.get_slice(weights).get_shape()[0]
        return dimension, any(name.startswith("text.") for name in file.keys())  # noqa: SIM118 (not a dict)
