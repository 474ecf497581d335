"""embprobe: what do image embeddings notice? Category, embedded text, colour and style, with intervals."""

from importlib.metadata import version

__version__ = version("embprobe")
