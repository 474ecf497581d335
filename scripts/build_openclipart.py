"""Build more training images from clip art: thousands of titled drawings in one Parquet file.

    python scripts/build_openclipart.py --out openclipart.parquet
    python scripts/build_openclipart.py --out both.parquet --with-emoji
    embprobe pretrain --images both.parquet --held-out bundled/emoji:unseen-drawing ...

The drawings are those of the Open Clip Art Library, release 0.18, as Debian's package ``openclipart-svg`` has them;
they are in the public domain. The file is laid out like the bundled emoji (``build_emoji.py``): a 128 x 128 RGBA WebP
with a transparent ground per drawing, trimmed to its ink, and its labels:

    ``caption``   the title, in the language of its author: English, a fifth Italian or French;
    ``concept``   the same, so that two drawings with one title are never in one batch;
    ``category``  the folder it lies in, at the top; ``keywords``: all its folders, and the subjects in its metadata.

Text in a drawing is not drawn: it would depend on the fonts of the machine. Left out are folders without drawings of
things (`FOLDERS_LEFT_OUT`), drawings without a title, those that resvg cannot render or renders blank, and all but the
first of drawings that look alike (`duplicates`).

With ``--with-emoji`` the bundled emoji's training drawings stand in the same file, with their labels. Clip art named
like one of the concepts that are held out is then left out, or they would be unseen no longer.

The files are by strangers. Each is parsed and rendered in a process of its own that has a limit of time and memory, no
picture that it names is opened, and no link out of the folder is followed. The same files and library versions give
the same bytes, whatever the hash seed and the number of workers.
"""

import argparse
import base64
import html
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from threading import Event, Timer
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
from numpy.typing import NDArray
from PIL import Image, ImageOps

SOURCE = Path("/usr/share/openclipart/svg")
HOW_TO_GET_IT = (
    "Install Debian's package openclipart-svg, or unpack it: "
    "'dpkg-deb -x openclipart-svg_*.deb DIR' (elsewhere 'ar x' and 'tar xf data.tar.*'), then "
    "--source DIR/usr/share/openclipart/svg. It lies in the pool of any Debian mirror, under main/o/openclipart."
)
SIZE = 128
INK = 124
"""Pixels of the longer side of the ink; a margin of two remains."""
FIRST_PAGE, RENDERINGS = 256, 3
"""The side in pixels at which a page is rendered first, and how often it may be rendered to find its size."""
LARGEST_PAGE = 2048
MIN_INK = 4 / FIRST_PAGE
"""A longer side below this share of the page is a speck."""
MIN_COVERAGE = 0.005
MAX_BYTES = 2_000_000
MAX_SECONDS = 20
MAX_MEMORY = 2 << 30
READY = "ready\n"
ROW_GROUP_SIZE = 512
WEBP: Mapping[str, Any] = {"quality": 90, "alpha_quality": 100, "method": 5}

FOLDERS_LEFT_OUT = {
    "computer/buttons": "buttons",
    "computer/icons": "icons of programs",
    "recreation/games/cards": "playing cards",
    "shapes/arrows": "shapes",
    "shapes/callouts": "shapes",
    "shapes/flowchart": "shapes",
    "shapes/jigsaw": "shapes",
    "shapes/stars": "stars",
    "signs_and_symbols/flags": "flags",
    "signs_and_symbols/led": "shapes",
    "special": "gradients and patterns",
}
SAME_DRAWING, SAME_TITLE = 0.1, 0.45
"""The largest distances of fingerprints at which two drawings count as one: with different captions, with the same.

Chosen by looking at pairs: at 0.15 road signs of one shape begin to meet, at 0.5 two lighthouses do.
"""
GRID = 16
STEP = 10
"""The least difference in grey value, of 255, that is an edge."""

