"""What lies beside the pixels of a file decides nothing: it is read as if it were not there, turned where it can be."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from embprobe.images.ancillary import without_ancillary
from embprobe.images.decoding import FORMATS, UnreadableImage, decode
from tests.conftest import encoded, noise
from tests.images.test_hostile_files import KINDS, png_chunks, riff_chunks

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, about what is wrong beside the pixels

PICTURE = noise(7, (24, 16))
TURNED = PICTURE.transpose(Image.Transpose.ROTATE_270)
"""Orientation 6, as a telephone held upright saves it: turn clockwise."""
MIB = 1 << 20


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


def exif(*entries: tuple[int, int, int, bytes], order: str = ">", tail: bytes = b"") -> bytes:
    """EXIF of these entries (tag, type, count, four bytes) behind an orientation of 6, or before it by their tags."""
    orientation = (0x0112, 3, 1, struct.pack(order + "HH", 6, 0))
    listed = sorted([orientation, *entries])
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "IH", 8, len(listed))
    body = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in listed)
    return head + body + b"\0\0\0\0" + tail


MISTYPED = {
    "a maker far outside of the file": exif((0x010F, 2, 40, b"\x7f\xff\xff\xff")),
    "a description of an impossible length": exif((0x010E, 2, 0xFFFFFFFF, b"\0\0\0\x08")),
    "a width of text": exif((0x0100, 2, 4, b"wide")),
    "a resolution of bytes": exif((0x011A, 1, 4, b"\1\2\3\4")),
    "a resolution over nothing": exif((0x011A, 5, 1, b"\0\0\0\x2a"), tail=b"\0" * 8),
    "a date of doubles": exif((0x0132, 12, 1, b"\0\0\0\x2a"), tail=b"\x7f" * 8),
    "an unknown type": exif((0x0131, 99, 1, b"\0\0\0\0")),
    "a camera's directory far outside": exif((0x8769, 4, 1, b"\x7f\0\0\0")),
    "a camera's directory of text": exif((0x8769, 2, 4, b"none")),
    "the other byte order": exif((0x010F, 2, 40, b"\xff\xff\xff\x7f"), order="<"),
}
GARBAGE = {
    "nothing": b"",
    "zeros": b"\0" * 40,
    "text": b"this is no EXIF at all, but a sentence",
    "half a header": b"MM\0",
    "a directory outside": b"MM\0*\xff\xff\xff\xf0",
    "an endless directory": b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x0f\0\x02",
    "an orientation of 9": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0",
    "an orientation of text": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02six\0\0\0\0\0",
}


# --- how to put something beside the pixels -----------------------------------------------------------------------


def chunk(kind: bytes, content: bytes, *, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", right)


def in_png(*added: bytes, behind: bool = False, picture: Image.Image = PICTURE) -> bytes:
    """A PNG with these chunks before its pixels, or behind them."""
    head, (first, *pixels, end) = png_chunks(encoded(picture, "PNG"))
    return b"".join([head, first, *pixels, *added, end] if behind else [head, first, *added, *pixels, end])


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def in_jpeg(*added: bytes) -> bytes:
    plain = encoded(PICTURE, "JPEG", quality=95)
    return plain[:2] + b"".join(added) + plain[2:]


def in_webp(*added: tuple[bytes, bytes], flags: int = 0x2C, lossless: bool = True) -> bytes:
    """A WebP in the extended form, with these chunks; the flags promise a profile, EXIF and XMP."""
    _, pixels = riff_chunks(encoded(PICTURE, "WEBP", lossless=lossless))
    size = struct.pack("<I", PICTURE.width - 1)[:3] + struct.pack("<I", PICTURE.height - 1)[:3]
    chunks = [(b"VP8X", bytes([flags, 0, 0, 0]) + size)]
    body = b"WEBP" + b"".join(
        [*(riff(*each) for each in chunks), *(riff(*c) for c in added if c[0] == b"ICCP"), *pixels]
        + [riff(*c) for c in added if c[0] != b"ICCP"]
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def in_tiff(*entries: tuple[int, int, int, bytes], big: bool = False, **options: Any) -> bytes:
    """A TIFF with these entries among its own: its directory is written anew behind the pixels."""
    plain = encoded(PICTURE, "TIFF", big_tiff=big, **options)
    assert plain[:2] == b"II"
    number, length, wide = ("Q", 20, 8) if big else ("H", 12, 4)
    (start,) = struct.unpack_from("<Q" if big else "<I", plain, 8 if big else 4)
    (count,) = struct.unpack_from("<" + number, plain, start)
    head = struct.calcsize(number)
    own = [plain[start + head + length * i : start + head + length * (i + 1)] for i in range(count)]
    pack = "<HHQ" if big else "<HHI"
    added = [struct.pack(pack, tag, kind, n) + value.ljust(wide, b"\0") for tag, kind, n, value in entries]
    taken = {each[0] for each in entries}
    own = [each for each in own if struct.unpack_from("<H", each)[0] not in taken]
    listed = sorted([*own, *added], key=lambda entry: struct.unpack_from("<H", entry)[0])
    padded = plain + b"\0" * (len(plain) % 2)
    directory = struct.pack("<" + number, len(listed)) + b"".join(listed) + b"\0" * wide
    place = struct.pack("<Q" if big else "<I", len(padded))
    at = 8 if big else 4
    return padded[:at] + place + padded[at + len(place) :] + directory


JPEG = encoded(PICTURE, "JPEG", quality=95)
LONG = b"x" * (3 * MIB)
BOMB = zlib.compress(bytes(64 * MIB), 9)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
ANCILLARY = [
    *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME", b"tEXt", b"zTXt"),
    *(b"iTXt", b"eXIf", b"cICP", b"acTL", b"fcTL", b"vpAg", b"prIv"),
]


def cases() -> Iterator[tuple[str, bytes, Image.Image]]:
    """Each file whose pixels are intact: the kind of file, its bytes, and the image that it shows."""
    for behind in (False, True):
        where = "behind" if behind else "before"
        for kind in ANCILLARY:
            if behind and kind == b"fcTL":
                continue
            yield (
                f"PNG, wrong checksum of {kind!r} {where}",
                in_png(chunk(kind, b"\0" * 40, checksum=1), behind=behind),
                PICTURE,
            )
            yield f"PNG, empty {kind!r} {where}", in_png(chunk(kind, b""), behind=behind), PICTURE
            yield f"PNG, garbage in {kind!r} {where}", in_png(chunk(kind, bytes(range(1, 33))), behind=behind), PICTURE
        for name, content in {
            "a text of 3 MiB": chunk(b"tEXt", b"Comment\0" + LONG),
            "a packed text of 3 MiB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
            "an international text of 3 MiB": chunk(b"iTXt", b"Comment\0\0\0\0\0" + LONG),
            "a packed international text of 3 MiB": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LONG)),
            "a bomb of text": chunk(b"zTXt", b"Comment\0\0" + BOMB),
            "a profile of 3 MiB": chunk(b"iCCP", b"icc\0\0" + zlib.compress(LONG)),
            "a profile packed in an unknown way": chunk(b"iCCP", b"icc\0\7" + LONG[:9]),
            "a text packed in an unknown way": chunk(b"zTXt", b"Comment\0\7" + LONG[:9]),
            "a profile that is a bomb": chunk(b"iCCP", b"icc\0\0" + BOMB),
            "70 texts of 1 MiB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MIB - 1))) * 70,
        }.items():
            yield f"PNG, {name} {where}", in_png(content, behind=behind), PICTURE
        for name, garbage in GARBAGE.items():
            raw = b"Raw profile type exif\0" + b"\nexif\n  9\n" + (garbage.hex() or "zz").encode() + b"\n"
            yield f"PNG, EXIF of {name} {where}", in_png(chunk(b"eXIf", garbage), behind=behind), PICTURE
            yield f"PNG, a profile of EXIF of {name} {where}", in_png(chunk(b"tEXt", raw), behind=behind), PICTURE
        odd = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  9\n4578696g\n")
        yield f"PNG, a profile of EXIF with a wrong digit {where}", in_png(odd, behind=behind), PICTURE
        for name, mistyped in MISTYPED.items():
            hexed = (
                b"Raw profile type exif\0\nexif\n%8d\n" % (len(mistyped) + 6) + (b"Exif\0\0" + mistyped).hex().encode()
            )
            long = chunk(b"tEXt", b"Comment\0" + LONG)
            yield f"PNG turned, {name} {where}", in_png(chunk(b"eXIf", mistyped), behind=behind), TURNED
            yield (
                f"PNG turned, a bad text and {name} {where}",
                in_png(long, chunk(b"eXIf", mistyped), behind=behind),
                TURNED,
            )
            yield f"PNG turned, a profile with {name} {where}", in_png(chunk(b"tEXt", hexed), behind=behind), TURNED
        packed = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexed.split(b"\0", 1)[1]))
        wrong = chunk(b"tIME", b"1234567", checksum=1)
        yield f"PNG turned, a packed profile {where}", in_png(wrong, packed, behind=behind), TURNED
        by_xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        yield f"PNG turned by XMP {where}", in_png(wrong, by_xmp, behind=behind), TURNED
    plain = in_png()
    yield "PNG without an end", plain[:-12], PICTURE
    yield "PNG with half an end", plain[:-7], PICTURE
    yield "PNG with a wrong end", plain[:-4] + b"\0\0\0\0", PICTURE
    yield "PNG and garbage", plain + bytes(range(256)) * 9, PICTURE
    yield "PNG, garbage for an end", plain[:-12] + b"\xff\xff\xff\xffABCD" + b"\0" * 99, PICTURE
    yield "PNG cut off in a text", in_png(chunk(b"tEXt", LONG), behind=True)[:-MIB], PICTURE
    alpha = noise(3, (9, 7), 4)
    yield "PNG with alpha, wrong checksum", in_png(wrong, picture=alpha), alpha

    jpeg = Image.open(io.BytesIO(JPEG)).convert("RGB")
    upright = jpeg.transpose(Image.Transpose.ROTATE_270)
    for name, garbage in GARBAGE.items():
        yield f"JPEG, EXIF of {name}", in_jpeg(segment(0xE1, b"Exif\0\0" + garbage)), jpeg
        yield f"JPEG, several pictures in {name}", in_jpeg(segment(0xE2, b"MPF\0" + garbage)), jpeg
        for marker in range(0xE0, 0xF0):
            yield f"JPEG, {name} in {marker:x}", in_jpeg(segment(marker, garbage)), jpeg
    for name, mistyped in MISTYPED.items():
        found = segment(0xE1, b"Exif\0\0" + mistyped)
        yield f"JPEG turned, {name}", in_jpeg(found), upright
        yield f"JPEG turned, {name}, and a bad density", in_jpeg(segment(0xE0, b"JFIF\0\1"), found), upright
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    yield "JPEG turned by XMP, and bad EXIF", in_jpeg(segment(0xE1, b"Exif\0\0MM\0"), xmp), upright
    for name, content in {
        "half a JFIF": segment(0xE0, b"JFIF\0\1"),
        "a density of nothing": segment(0xE0, b"JFIF\0\1\2\3\0\0\0\0\0\0"),
        "half an Adobe": segment(0xEE, b"Adobe\0"),
        "half of Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff"),
        "resources of Photoshop that end": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
        "a short profile": segment(0xE2, b"ICC_PROFILE\0"),
        "a profile of garbage": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(range(99))),
        "one of two parts of a profile": segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(99)),
        "a FlashPix of nothing": segment(0xE2, b"FPXR\0"),
        "a comment of every byte": segment(0xFE, bytes(range(256))),
        "an empty comment": segment(0xFE, b""),
        "a length of nothing": b"\xff\xe5\0\0",
    }.items():
        yield f"JPEG, {name}", in_jpeg(content), jpeg

    for name, garbage in GARBAGE.items():
        for kind in (b"EXIF", b"XMP ", b"ICCP"):
            yield f"WebP, {kind!r} of {name}", in_webp((kind, garbage)), PICTURE
    for name, mistyped in MISTYPED.items():
        yield f"WebP turned, {name}", in_webp((b"EXIF", mistyped)), TURNED
        yield f"WebP turned, {name} as in JPEG", in_webp((b"EXIF", b"Exif\0\0" + mistyped), (b"ICCP", b"no")), TURNED
    webp = in_webp((b"EXIF", MISTYPED["an unknown type"]))
    for name, size in {"more": len(webp) + 99, "less": len(webp) // 2, "none": 0, "the most": 2**32 - 1}.items():
        yield f"WebP of a length of {name}", webp[:4] + struct.pack("<I", size) + webp[8:], TURNED
    yield "WebP and garbage", in_webp() + bytes(range(256)), PICTURE
    yield "WebP cut off in XMP", in_webp((b"XMP ", b"x" * 999))[:-200], PICTURE
    yield "WebP that promises nothing and has EXIF", in_webp((b"EXIF", b"no"), flags=0), PICTURE
    still = encoded(PICTURE, "WEBP", lossless=True)
    yield "simple WebP of a wrong length", still[:4] + b"\xff\xff\xff\x7f" + still[8:], PICTURE

    for big in (False, True):
        packed_ways = ({"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"})
        for options in ({}, *(() if big else packed_ways)):
            of = f"{'big ' if big else ''}TIFF {options.get('compression', '')}"
            far = b"\xff\xff\xff\x7f" + (b"\0" * 4 if big else b"")
            for tag in (254, 269, 270, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33723, 34377, 34665, 34675, 34853):
                yield f"{of}, {tag} far outside", in_tiff((tag, 2, 99, far), big=big, **options), PICTURE
                yield f"{of}, {tag} of text", in_tiff((tag, 2, 4, b"none"), big=big, **options), PICTURE
                yield f"{of}, {tag} of floats", in_tiff((tag, 11, 1, b"\xff\xff\xff\xff"), big=big, **options), PICTURE
            turned = (274, 3, 1, b"\6\0\0\0")
            yield f"{of} turned", in_tiff(turned, (271, 2, 99, far), big=big, **options), TURNED
            yield f"{of} turned, bad profile", in_tiff(turned, (34675, 4, 99, far), big=big, **options), TURNED
            yield (
                f"{of}, orientation of text",
                in_tiff((274, 2, 2, b"6\0"), (700, 2, 9, far), big=big, **options),
                PICTURE,
            )

    gif = encoded(PICTURE, "GIF")
    shown = Image.open(io.BytesIO(gif)).convert("RGB")
    start = 13 + (3 << (gif[10] & 7) + 1)
    for name, extension in {
        "an empty comment": b"!\xfe\0",
        "a comment of every byte": b"!\xfe\xff" + bytes(range(1, 256)) + b"\0",
        "half of Netscape's": b"!\xff\x0bNETSCAPE2.0\1\1\0",
        "half of XMP": b"!\xff\x0bXMP DataXMP\x03<x:\0",
        "an application of one letter": b"!\xff\1N\0",
        "an unknown extension": b"!\x99\4abcd\0",
        "a control of one byte": b"!\xf9\1\1\0",
    }.items():
        yield f"GIF, {name}", gif[:start] + extension + gif[start:], shown
    yield "GIF without an end", gif[:-1], shown
    yield "GIF and garbage", gif + b"!\xff!,,,,;;", shown

    bmp = encoded(PICTURE, "BMP")
    for size in (16, 20, 32, 36, 44, 48, 100, 110, 128, 140):
        fields = bmp[18:54].ljust(size - 4, b"\0")[: size - 4]
        head = bmp[:10] + struct.pack("<II", 14 + size, size)
        yield f"BMP with a header of {size}", head + fields + bmp[54:], PICTURE
    yield "BMP of a wrong length", bmp[:2] + b"\xff\xff\xff\x7f" + bmp[6:], PICTURE


CASES = {name: (content, shown) for name, content, shown in cases()}


def test_whatever_lies_beside_intact_pixels_they_are_read_and_turned() -> None:
    """Hundreds of files, in one test for speed; the ones that fail are listed by name."""
    assert len(CASES) > 500
    failed = {}
    for name, (content, shown) in CASES.items():
        try:
            found = decode(content)
        except UnreadableImage as reason:
            failed[name] = str(reason)
        else:
            if not same(found, shown):
                failed[name] = f"{found.mode} {found.size}, not as shown"
    assert failed == {}


@pytest.mark.parametrize("name", [name for name in CASES if "bomb" in name or "3 MiB" in name])
def test_what_is_packed_beside_the_pixels_takes_no_memory(name: str) -> None:
    content, _ = CASES[name]
    tracemalloc.start()
    try:
        decode(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(content) + 8 * MIB


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_a_critical_chunk_is_damage(kind: bytes) -> None:
    content = bytearray(encoded(PICTURE.quantize(16), "PNG"))
    at = content.index(kind)
    size = int.from_bytes(content[at - 4 : at])
    content[at + 4 + size] ^= 1
    with pytest.raises(UnreadableImage):
        decode(bytes(content))


def test_transparency_with_a_wrong_checksum_is_transparency() -> None:
    content = bytearray(encoded(PICTURE, "PNG", transparency=PICTURE.getpixel((0, 0))))
    expected = decode(bytes(content))
    content[content.index(b"tRNS") + 4 + 6] ^= 1
    assert expected.mode == "RGBA" and same(decode(bytes(content)), expected)


def test_a_chunk_of_pixels_with_a_damaged_name_is_damage() -> None:
    palette = encoded(PICTURE.quantize(16), "PNG")
    for name, damaged in ((b"PLTE", b"pLTE"), (b"IDAT", b"iDAT")):
        with pytest.raises(UnreadableImage):
            decode(palette.replace(name, damaged))


def test_a_cut_in_the_pixels_is_damage_whatever_else_is_left_out() -> None:
    wrong = chunk(b"tIME", b"1234567", checksum=1)
    for content in (in_png(wrong), in_jpeg(segment(0xE0, b"JFIF\0\1"))):
        for share in (0.5, 0.8, 0.95):
            with pytest.raises(UnreadableImage):
                decode(content[: int(len(content) * share)])


COLOURS: dict[str, Callable[[], bytes]] = {
    "Adobe's CMYK": lambda: encoded(PICTURE.convert("CMYK"), "JPEG"),
    "RGB by Adobe's mark": lambda: encoded(PICTURE, "JPEG", keep_rgb=True),
    "grey": lambda: encoded(PICTURE.convert("L"), "JPEG"),
    "progressive": lambda: encoded(PICTURE, "JPEG", progressive=True),
}


@pytest.mark.parametrize("make", COLOURS.values(), ids=COLOURS)
def test_colours_of_a_jpeg_are_the_same_without_its_ancillary_parts(make: Callable[[], bytes]) -> None:
    plain = make()
    broken = plain[:2] + segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed") + plain[2:]
    assert same(decode(broken), decode(plain))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if without_ancillary(KINDS[kind](0), kind.split()[0])])
def test_a_whole_file_shows_the_same_without_its_ancillary_parts(kind: str) -> None:
    content = KINDS[kind](0)
    bare = without_ancillary(content, kind.split()[0])
    assert bare is not None
    expected, found = decode(content), decode(bare.encoded)
    if "EXIF" in kind:
        found = found.transpose(Image.Transpose.ROTATE_270)
    assert same(found, expected)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_bytes_beside_the_pixels_leave_them(data: st.DataObject) -> None:
    content = data.draw(st.binary(max_size=80))
    kind = data.draw(st.sampled_from(ANCILLARY))
    behind, checksum = data.draw(st.booleans()), data.draw(st.sampled_from([None, 0]))
    marker = data.draw(st.sampled_from([*range(0xE1, 0xEE), 0xEF, 0xFE]))
    prefix = data.draw(
        st.sampled_from([b"", b"Exif\0\0MM\0*\0\0\0\x08", b"MPF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0"])
    )
    found = decode(in_png(chunk(kind, content, checksum=checksum), behind=behind))
    assert sorted(found.size) == sorted(PICTURE.size)  # EXIF may turn it
    found = decode(in_jpeg(segment(marker, prefix + content)))
    assert sorted(found.size) == sorted(PICTURE.size)
    found = decode(in_webp((b"EXIF", content), (b"XMP ", content)))
    assert sorted(np.asarray(found).ravel()) == sorted(np.asarray(PICTURE).ravel())


def test_pillows_own_texts_and_profiles_are_read_as_before() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * 1000, zip=True)
    info.add_itxt("Title", "é" * 100)
    assert same(decode(encoded(PICTURE, "PNG", pnginfo=info, icc_profile=b"x" * 500, dpi=(72, 72))), PICTURE)


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_avif_with_broken_exif_is_read() -> None:
    camera = Image.Exif()
    camera[0x010F], camera[0x0112] = "the maker of the camera", 6
    whole = encoded(PICTURE, "AVIF", exif=camera, quality=100)
    expected = decode(whole)
    assert expected.size == TURNED.size
    at = whole.rindex(b"MM\0*")
    assert same(decode(whole[:at] + b"\xff" * 8 + whole[at + 8 :]), expected)
