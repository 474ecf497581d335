"""Build the bundled emoji data set: one concept drawn in six styles, one Parquet file per style.

    python scripts/build_emoji.py --out datasets/emoji --cache .cache/emoji

The drawings come from six npm packages, fetched with ``npm pack`` at fixed versions and checked by sha256. Drawings
are matched by codepoint, and only concepts that all six styles draw are kept: a full concept x style factorial.
Every drawing becomes a 128 x 128 RGBA WebP with a transparent ground. Names and categories are Noto's. Beside them lies
``keywords.json``, the English keywords of each concept: Unicode CLDR's, as a seventh package has them.

Concepts that are drawn nearly alike (``cook``, ``man cook``, ``woman cook``) have one ``motif`` (see `find_motifs`).

Splits (see `assign_splits` and `split_of`):
    ``unseen-concept``  of a fifth of each category's concepts, in every style, those of motifs not trained on;
    ``unseen-drawing``  of each other concept, the drawings of one family (all three Fluent styles are one family);
    ``related``         held out, but not unseen: the rest of that fifth, and drawings that are also in ``train`` under
                        another name;
    ``train``           everything else.

The same inputs and library versions give the same bytes, whatever the hash seed and the number of workers.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import re
import subprocess
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
from PIL import Image

SIZE = 128
SEED = "embprobe-emoji-1"
BUDGET_BYTES = 19_500_000
UNSEEN_SHARE = 0.2
MIN_COVERAGE = 0.005
ROW_GROUP_SIZE = 512
FAMILIES = ("noto", "twemoji", "openmoji", "fluent")

# Flat drawings are smaller lossless than lossy. Only the shaded 3D renders need the lossy codec to fit the budget.
# For lossless WebP, `quality` is the effort of the search and never touches the pixels; 80 is 30 to 50 times faster
# than 100 for 1 to 4 % more bytes.
LOSSLESS: Mapping[str, Any] = {"lossless": True, "quality": 80, "method": 6}
LOSSY: Mapping[str, Any] = {"quality": 90, "alpha_quality": 100, "method": 5}


@dataclass(frozen=True, kw_only=True)
class Package:
    """An npm package at a fixed version."""

    package: str
    version: str
    sha256: str

    @property
    def tarball(self) -> str:
        """The file name that ``npm pack`` gives the package."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True, kw_only=True)
class Source(Package):
    """One style: the package its drawings come from, and the options for writing them as WebP."""

    style: str
    family: str
    webp: Mapping[str, Any]


SOURCES = (
    Source(
        style="noto",
        family="noto",
        package="@iconify-json/noto",
        version="1.2.9",
        sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        webp=LOSSLESS,
    ),
    Source(
        style="twemoji",
        family="twemoji",
        package="@iconify-json/twemoji",
        version="1.2.5",
        sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        webp=LOSSLESS,
    ),
    Source(
        style="openmoji",
        family="openmoji",
        package="@iconify-json/openmoji",
        version="1.2.29",
        sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        webp=LOSSLESS,
    ),
    Source(
        style="fluent-flat",
        family="fluent",
        package="@iconify-json/fluent-emoji-flat",
        version="1.2.6",
        sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        webp=LOSSLESS,
    ),
    Source(
        style="fluent-high-contrast",
        family="fluent",
        package="@iconify-json/fluent-emoji-high-contrast",
        version="1.2.6",
        sha256="0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
        webp=LOSSLESS,
    ),
    Source(
        style="fluent-3d",
        family="fluent",
        package="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        webp=LOSSY,
    ),
)

KEYWORDS = Package(
    package="emojibase-data",
    version="17.0.0",
    sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
)

# Noto's icon names read as English once dashes are spaces, but for these.
NAME_FIXES = (
    (r"^(man|woman|person)-(blond|curly|red|white)-hair$", r"\1-with-\2-hair"),
    (r"^(man|woman|person)-beard$", r"\1-with-beard"),
    (r"^(man|woman|person)-bald$", r"bald-\1"),
    (r"^(up|on)-exclamation-", r"\1-"),
    (r"^(a|ab|b|o)-button-blood-type$", r"blood-type-\1-button"),
)