NOISE = frozenset(("aiga", "aj", "bb", "bw", "clip", "clipart", "ganson", "hash", "openclipart", "svg", "unsorted"))
"""Words of authors, programs and folders that do not describe a drawing."""
COLLECTION = 3
"""If this many files have a title that is not in their names, it is the title of a collection, not of a drawing."""
SVG, DC = "http://www.w3.org/2000/svg", "{http://purl.org/dc/elements/1.1/}"


@dataclass(frozen=True)
class File:
    """A drawing's path below the source, without suffix, and the folders that it lies in, also by links."""

    key: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """The content of a file: title, author and subjects from its metadata, the picture, and its fingerprint."""

    title: str
    author: str
    subjects: tuple[str, ...]
    picture: bytes
    fingerprint: bytes


@dataclass(frozen=True)
class LeftOut:
    """The reason why a file gives no drawing."""

    reason: str


def main() -> None:
    """Find, render, choose and write; print what was written and what was left out."""
    parser = argparse.ArgumentParser(description="Build a data set of clip art for pretraining.")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of SVG files")
    parser.add_argument("--out", type=Path, default=Path("openclipart.parquet"), help="the Parquet file to write")
    parser.add_argument("--with-emoji", action="store_true", help="put the emoji's training drawings into it, too")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return
    if not arguments.source.is_dir():
        raise SystemExit(f"There is no folder '{arguments.source}'. {HOW_TO_GET_IT}")

    emoji = read_emoji() if arguments.with_emoji else Emoji((), {}, frozenset())
    reasons: Counter[str] = Counter()
    files = []
    for file in find_files(arguments.source, reasons):
        reason = unwanted(file)
        if reason is None:
            files.append(file)
        else:
            reasons[reason] += 1
    paths = [arguments.source / f"{file.key}.svg" for file in files]
    drawn = render_all(paths, workers=arguments.workers)
    kept = choose(files, drawn, reasons, unseen=emoji.unseen)
    if not kept:
        raise SystemExit(f"No drawing was found in '{arguments.source}'. {HOW_TO_GET_IT}")
    rows = [row(file, drawing, caption, emoji.concepts) for file, drawing, caption in kept]
    write(arguments.out, [*emoji.rows, *rows])
    report(arguments.out, [file for file, _, _ in kept], len(emoji.rows), reasons)


# --- which files -----------------------------------------------------------------------------------------------------


def find_files(source: Path, reasons: Counter[str]) -> list[File]:
    """Find the SVG files below a folder, sorted by key; a link to one of them adds the link's folder to it.

    Links out of the folder and files that are not regular are counted in ``reasons``.
    """
    root = source.resolve()
    folders: dict[Path, set[str]] = {}
    for parent, subfolders, names in os.walk(root):  # does not follow links to folders
        subfolders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix != ".svg":
                continue
            real = Path(os.path.realpath(path))  # Path.resolve raises an error for a loop of links
            if not real.is_relative_to(root):
                reasons["links out of the folder"] += 1
            elif not real.is_file() or real.suffix != ".svg":
                reasons["no regular files"] += 1
            else:
                folders.setdefault(real, set()).add(path.parent.relative_to(root).as_posix())
    by_key = {real.relative_to(root).with_suffix("").as_posix(): of_file for real, of_file in folders.items()}
    return [File(key, tuple(sorted(of_file))) for key, of_file in sorted(by_key.items())]


def unwanted(file: File) -> str | None:
    """Return the reason to leave out a file's folder, whose drawings are not of things; None to keep the file."""
    for folder in (PurePosixPath(file.key).parent.as_posix(), *file.folders):
        for start, reason in FOLDERS_LEFT_OUT.items():
            if f"{folder}/".startswith(f"{start}/"):
                return reason
    return None


# --- rendering, in processes that may be killed ----------------------------------------------------------------------


