"""Report: the results of a workspace as one self-contained HTML page, all text escaped, with one script for the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from embprobe.comparing.result import Comparison
from embprobe.comparing.why import are_explained
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images import Images, UnreadableImage
from embprobe.images.decoding import decode
from embprobe.plots.style import DPI
from embprobe.plots.why import why_sheets_of
from embprobe.report.atlas import Atlas, make_atlas
from embprobe.report.benchmarks import benchmarked
from embprobe.report.examples import examples_of
from embprobe.report.findings import Findings, Probe, read_findings
from embprobe.report.forest import Panel, forest
from embprobe.report.layers import compared_by_layers
from embprobe.report.near import near_examples
from embprobe.report.opening import Opened, open_images, open_stores
from embprobe.report.page import Section, render
from embprobe.report.pairs import Drawn, compared
from embprobe.report.thumbnails import Sheets, data_uri, make_sheets
from embprobe.system.files import replacing
from embprobe.system.text import visible

LARGEST = 15_000_000
"""Most bytes of a page."""
_THUMBNAILS = 8_000_000
"""Most bytes of the map's thumbnails."""
_PIXELS = 96
"""Pixels of a page in an inch."""
_SHEETS = 6
"""Most neighbour sheets on the page; the newest are taken."""
_WHYS = 3
"""Most sheets of why neighbours are near on the page, and of why a comparison's pairs are."""


@dataclass(frozen=True)
class _Mapped:
    atlas: Atlas
    sheets: Sheets


def write_report(
    workspace: Workspace,
    out: Path,
    *,
    images: Images | None = None,
    encoders: Sequence[str] | None = None,
    notify: Callable[[str], None] = lambda now: None,
) -> Path:
    """Write the page with every result in the workspace, the newest first.

    Nothing is encoded for it. Parts that cannot be shown, because images have moved or embeddings are missing, are
    listed on the page.

    Args:
        workspace: The workspace with results, stores and figures.
        out: The path of the page.
        images: The images of the map, by default those of the newest result.
        encoders: The encoders of the map, by default those of the newest result.
        notify: Called with a word on each step as it begins.

    Returns:
        The path of the page.

    Raises:
        EmbprobeError: If there is no result, if one is damaged, or if the page would be larger than 15 MB.
        UsageError: If the workspace has no embeddings by the given ``encoders``.
    """
    findings = read_findings(workspace)
    notify("opening images")
    opened = open_images(findings.measured, images, workspace)
    notes = list(opened.notes)
    notify("map")
    mapped = _map(findings, opened, workspace, encoders, notes)
    notify("pictures")
    known = opened.images
    panels = forest(findings.probes)
    sections = [
        _section(i, probe, panel, known, notes)
        for i, (probe, panel) in enumerate(zip(findings.probes, panels, strict=True), 1)
    ]
    page = render(
        findings=findings,
        sections=sections,
        comparisons=[
            compared(each, known.get(each.images.fingerprint), whys=_whys(each, workspace, notes))
            for each in findings.comparisons
        ],
        layers=[
            compared_by_layers(each, folder, lambda path: _drawn(path, notes))
            for folder, each in findings.layers.items()
        ],
        benchmarks=benchmarked(findings.benchmarks, known),
        near=near_examples(mapped.atlas) if mapped else [],
        sheets=[drawn for path in findings.sheets[:_SHEETS] if (drawn := _drawn(path, notes))],
        whys=[drawn for path in findings.whys[:_WHYS] if (drawn := _drawn(path, notes, lossless=False))],
        atlas=mapped.atlas if mapped else None,
        thumbnails=mapped.sheets if mapped else None,
        notes=[*notes, *_left_out(findings)],
    ).encode("utf-8")
    if len(page) > LARGEST:
        raise EmbprobeError(
            f"The page would have {len(page) / 1e6:.1f} MB, and {LARGEST / 1e6:.0f} are the most. "
            f"Move older results out of '{workspace.root / 'results'}', or neighbour sheets out of its figures."
        )
    with replacing(out) as path:
        path.write_bytes(page)
    return out


