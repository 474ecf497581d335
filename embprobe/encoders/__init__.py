"""Encoders: from a name to something that turns images into vectors. One module per family."""

from embprobe.encoders.base import Encoder, EncoderSpec, Family
from embprobe.encoders.registry import families, list_encoders, load_encoder

__all__ = ["Encoder", "EncoderSpec", "Family", "families", "list_encoders", "load_encoder"]