def render_all(paths: Sequence[Path], *, workers: int = 2, seconds: float = MAX_SECONDS) -> list[Drawing | LeftOut]:
    """Render files in processes of their own, in their order; a file that kills its process is left out."""
    idle: SimpleQueue[Renderer] = SimpleQueue()
    renderers = [Renderer(seconds) for _ in range(workers)]
    for renderer in renderers:
        idle.put(renderer)

    def render(path: Path) -> Drawing | LeftOut:
        renderer = idle.get()
        try:
            return renderer.render(path)
        finally:
            idle.put(renderer)

    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(render, paths))
    finally:
        for renderer in renderers:
            renderer.close()


class Renderer:
    """A process that renders one file after another; a new one takes its place when it dies or takes too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def render(self, path: Path) -> Drawing | LeftOut:
        """Render one file, or return the reason why it gives no drawing."""
        process = self._process = self._process or _started()
        assert process.stdin is not None and process.stdout is not None
        expired = Event()
        timer = Timer(self._seconds, _stop, (process, expired))
        timer.start()
        try:
            process.stdin.write(json.dumps(str(path)) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        timer.cancel()
        if not answer.endswith("\n"):
            self.close()
            return LeftOut("taking too long" if expired.is_set() else "stopping the renderer")
        content = json.loads(answer)
        if "reason" in content:
            return LeftOut(content["reason"])
        picture, fingerprint = (base64.b64decode(content[name]) for name in ("picture", "fingerprint"))
        return Drawing(content["title"], content["author"], tuple(content["subjects"]), picture, fingerprint)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _started() -> "subprocess.Popen[str]":
    """Start a process that waits for paths; the time to start does not count against a file."""
    pipe = subprocess.PIPE
    command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="utf-8")
    assert process.stdout is not None
    if process.stdout.readline() != READY:
        raise SystemExit("The process that renders did not start.")
    return process


def _stop(process: "subprocess.Popen[str]", expired: Event) -> None:
    expired.set()
    process.kill()


def serve() -> None:
    """Read paths, a line of JSON each, and answer with the files' content; memory is limited where that can be done."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    sys.stdout.write(READY)
    sys.stdout.flush()
    for line in sys.stdin:
        drawing = examine(Path(json.loads(line)))
        if isinstance(drawing, LeftOut):
            answer: dict[str, Any] = {"reason": drawing.reason}
        else:
            texts = {name: base64.b64encode(getattr(drawing, name)).decode() for name in ("picture", "fingerprint")}
            answer = {"title": drawing.title, "author": drawing.author, "subjects": drawing.subjects, **texts}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def examine(path: Path) -> Drawing | LeftOut:
    """Parse and render a file in this process, where a hostile one may take all memory or all time."""
    with path.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        return LeftOut("too large")
    try:
        svg = ElementTree.fromstring(content)  # a parser that opens nothing and limits what entities become
        if any(_local(element) in ("image", "feImage") for element in svg.iter()):
            return LeftOut("with a picture in them")
        if svg.tag == "svg":
            svg.set("xmlns", SVG)
        text = ElementTree.tostring(svg, encoding="unicode")
        image = draw(text)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError):
        return LeftOut("not to be rendered")
    if image is None:
        return LeftOut("blank")
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", exact=False, **WEBP)
    return Drawing(*metadata(svg), buffer.getvalue(), fingerprint(image))


