"""Encoders: from a name to something that turns images into vectors. One module per family."""

from embprobe.encoders.network import NetworkEncoder, network_encoder
from embprobe.encoders.registry import describe_encoder, list_encoders, list_families, load_encoder
from embprobe.encoders.spec import Encoder, EncoderSpec, Family, Listing

__all__ = [
    "Encoder",
    "EncoderSpec",
    "Family",
    "Listing",
    "NetworkEncoder",
    "describe_encoder",
    "list_families",
    "list_encoders",
    "load_encoder",
    "network_encoder",
]