# Substitutions that leave a name's stem, in this order; one that would leave nothing is passed over.
STEMS = (
    # People: whoever does it, of whatever skin, hair or age
    (r"\b((medium )?(light|dark)|medium) skin tone\b", ""),
    (r"\b(mermaid|merman)\b", "merperson"),
    (r"\b(santa|mrs|mx) (?=claus)", ""),
    (r"^(prince|princess|person with crown)$", "crowned person"),
    (r"^(mens|womens) room$", "restroom"),
    (r"\bolder\b", "old"),
    (r"^(boy|girl)$", "child"),
    (r"\bwith (red|white|curly|blond) hair\b|\bwith beard\b|\bbald\b", ""),
    (r"^(man|woman|person)$", "person"),
    (r"\b(man|woman|person|men|women|people)\b", ""),
    # Series: one drawing with another hand, digit or shadow
    (r"^.+ (oclock|thirty)$", "clock"),
    (r"^.+ moon( face)?$", "moon"),
    (r"^keycap .+$", "keycap"),
    (r"^blood type .+$", "blood type"),
    (r"^(see|hear|speak) no evil ", ""),
    # Additions to a thing; a face is made of nothing else, so it keeps them
    (r"(?<=\w)(?<!\bface) (with|without|behind|showing) .+", ""),
    (r"(?<=\w) face$", ""),
    # Colour, size, state, direction, number, currency
    (r"\b(light )?(red|orange|yellow|green|blue|purple|brown|black|white|grey|pink)\b", ""),
    (r"\b(small|medium|large|big|low|high|hollow|open|closed|oncoming|increasing|decreasing)\b", ""),
    (r"\b(left|right|up|down)(wards?)?\b|\b(counter)?clockwise\b|\b(horizontal|vertical)\b", ""),
    (r"\b(one|two|three|1st|2nd|3rd)\b", ""),
    (r"\b(yen|dollar|euro|pound)\b", ""),
    (r"\b(not )?done$", ""),
    (r"(?<=[^aisu])s$", ""),
)


@dataclass(frozen=True)
class Concept:
    """The subject of a drawing, in whichever style."""

    codepoints: str
    name: str
    category: str


@dataclass(frozen=True)
class Job:
    """One drawing to render: SVG text, or the bytes of a raster image."""

    key: str
    drawing: str | bytes
    webp: Mapping[str, Any]


def main() -> None:
    """Fetch, match, render and write; print what was written."""
    parser = argparse.ArgumentParser(description="Build the bundled emoji data set.")
    parser.add_argument("--out", type=Path, default=Path("datasets/emoji"), help="folder of the Parquet files")
    parser.add_argument("--cache", type=Path, default=Path(".cache/emoji"), help="folder of the npm tarballs")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    arguments = parser.parse_args()

    tarballs = {source.style: fetch(source, arguments.cache) for source in SOURCES}
    drawings = {style: read_drawings(path) for style, path in tarballs.items()}
    shared = set.intersection(*(set(of_style) for of_style in drawings.values()))
    concepts = read_concepts(tarballs["noto"], shared)
    images: dict[str, list[bytes]] = {}
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for source in SOURCES:
            jobs = [
                Job(f"{concept.codepoints}/{source.style}", drawings[source.style][concept.codepoints], source.webp)
                for concept in concepts
            ]
            images[source.style] = pool.map(render, jobs, chunksize=16)
    motifs = find_motifs(concepts, list(images.values()))
    held_out = assign_splits(concepts)

    arguments.out.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        splits = split_of(concepts, images[source.style], source.family, held_out, motifs)
        write_style(arguments.out / f"{source.style}.parquet", source, concepts, images[source.style], motifs, splits)
    write_keywords(arguments.out / "keywords.json", fetch(KEYWORDS, arguments.cache), concepts)
    report(arguments.out)


