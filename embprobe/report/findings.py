"""What a workspace holds that belongs on the page: results of probes, comparisons, sheets of neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embprobe.benchmarking.records import Records
from embprobe.comparing.layer_result import LayerComparison, load_layers
from embprobe.comparing.layers import ROWS
from embprobe.comparing.result import Comparison, load_comparison
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec
from embprobe.errors import EmbprobeError
from embprobe.probing.key import Key
from embprobe.probing.profiles import LAYERS
from embprobe.probing.results import Result, Results
from embprobe.report.benchmarks import read_benchmarks

_NEEDED = {"card", "images", "encoders", "seed", "versions"}


@dataclass(frozen=True)
class Probe:
    """The results of one card."""

    results: Results
    folder: Path

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was measured, on what, with which seed."""
        return self.results.manifest

    @property
    def rows(self) -> Sequence[Result]:
        """The estimates and differences."""
        return self.results.rows

    @property
    def card(self) -> Mapping[str, Any]:
        """The card as it was put."""
        card: Mapping[str, Any] = self.manifest["card"]
        return card

    @property
    def is_study(self) -> bool:
        """Whether these are the claims of a study, not the measures of one card."""
        return bool(self.results.claims)

    @property
    def is_profile(self) -> bool:
        """Whether these are the headline of a card by the layers of encoders."""
        return LAYERS in self.manifest

    @property
    def title(self) -> str:
        """The title of the card."""
        return f"{self.card['title']}, by layers" if self.is_profile else str(self.card["title"])

    @property
    def key(self) -> Key:
        """The number the card is about; where these images do not allow it, the first that was measured."""
        return self.results.conclusions.key or self.rows[0].key

    @property
    def headline(self) -> list[Result]:
        """The estimates of that number, one an encoder: subjects first, in their order."""
        rows = [row for row in self.rows if row.key == self.key and not row.is_difference]
        return sorted(rows, key=lambda row: row.role != "subject")

    @property
    def answer(self) -> list[str]:
        """The conclusions, a sentence for every two encoders; of a single one, its number."""
        return self.results.headline().splitlines()

    def is_subject(self, encoder: str) -> bool:
        """Return whether this encoder is studied, neither a reference nor a baseline."""
        return any(row.encoder == encoder and row.role == "subject" for row in self.rows)


@dataclass(frozen=True)
class MeasuredImages:
    """Of which images and encoders something was measured."""

    name: str
    fingerprint: str
    encoders: Mapping[str, str]
    """The fingerprints of their specs, by name."""


@dataclass(frozen=True)
class Findings:
    """All of them, the newest first."""

    probes: Sequence[Probe]
    comparisons: Sequence[Comparison]
    layers: Mapping[Path, LayerComparison]
    """Comparisons of layers by their folders."""
    benchmarks: Records
    sheets: Sequence[Path]
    """Sheets of neighbours."""
    whys: Sequence[Path]
    """Sheets of why neighbours are near."""
    measured: Sequence[MeasuredImages]


def read_findings(workspace: Workspace) -> Findings:
    """What is there; raises :class:`EmbprobeError` if nothing is, or if a file of it is damaged."""
    results = _newest(workspace, "results/*/results.json")
    comparisons = _newest(workspace, "results/*/comparison.json")
    layers = _newest(workspace, "results/*/layers.json")
    benchmarks = read_benchmarks(workspace)
    if not results and not comparisons and not layers and not benchmarks.cells:
        raise EmbprobeError(f"There are no results in '{workspace.root}' yet. Run 'embprobe probe' first.")
    probes = {path: _probe(path) for path in results}
    compared = {path: load_comparison(path.parent) for path in comparisons}
    measured = {path: _measured_images(path, probe) for path, probe in probes.items()}
    for path, comparison in compared.items():
        measured[path] = MeasuredImages(comparison.images.name, comparison.images.fingerprint, comparison.encoders)
    measured |= _benchmarked_images(benchmarks)
    by_layers = {path.parent: load_layers(path.parent) for path in layers}
    return Findings(
        list(probes.values()),
        list(compared.values()),
        by_layers,
        benchmarks,
        _newest(workspace, "figures/neighbors-*.png"),
        _newest(workspace, "figures/why-*.png"),
        [
            *(measured[path] for path in sorted(measured, key=_time, reverse=True)),
            *map(_last_layers, by_layers.values()),  # last, for a map is rather of encoders' own vectors
        ],
    )


def _last_layers(comparison: LayerComparison) -> MeasuredImages:
    """Return the images of a comparison of layers, with the last layer that was compared of each encoder.

    Of images that were sampled there is no store by which they would be found.
    """
    of_subjects = [comparison.encoders[name] for name in comparison.subjects if comparison.images.count <= ROWS]
    last = {each.names[-1]: each.fingerprints[-1] for each in of_subjects}
    return MeasuredImages(comparison.images.name, comparison.images.fingerprint, last)


def _benchmarked_images(records: Records) -> dict[Path, MeasuredImages]:
    """Return the images of each data set with all encoders that were benchmarked on it, by its newest record."""
    measured = {}
    for each in records.by_dataset():
        encoders = {cell.encoder.name: cell.encoder.fingerprint for cell in each.cells}
        facts = each.cells[0].dataset
        measured[max(each.paths, key=_time)] = MeasuredImages(facts.name, facts.fingerprint, encoders)
    return measured


def _newest(workspace: Workspace, pattern: str) -> list[Path]:
    return sorted(sorted(workspace.root.glob(pattern)), key=_time, reverse=True)


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _probe(path: Path) -> Probe:
    results = Results.load(path.parent, scores=False)
    manifest = results.manifest
    if lacking := _NEEDED - manifest.keys():
        raise EmbprobeError(
            f"'{path}' is damaged: it lacks {', '.join(sorted(lacking))}. Remove it, and run the probe again."
        )
    try:
        whole = (
            isinstance(manifest["card"].get("measures", []), list)
            and _named(manifest["images"])
            and isinstance(manifest["versions"], dict)
        )
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run the probe again.")
    return Probe(results, path.parent)


def _named(images: Mapping[str, Any]) -> bool:
    return isinstance(images["name"] + images["fingerprint"], str) and isinstance(images["count"], int)


def _measured_images(path: Path, probe: Probe) -> MeasuredImages:
    try:
        images = probe.manifest["images"]
        saved = [EncoderSpec.from_saved(facts) for facts in probe.manifest["encoders"]]
        specs = [spec for spec in saved if probe.is_subject(spec.name)] or saved
        fast, most = probe.manifest.get("fast_decode"), probe.manifest.get("max_pixels")
        if fast or most:  # as extraction marks it, in the store's key alone
            specs = [
                spec.with_decoding("fast" if fast else "exact", most) if spec.image_input else spec for spec in specs
            ]
        return MeasuredImages(images["name"], images["fingerprint"], {spec.name: spec.fingerprint for spec in specs})
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run the probe again.") from None
