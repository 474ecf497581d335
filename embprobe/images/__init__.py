"""Images: from what the user typed to rows. One module per kind of source, each a function that returns Images."""

from __future__ import annotations

from pathlib import Path

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.bundled import load_bundled
from embprobe.images.decoding import UnreadableImage
from embprobe.images.folder import load_file, load_folder
from embprobe.images.rows import Images, Row

__all__ = ["Images", "Row", "UnreadableImage", "load_image", "load_images"]

DEFAULT = "bundled/emoji"


def load_images(name: str = DEFAULT) -> Images:
    """Rows of images from a name (``bundled/emoji``, ``bundled/emoji:train``) or the path of a folder or a file.

    Raises :class:`UsageError` if there is no such thing, :class:`EmbprobeError` if there are no images in it.
    """
    path = Path(name)
    if path.is_dir():
        return load_folder(path)
    if path.is_file():
        return load_file(path)
    if name.startswith("bundled/"):
        return load_bundled(name)
    raise UsageError(f"There is no folder or file '{name}'. Give the path of a folder of images, or {DEFAULT}.")


def load_image(name: str) -> Images:
    """One image file, as a set of one row.

    Raises :class:`UsageError` if it is not there or is no file, :class:`EmbprobeError` if it cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"'{name}' is a folder; give one image file.")
    if not path.is_file():
        raise UsageError(f"There is no image file '{name}'.")
    image = load_file(path)
    try:
        image.rows[0].read()
    except UnreadableImage as reason:
        raise EmbprobeError(f"'{name}' cannot be read as an image: {reason}.") from None
    return image
