"""Load encoders, which turn images into vectors, by their names; each family of encoders is one module."""

from typing import TYPE_CHECKING, Any

from embprobe.encoders.registry import describe_encoder, list_encoders, list_families, load_encoder, load_encoders
from embprobe.encoders.spec import Encoder, EncoderSpec, Family, ImageInput, Listing

if TYPE_CHECKING:
    from embprobe.encoders.network import NetworkEncoder, network_encoder

__all__ = [
    "Encoder",
    "EncoderSpec",
    "Family",
    "ImageInput",
    "Listing",
    "NetworkEncoder",
    "describe_encoder",
    "list_families",
    "list_encoders",
    "load_encoder",
    "load_encoders",
    "network_encoder",
]


def __getattr__(name: str) -> Any:
    """Import the names that need torch when they are first used, so that encoders are listed without it."""
    if name in ("NetworkEncoder", "network_encoder"):
        from embprobe.encoders import network

        return getattr(network, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