def fetch(source: Package, cache: Path) -> Path:
    """Return the package's tarball, downloaded into `cache` if need be and checked against its sha256."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / source.tarball
    spec = f"{source.package}@{source.version}"
    if not path.exists():
        subprocess.run(["npm", "pack", "--loglevel", "error", "--pack-destination", str(cache), spec], check=True)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != source.sha256:
        raise SystemExit(
            f"The tarball of {spec} in {cache} has sha256 {sha256}, but {source.sha256} was expected. "
            "Delete it to fetch it again; if it differs still, the published package has changed."
        )
    return path


def read_drawings(tarball: Path) -> dict[str, str | bytes]:
    """Map normalised codepoints to SVG text (icon sets) or to image bytes (the 3D renders)."""
    with tarfile.open(tarball) as archive:
        if "package/icons.json" in archive.getnames():
            return dict(_svg_drawings(_read_json(archive, "icons"), _read_json(archive, "chars")))
        return {
            normalise_codepoints(Path(member.name).stem): _read_member(archive, member.name)
            for member in archive
            if member.isfile() and member.name.endswith(".webp")
        }


def read_concepts(tarball: Path, codepoints: Iterable[str]) -> list[Concept]:
    """Describe the concepts `codepoints` by the names and categories of one icon set, sorted by codepoints."""
    with tarfile.open(tarball) as archive:
        icon_names = {normalise_codepoints(char): name for char, name in _read_json(archive, "chars").items()}
        categories = _read_json(archive, "metadata")["categories"]
    category_of = {name: category for category, names in categories.items() for name in names}
    concepts = [
        Concept(point, plain_name(icon_names[point]), category_of[icon_names[point]]) for point in sorted(codepoints)
    ]
    repeated = [name for name, count in Counter(concept.name for concept in concepts).items() if count > 1]
    if repeated:
        raise SystemExit(f"Several concepts share a name: {', '.join(repeated)}.")
    return concepts


def normalise_codepoints(text: str) -> str:
    """Drop variation selectors (fe0f) and leading zeros, which the sets treat differently.

    >>> normalise_codepoints("0023-FE0F-20E3")
    '23-20e3'
    """
    parts = (part.lower().lstrip("0") for part in text.split("-"))
    return "-".join(part for part in parts if part != "fe0f")


def plain_name(icon_name: str) -> str:
    """Turn an icon's name into lower-case words of letters and digits, separated by spaces.

    >>> plain_name("woman-red-hair")
    'woman with red hair'
    """
    for pattern, replacement in NAME_FIXES:
        icon_name = re.sub(pattern, replacement, icon_name)
    return icon_name.lower().replace("-", " ")


def assign_splits(concepts: Sequence[Concept]) -> dict[str, str]:
    """Map each concept to the family held out of training, or to ``all`` where every drawing is held out.

    Within a category the concepts stand in the order of a hash of seed and codepoints. The first fifth is unseen, the
    rest is cut into one block per family. A new concept thus moves at most one other across each boundary.
    """
    by_category: dict[str, list[str]] = defaultdict(list)
    for concept in concepts:
        by_category[concept.category].append(concept.codepoints)
    held_out: dict[str, str] = {}
    for members in by_category.values():
        ordered = sorted(members, key=lambda point: hashlib.sha256(f"{SEED}:{point}".encode()).hexdigest())
        unseen = round(UNSEEN_SHARE * len(ordered))
        seen = ordered[unseen:]
        held_out.update(dict.fromkeys(ordered[:unseen], "all"))
        held_out.update({point: FAMILIES[len(FAMILIES) * rank // len(seen)] for rank, point in enumerate(seen)})
    return held_out


def find_motifs(concepts: Sequence[Concept], drawings: Iterable[Sequence[bytes]]) -> dict[str, str]:
    """Map each concept to its motif: concepts that differ by a detail, or not at all in some style, share one.

    Two concepts share a motif if

    - their names have the same stem (see `stem`): ``man cook`` and ``cook``, ``red heart`` and ``blue heart``
    - they are of one category, and the stem of one ends in that of the other: ``guide dog`` and ``dog``
    - both are flags
    - a style draws both with the same pixels: ``optical disk`` and ``dvd``

    or if a chain of such pairs leads from one to the other. A motif is called by its shortest stem, the first by the
    alphabet; one of a single concept by the concept's name.

    Args:
        concepts: All concepts, with different names.
        drawings: For each style, the image files of the concepts, in their order.
    """
    parent = {concept.codepoints: concept.codepoints for concept in concepts}

    def root(point: str) -> str:
        while parent[point] != point:
            point = parent[point]
        return point

    def join(points: Sequence[str]) -> None:
        for point in points[1:]:
            parent[root(point)] = root(points[0])

    stems = {concept.codepoints: stem(concept.name) for concept in concepts}
    by_stem: dict[str, list[str]] = defaultdict(list)
    by_category: dict[str, dict[str, str]] = defaultdict(dict)
    for concept in concepts:
        by_stem[stems[concept.codepoints]].append(concept.codepoints)
        by_category[concept.category][stems[concept.codepoints]] = concept.codepoints
    for points in by_stem.values():
        join(points)
    for concept in concepts:
        words = stems[concept.codepoints].split()
        heads = [] if words[0] in ("in", "with") else [" ".join(words[i:]) for i in range(1, len(words))]
        of_category = by_category[concept.category]
        join([concept.codepoints, *(of_category[head] for head in heads if head in of_category)])
    join([concept.codepoints for concept in concepts if concept.category == "Flags"])
    for images in drawings:
        by_image: dict[bytes, list[str]] = defaultdict(list)
        for concept, image in zip(concepts, images, strict=True):
            by_image[image].append(concept.codepoints)
        for points in by_image.values():
            join(points)

    members: dict[str, list[Concept]] = defaultdict(list)
    for concept in concepts:
        members[root(concept.codepoints)].append(concept)
    motifs: dict[str, str] = {}
    for point, alike in members.items():
        names = [alike[0].name] if len(alike) == 1 else [stems[concept.codepoints] for concept in alike]
        motifs[point] = min(names, key=lambda name: (len(name), name))
    return {point: motifs[root(point)] for point in parent}


def stem(name: str) -> str:
    """Strip from a concept's name its details, as `STEMS` lists them: sex, hair, colour, direction, number …

    >>> stem("man cook"), stem("woman with red hair"), stem("sun behind small cloud"), stem("keycap 7")
    ('cook', 'person', 'sun', 'keycap')
    """
    for pattern, replacement in STEMS:
        name = " ".join(re.sub(pattern, replacement, name).split()) or name
    return name


def split_of(
    concepts: Sequence[Concept],
    images: Sequence[bytes],
    family: str,
    held_out: Mapping[str, str],
    motifs: Mapping[str, str],
) -> list[str]:
    """Name the split of each concept's drawing in one style by `family`.

    `held_out` is the family whose drawings of a concept are held out, or ``all``. A held-out drawing is ``related`` if
    training has drawings of another concept of its motif where the concept is held out altogether, or its very pixels.
    """
    trained_motifs = {motifs[point] for point, held_out_family in held_out.items() if held_out_family != "all"}
    families = [held_out[concept.codepoints] for concept in concepts]
    trained_images = {
        image for image, held_out_family in zip(images, families, strict=True) if held_out_family not in ("all", family)
    }
    splits = []
    for concept, image, held_out_family in zip(concepts, images, families, strict=True):
        if held_out_family == "all":
            related = motifs[concept.codepoints] in trained_motifs
            splits.append("related" if related else "unseen-concept")
        elif held_out_family == family:
            splits.append("related" if image in trained_images else "unseen-drawing")
        else:
            splits.append("train")
    return splits


def render(job: Job) -> bytes:
    """Draw one concept in one style as a square WebP with transparent ground."""
    image = _from_svg(job.drawing) if isinstance(job.drawing, str) else _from_raster(job.drawing)
    coverage = sum(image.getchannel("A").tobytes()) / (255 * SIZE * SIZE)
    if coverage < MIN_COVERAGE:
        # Not SystemExit, which would end the worker and leave the pool waiting for it.
        raise ValueError(f"The drawing {job.key} came out blank: only {coverage:.2%} of it is covered.")
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", exact=False, **job.webp)
    return buffer.getvalue()


def write_style(
    path: Path,
    source: Source,
    concepts: Sequence[Concept],
    images: Sequence[bytes],
    motifs: Mapping[str, str],
    splits: Sequence[str],
) -> None:
    """Write the drawings of one style as Parquet, laid out as Hugging Face's `datasets` does."""
    keys = [f"{concept.codepoints}/{source.style}" for concept in concepts]
    columns: dict[str, list[Any]] = {
        "key": keys,
        "image": [{"bytes": image, "path": f"{key}.webp"} for key, image in zip(keys, images, strict=True)],
        "concept": [concept.codepoints for concept in concepts],
        "name": [concept.name for concept in concepts],
        "category": [concept.category for concept in concepts],
        "style": [source.style] * len(concepts),
        "family": [source.family] * len(concepts),
        "split": list(splits),
        "motif": [motifs[concept.codepoints] for concept in concepts],
    }
    leaves = ["image.bytes", "image.path", *(name for name in columns if name != "image")]
    pq.write_table(
        pa.table(columns, schema=_schema(list(columns))),
        path,
        row_group_size=ROW_GROUP_SIZE,
        compression={leaf: "NONE" if leaf == "image.bytes" else "ZSTD" for leaf in leaves},
        use_dictionary=["category", "style", "family", "split"],
        write_statistics=[leaf for leaf in leaves if leaf != "image.bytes"],
    )


