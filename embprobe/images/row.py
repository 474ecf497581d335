"""One image: its key, its labels, and where its pixels come from."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from embprobe.images.decoding import UnreadableImage, decode, flatten
from embprobe.system.pixels import MAX_PIXELS

WHITE = (255, 255, 255)
Source = Callable[[], bytes | Image.Image]
"""Returns the bytes of an image file, or a picture that is in memory already."""
Change = Callable[[Image.Image], Image.Image]
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "ESTALE", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED"),
        *("ECONNREFUSED", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
)
"""Errors that pass by: they say nothing about the image itself, and the same read may succeed later."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image: a stable key, its named labels, and the source of its pixels.

    ``source`` returns the bytes of an image file, or a picture that is in memory already, and raises ``OSError`` or
    :class:`~embprobe.images.decoding.UnreadableImage` if it cannot. ``content`` identifies these bytes (by a hash, or a
    file's size and time): when it changes, vectors made from this row are stale. A key is a name, never a path to open.
    """

    key: str
    labels: Mapping[str, str]
    content: str
    source: Source = field(compare=False, repr=False)
    change: Change | None = field(default=None, compare=False, repr=False)
    """The change that an intervention makes to the image after it is decoded."""
    max_pixels: int = field(default=MAX_PIXELS, compare=False, repr=False)
    """A larger image is not decoded."""

    def read(self, *, at_least: int | None = None) -> Image.Image:
        """Read the image, with its alpha channel if it has one.

        Args:
            at_least: Allow a JPEG to be decoded at reduced scale, its shorter side no less than this many pixels.

        Raises:
            UnreadableImage: The image cannot be read.
        """
        return self._decoded(self.fetch(), at_least, self.max_pixels)

    def load(self, background: tuple[int, int, int] = WHITE, *, at_least: int | None = None) -> Image.Image:
        """Read the image as RGB, transparent parts composited onto ``background``; otherwise like :meth:`read`."""
        return self.rgb(self.fetch(), background, at_least=at_least)

    def fetch(self) -> bytes | Image.Image:
        """Fetch the image from its source without decoding it: the bytes of a file, or a picture in memory.

        Raises:
            UnreadableImage: The source cannot give it.
            OSError: A failure that says nothing about this image (no more open files, a network that is away). It
                stays an ``OSError``, because an unreadable row is left out for good.
        """
        try:
            return self.source()
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise UnreadableImage(error.strerror or type(error).__name__) from None

    def rgb(
        self,
        fetched: bytes | Image.Image,
        background: tuple[int, int, int] = WHITE,
        *,
        at_least: int | None = None,
        max_pixels: int | None = None,
    ) -> Image.Image:
        """Decode the result of :meth:`fetch` into the image that :meth:`load` returns, under another limit if given."""
        return flatten(self._decoded(fetched, at_least, max_pixels or self.max_pixels), background)

    def mask(
        self, fetched: bytes | Image.Image, *, at_least: int | None = None, max_pixels: int | None = None
    ) -> Image.Image:
        """Decode the result of :meth:`fetch` into the image's opacity, of mode L: 255 where it is opaque.

        Raises:
            UnreadableImage: It is opaque everywhere, or nowhere: nothing says where its object is.
        """
        image = self._decoded(fetched, at_least, max_pixels or self.max_pixels)
        opacity = image.getchannel("A") if "A" in image.getbands() else Image.new("L", image.size, 255)
        darkest, lightest = opacity.getextrema()
        if darkest == 255 or lightest == 0:
            raise UnreadableImage(
                f"opaque {'everywhere' if darkest else 'nowhere'}, so nothing says where its object is"
            )
        return opacity

    def undone(self, fetched: bytes | Image.Image, *, at_least: int | None = None, max_pixels: int) -> Image.Image:
        """Decode the result of :meth:`fetch` without the row's change; :meth:`rgb` takes the image in its place."""
        return decode(fetched, at_least=at_least, max_pixels=max_pixels) if isinstance(fetched, bytes) else fetched

    def _decoded(self, fetched: bytes | Image.Image, at_least: int | None, max_pixels: int) -> Image.Image:
        image = self.undone(fetched, at_least=at_least, max_pixels=max_pixels)
        return image if self.change is None else self.change(image)