def draw(svg: str) -> Image.Image | None:
    """Render a drawing trimmed to its ink, ``SIZE`` pixels square with transparent ground; None if it is blank.

    Many drawings lie in a corner of a page. The first rendering locates the ink, the next are so large that the ink
    fills the square. Raises ``ValueError`` if the drawing cannot be rendered.
    """
    side = FIRST_PAGE
    for _ in range(RENDERINGS):
        page = _render(svg, side)
        box = page.getchannel("A").getbbox()
        longer = max(box[2] - box[0], box[3] - box[1]) if box else 0
        if box is None or longer < MIN_INK * side:
            return None
        if INK - 2 <= longer <= SIZE:
            break
        side = min(LARGEST_PAGE, round(side * INK / longer))
    ink = page.crop(box)
    if not INK - 2 <= longer <= SIZE:  # of a page too large to be drawn any larger
        ink = ImageOps.contain(ink.convert("RGBa"), (INK, INK)).convert("RGBA")
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(ink, ((SIZE - ink.width) // 2, (SIZE - ink.height) // 2))
    coverage = sum(canvas.getchannel("A").tobytes()) / (255 * SIZE * SIZE)
    return canvas if coverage >= MIN_COVERAGE and _varies(canvas) else None


def metadata(svg: ElementTree.Element) -> tuple[str, str, tuple[str, ...]]:
    """Read title, author and subjects from the first ``cc:Work`` of the metadata."""
    work = next((element for element in svg.iter() if _local(element) == "Work"), None)
    if work is None:
        return "", "", ()
    elements = {name: work.find(f"{DC}{name}") for name in ("title", "creator", "subject")}
    texts = {
        name: [text for part in element.itertext() if (text := readable(part))] if element is not None else []
        for name, element in elements.items()
    }
    return " ".join(texts["title"]), " ".join(texts["creator"]), tuple(texts["subject"])


def fingerprint(image: Image.Image) -> bytes:
    """Compute 2048 bits: where grey value and opacity rise or fall, to the right and down, between 17 x 17 squares.

    A "difference hash". Size does not change it, as drawings are trimmed, nor does colour, unless light turns dark.
    """
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    edges = []
    for channel in (white.convert("L"), image.getchannel("A")):
        values = np.asarray(channel.resize((GRID + 1, GRID + 1), Image.Resampling.BOX), dtype=np.int16)
        corner = values[:-1, :-1]
        for change in (values[:-1, 1:] - corner, values[1:, :-1] - corner):
            edges += [change > STEP, change < -STEP]
    return np.packbits(np.stack(edges)).tobytes()


def _render(svg: str, side: int) -> Image.Image:
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, width=side, height=side, dpi=96)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _varies(image: Image.Image) -> bool:
    """Return whether a drawing is more than a square of one colour."""
    pixels = np.asarray(image)[8:-8, 8:-8]
    return bool((pixels != pixels[0, 0]).any())


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


# --- captions and keywords -------------------------------------------------------------------------------------------


def choose(
    files: Sequence[File], drawn: Sequence[Drawing | LeftOut], reasons: Counter[str], *, unseen: Iterable[str] = ()
) -> list[tuple[File, Drawing, str]]:
    """Choose the drawings to keep, each with its caption; count the others in ``reasons``.

    ``unseen`` are names that no caption or keyword may contain.
    """
    rendered = []
    for file, drawing in zip(files, drawn, strict=True):
        if isinstance(drawing, Drawing):
            rendered.append((file, drawing))
        else:
            reasons[drawing.reason] += 1
    collections = titles_of_collections([(file.key, drawing.title) for file, drawing in rendered])
    captioned: list[tuple[File, Drawing, str]] = []
    held_out = [f" {name} " for name in unseen]
    for file, drawing in rendered:
        caption = caption_of(file.key, drawing, collection=drawing.title in collections)
        text = f" {caption} , {' , '.join(keywords_of(file, drawing, caption))} "
        if not caption:
            reasons["without a title"] += 1
        elif any(name in text for name in held_out):
            reasons["of a held-out concept"] += 1
        else:
            captioned.append((file, drawing, caption))
    repeated = duplicates([drawing.fingerprint for _, drawing, _ in captioned], [caption for *_, caption in captioned])
    reasons["like another"] += len(repeated)
    return [choice for i, choice in enumerate(captioned) if i not in repeated]


def titles_of_collections(titles: Sequence[tuple[str, str]]) -> set[str]:
    """Find titles that many files share whose names differ from it, from pairs of key and title."""
    strangers = Counter(title for key, title in titles if not _named_after(key, title))
    return {title for title, count in strangers.items() if count >= COLLECTION}


def caption_of(key: str, drawing: Drawing, *, collection: bool = False) -> str:
    """Caption a drawing by its title or, where that is a collection's or no description, by its file's name.

    Empty if neither has a word of three letters.
    """
    file_name = without_author(PurePosixPath(key).name, drawing.author)
    for text in (file_name, drawing.title) if collection else (drawing.title, file_name):
        caption = tidy(f" {tidy(text)} ".replace(f" {tidy(drawing.author)} ", " "))
        if not _is_no_description(text) and re.search(r"[^\W\d_]{3}", caption):
            return caption
        if _is_no_description(text) and _named_after(key, text):
            return ""
    return ""


def keywords_of(file: File, drawing: Drawing, caption: str) -> list[str]:
    """List keywords from metadata and folders that are not in the caption, without authors, numbers and plurals."""
    folders = [part for folder in file.folders for part in folder.split("/")]
    parts = [part for text in (*drawing.subjects, *folders) for part in text.split(",")]
    keywords = {tidy(part) for part in parts if not _is_no_description(part)}
    author, name = tidy(drawing.author).split(), caption.split()
    return sorted(
        keyword
        for keyword in keywords
        if re.fullmatch(r"[^\W\d_]{3,}( [^\W\d_]{2,}){0,3}", keyword)
        and not set(keyword.split()) <= set(author)
        and not set(keyword.split()) <= set(name)
        and not (keyword.endswith("s") and keyword[:-1] in keywords | set(name))
    )


def tidy(text: str) -> str:
    """Reduce a text to lower-case words of letters and digits; numbers of files and marks of versions are dropped.

    >>> tidy("Clipart by Nicu Buculei - Ice_Cream-Cone03 (B and W)")
    'nicu buculei ice cream cone'
    """
    text = re.sub(r"\(?\bb\s*(and|&|/)\s*w\b\)?", " ", readable(text), flags=re.IGNORECASE)
    text = re.sub(r"\b(clip\s*art|drawn)\s+by\b", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", text)  # between the words of camelCase
    text = re.sub(r"(?<=[^\W\d_]{3})(?=\d)", " ", text)
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    words = [word for word in words if word not in NOISE and not re.fullmatch(r"0\d*|v\d*", word)]
    while words and re.fullmatch(r"\d+|[^\W\d_]", words[-1]):
        words.pop()
    return " ".join(words)


def readable(text: str) -> str:
    """Clean a text into one line; entities that were escaped twice, and UTF-8 that was read as Latin-1, are repaired.

    >>> readable(" L&amp;Atilde;&amp;copy;zard ")
    'Lézard'
    """
    for _ in range(2):
        text = html.unescape(text)
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    text = unicodedata.normalize("NFC", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def without_author(name: str, author: str) -> str:
    """Remove the author's name from a file's name; the library put as much of it behind the title as had room.

    >>> without_author("gallo_di_profilo_archite_01", "Architetto Francesco Rollandin")
    'gallo_di_profilo'
    """
    name = re.sub(r"_*\d*$", "", name)
    slug = re.sub(r"[^a-z0-9]+", "_", author.lower()).strip("_")
    for length in range(len(slug), 1, -1):
        part = slug[:length]
        if name.lower().endswith(f"_{part}"):
            return name[: -len(part) - 1]
    return name


def duplicates(fingerprints: Sequence[bytes], captions: Sequence[str]) -> set[int]:
    """Find the positions of drawings that look like an earlier one; those with one caption need to look less alike.

    The distance is the share of the edges of either drawing that the other lacks (Jaccard's): 0 to 1.
    """
    if not captions:
        return set()
    edges = np.unpackbits(np.frombuffer(b"".join(fingerprints), np.uint8).reshape(len(captions), -1), axis=1)
    names = np.asarray(captions)
    repeated: set[int] = set()
    kept: list[int] = []
    for i in range(len(captions)):
        either: NDArray[Any] = (edges[kept] | edges[i]).sum(1)
        both: NDArray[Any] = (edges[kept] & edges[i]).sum(1)
        distances = 1 - both / np.maximum(either, 1)
        allowed = np.where(names[kept] == names[i], SAME_TITLE, SAME_DRAWING)
        if (distances <= allowed).any():
            repeated.add(i)
        else:
            kept.append(i)
    return repeated


def _named_after(key: str, title: str) -> bool:
    """Return whether a file's name and the title begin alike."""
    name, title = (re.sub(r"[\W_]+", "", text.lower()) for text in (PurePosixPath(key).name, title))
    return bool(title) and (name.startswith(title[:12]) or title.startswith(name[:12]))


def _is_no_description(text: str) -> bool:
    """Return whether a text is empty, an address, or a name that a program printed."""
    return not text.strip() or bool(re.search(r"@|www\.|://|\.(com|org|net)\b|0x[0-9a-f]{4}|hash\(", text.lower()))


# --- the file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Emoji:
    """The bundled emoji's training rows, the codepoints of their concepts by name, the names of held-out concepts."""

    rows: Sequence[Mapping[str, Any]]
    concepts: Mapping[str, str]
    unseen: frozenset[str]


def read_emoji() -> Emoji:
    """Read the bundled emoji from the package."""
    from embprobe.images import load_images

    emoji = load_images("bundled/emoji")
    train = emoji.where(split="train").rows
    labels = ("concept", "name", "category", "keywords", "style", "split")
    rows = [
        {"key": row.key, "image": row.fetch(), "caption": row.labels["name"]}
        | {name: row.labels[name] for name in labels}
        for row in train
    ]
    concepts = {row.labels["name"]: row.labels["concept"] for row in train}
    return Emoji(rows, concepts, frozenset(emoji.label("name")) - concepts.keys())


def row(file: File, drawing: Drawing, caption: str, concepts: Mapping[str, str]) -> dict[str, Any]:
    """Make one row of the table; a drawing with the name of an emoji gets the emoji's concept."""
    category = tidy(_top(file))
    keywords = [keyword for keyword in keywords_of(file, drawing, caption) if keyword != category]
    return {
        "key": f"openclipart/{file.key}",
        "image": drawing.picture,
        "caption": caption,
        "concept": concepts.get(caption, caption),
        "category": category,
        "keywords": ", ".join(keywords),
    }


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as Parquet, laid out as Hugging Face's `datasets` does; a label that a row lacks is null."""
    names = [name for name in dict.fromkeys(name for record in rows for name in record) if name != "image"]
    image = [{"bytes": record["image"], "path": f"{record['key']}.webp"} for record in rows]
    columns: dict[str, Any] = {"image": image} | {name: [record.get(name) for record in rows] for name in names}
    kinds = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": "string", "_type": "Value"} for name in columns
    }
    schema = pa.schema(
        [(name, kinds.get(name, pa.string())) for name in columns],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    leaves = ["image.bytes", "image.path", *names]
    pq.write_table(
        pa.table(columns, schema=schema),
        path,
        row_group_size=ROW_GROUP_SIZE,
        compression={leaf: "NONE" if leaf == "image.bytes" else "ZSTD" for leaf in leaves},
        use_dictionary=[name for name in ("category", "style", "split") if name in names],
        write_statistics=[leaf for leaf in leaves if leaf != "image.bytes"],
    )


def report(path: Path, kept: Sequence[File], emoji: int, reasons: Counter[str]) -> None:
    """Print the number of drawings in each folder, and of those left out for each reason."""
    print(f"{len(kept):,} drawings: {_counts(Counter(_top(file) for file in kept))}")
    if emoji:
        print(f"{emoji:,} emoji")
    print(f"left out: {_counts(+reasons)}")
    print(f"{path}: {path.stat().st_size:,} bytes")


def _top(file: File) -> str:
    """Return the top folder of a file; "" if it lies in none."""
    return file.key.partition("/")[0] if "/" in file.key else ""


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    main()