def write_keywords(path: Path, tarball: Path, concepts: Sequence[Concept]) -> None:
    """Write a sorted list of keywords for each concept, one concept a line.

    A keyword is kept if it is of letters and spaces, at least three of the concepts have it, and it is not the
    concept's own name: a rarer keyword makes a vocabulary larger and connects few concepts.
    """
    with tarfile.open(tarball) as archive:
        records: Any = _read_json(archive, "en/data")  # a list
    tags = {
        normalise_codepoints(record["hexcode"]): {tag.lower() for tag in record.get("tags", [])}
        for base in records
        for record in (base, *base.get("skins", []))
    }
    shared = Counter(tag for concept in concepts for tag in tags.get(concept.codepoints, ()))
    lines = []
    for concept in concepts:
        own = sorted(tags.get(concept.codepoints, set()) - {concept.name})
        kept = [tag for tag in own if shared[tag] >= 3 and re.fullmatch("[a-z]+( [a-z]+)*", tag)]
        lines.append(f"  {json.dumps(concept.codepoints)}: {json.dumps(kept)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def report(out: Path) -> None:
    """Print counts and sizes; fail if the folder has outgrown its budget."""
    columns = ["concept", "category", "split", "motif"]
    rows = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path, columns=columns).to_pylist()]
    categories = {row["concept"]: row["category"] for row in rows}
    sizes = Counter({row["concept"]: row["motif"] for row in rows}.values())
    print(f"{len(categories)} concepts: {_counts(Counter(categories.values()))}")
    print(f"{len(sizes)} motifs, the largest: {', '.join(f'{name} {size}' for name, size in sizes.most_common(5))}")
    print(f"images: {_counts(Counter(row['split'] for row in rows))}")
    for path in sorted(out.glob("*.parquet")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"all files: {total:,} bytes")
    if total > BUDGET_BYTES:
        raise SystemExit(f"The files in {out} take {total:,} bytes, over the budget of {BUDGET_BYTES:,}.")