def _map(
    findings: Findings, opened: Opened, workspace: Workspace, encoders: Sequence[str] | None, notes: list[str]
) -> _Mapped | None:
    """Make the map; None, and a note that gives the reason, if that is not possible."""
    shown = next((each for each in findings.measured if each.fingerprint in opened.images), findings.measured[0])
    images: Images | None = opened.given or opened.images.get(shown.fingerprint)
    if opened.given and opened.given.fingerprint not in {each.fingerprint for each in findings.measured}:
        notes.append(f"The map is of '{visible(opened.given.name)}', and no result here is of these images.")
    if images is None:
        return None  # opening them has left a note
    wanted = shown.encoders if encoders is None else dict.fromkeys(encoders, "")
    if not wanted:
        notes.append("There is no map, for the newest result names no encoders. Name them: embprobe report -e ENCODER.")
        return None
    try:
        stores = open_stores(images, workspace, wanted)
    except EmbprobeError as reason:
        if encoders is not None:
            raise
        notes.append(f"There is no map. {reason}")
        return None
    try:
        atlas = make_atlas(stores, workspace)
        sheets = make_sheets(atlas.images.rows, _THUMBNAILS)
    except EmbprobeError as reason:
        notes.append(f"There is no map. {reason}")
        return None
    notes += [f"On the map, {note}." for note in atlas.notes]
    if len(stores) == 1:
        notes.append(f"Only one encoder was asked, {visible(stores[0].spec.name)}: nothing is compared on the map.")
    if not atlas.images.has_pictures:
        notes.append(f"'{visible(atlas.images.name)}' has vectors and no pictures: the map shows points and keys.")
    elif sheets.unreadable:
        key, why = sheets.unreadable[0]
        number = f"{len(sheets.unreadable):,} of the {len(atlas.images):,} images of the map"
        notes.append(f"{number} cannot be read any more and have no picture; the first is '{visible(key)}' ({why}).")
    return _Mapped(atlas, sheets)


def _section(number: int, probe: Probe, panel: Panel | None, known: Mapping[str, Images], notes: list[str]) -> Section:
    images = known.get(probe.manifest["images"]["fingerprint"])
    try:
        shown = images is not None and images.has_pictures
        examples = examples_of(probe.card, images, seed=0) if shown and images is not None else None
    except (KeyError, TypeError, ValueError, AttributeError):
        results = probe.folder / "results.json"
        raise EmbprobeError(f"The card in '{results}' is damaged. Remove it, and run the probe again.") from None
    return Section(probe, f"probe-{number}", panel, examples, _drawn(probe.folder / "figure.png", notes))


def _whys(comparison: Comparison, workspace: Workspace, notes: list[str]) -> list[Drawn]:
    """Read the sheets of why the pairs of a comparison are near, if they were asked for and are of these pairs."""
    folder = comparison.path(workspace).parent
    paths = why_sheets_of(len(comparison.both_ways()), folder) if are_explained(comparison, folder) else []
    return [drawn for path in paths[:_WHYS] if (drawn := _drawn(path, notes, lossless=False))]


def _drawn(path: Path, notes: list[str], *, lossless: bool = True) -> Drawn | None:
    """Read a figure of the workspace; None if it does not exist, and a note if it cannot be read.

    One that is full of photographs is a third as large if it is not ``lossless``.
    """
    if not path.exists():
        return None
    try:
        picture = decode(path.read_bytes())
    except (UnreadableImage, OSError) as reason:
        notes.append(f"The figure '{visible(str(path))}' is missing here: {reason}.")
        return None
    return Drawn(Markup(data_uri(picture, lossless=lossless)), round(picture.width * _PIXELS / DPI))


def _left_out(findings: Findings) -> list[str]:
    """Return notes on the sheets of neighbours, and of why they are near, that are not on the page."""
    older = {
        "neighbour sheets": len(findings.sheets) - _SHEETS,
        "sheets of why they are near": len(findings.whys) - _WHYS,
    }
    return [
        f"Older {name} are left out ({more:,}); they lie in the workspace's figures."
        for name, more in older.items()
        if more > 0
    ]