def _svg_drawings(icon_set: dict[str, Any], chars: dict[str, str]) -> Iterable[tuple[str, str]]:
    icons = icon_set["icons"]
    for char, name in chars.items():
        if name in icons:
            # An icon's own box overrides that of its set.
            yield normalise_codepoints(char), _svg({**icon_set, **icons[name]})


def _svg(icon: Mapping[str, Any]) -> str:
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {icon['width']} {icon['height']}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{SIZE}" height="{SIZE}" preserveAspectRatio="xMidYMid meet">'
        f"{icon['body'].replace('currentColor', '#000000')}</svg>"
    )


def _from_svg(svg: str) -> Image.Image:
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _from_raster(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data)).convert("RGBa")  # premultiplied: hidden colours must not bleed into edges
    scale = SIZE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGBa", (SIZE, SIZE))
    # Lanczos rings faintly around the edges, which costs a third more bytes at the same quality.
    resized = image.resize((width, height), Image.Resampling.HAMMING)
    canvas.paste(resized, ((SIZE - width) // 2, (SIZE - height) // 2))
    return canvas.convert("RGBA")


def _schema(names: Sequence[str]) -> pa.Schema:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": "string", "_type": "Value"} for name in names
    }
    return pa.schema(
        [(name, image if name == "image" else pa.string()) for name in names],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def _read_json(archive: tarfile.TarFile, stem: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_read_member(archive, f"package/{stem}.json"))
    return content


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise SystemExit(f"A tarball lacks the file {name}.")
    return member.read()


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    main()
