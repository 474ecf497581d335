"""What a workspace holds that belongs on the page: results of probes, comparisons, sheets of neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from embprobe.comparing.result import Comparison, load_comparison
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec
from embprobe.errors import EmbprobeError
from embprobe.probing.results import Question, Result, is_subject, load_results

_NEEDED = {"card", "images", "encoders", "seed", "versions", "conclusions", "left_out"}


@dataclass(frozen=True)
class Probe:
    """The results of one card."""

    manifest: Mapping[str, Any]
    rows: Sequence[Result]
    folder: Path

    @property
    def card(self) -> Mapping[str, Any]:
        """The card as it was asked."""
        found: Mapping[str, Any] = self.manifest["card"]
        return found

    @property
    def is_study(self) -> bool:
        """Whether these are the claims of a study, not the measures of one card."""
        return "claims" in self.manifest

    @property
    def references(self) -> set[str]:
        """The encoders that others are read against."""
        return set(self.card.get("references") or [])

    @property
    def question(self) -> Question:
        """The one the card is about; where these images could not be asked it, the first that they were."""
        asked = self.manifest["conclusions"].get("question")
        return Question(**asked) if asked else self.rows[0].question

    @property
    def headline(self) -> list[Result]:
        """The answers to that question, one an encoder: those compared first, in their order, then references."""
        rows = [row for row in self.rows if row.question == self.question and row.kind == "estimate"]
        return sorted(rows, key=lambda row: not self.compared(row.encoder))

    @property
    def answer(self) -> list[str]:
        """What follows, in a sentence for every two encoders; of a single one, its number."""
        if said := self.manifest["conclusions"]["sentences"]:
            return list(said)
        asked = self.manifest["conclusions"].get("question")
        return [
            f"{row.encoder}: {row.estimate:.3f} ({row.low:.3f} to {row.high:.3f}) at '{self.question}', {row.unit}."
            for row in self.headline
            if asked and self.compared(row.encoder)
        ]

    def compared(self, encoder: str) -> bool:
        """Whether this is an encoder that was asked about, neither a reference nor guessing."""
        return is_subject(encoder) and encoder not in self.references


@dataclass(frozen=True)
class Asked:
    """Of which images and encoders something was asked."""

    name: str
    fingerprint: str
    encoders: Mapping[str, str]
    """The fingerprints of their specs, by name."""


@dataclass(frozen=True)
class Findings:
    """All of them, the newest first."""

    probes: Sequence[Probe]
    comparisons: Sequence[Comparison]
    sheets: Sequence[Path]
    asked: Sequence[Asked]


def read_findings(workspace: Workspace) -> Findings:
    """What is there; raises :class:`EmbprobeError` if nothing is, or if a file of it is damaged."""
    results = _newest(workspace, "results/*/results.json")
    comparisons = _newest(workspace, "results/*/comparison.json")
    if not results and not comparisons:
        raise EmbprobeError(f"There are no results in '{workspace.root}' yet. Run 'embprobe probe' first.")
    probes = {path: _probe(path) for path in results}
    compared = {path: load_comparison(path.parent) for path in comparisons}
    asked = {path: _asked_of(path, probe) for path, probe in probes.items()}
    for path, comparison in compared.items():
        asked[path] = Asked(comparison.images.name, comparison.images.fingerprint, comparison.encoders)
    return Findings(
        list(probes.values()),
        list(compared.values()),
        _newest(workspace, "figures/neighbors-*.png"),
        [asked[path] for path in sorted(asked, key=_time, reverse=True)],
    )


def _newest(workspace: Workspace, pattern: str) -> list[Path]:
    return sorted(sorted(workspace.root.glob(pattern)), key=_time, reverse=True)


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _probe(path: Path) -> Probe:
    manifest, rows = load_results(path)
    if lacking := _NEEDED - manifest.keys():
        raise EmbprobeError(
            f"'{path}' is damaged: it lacks {', '.join(sorted(lacking))}. Remove it, and run the probe again."
        )
    try:
        numbers = [value for row in rows for value in (row.estimate, row.low, row.high)]
        said = manifest["conclusions"]
        whole = (
            all(map(math.isfinite, numbers))
            and isinstance(manifest["card"].get("measures", []), list)
            and all(isinstance(check["passed"], bool) for check in said["checks"])
            and all(isinstance(each, str) for each in [*said["sentences"], *manifest["left_out"]])
            and _named(manifest["images"])
            and isinstance(manifest["versions"], dict)
        )
        if said["question"] is not None:
            Question(**said["question"])
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run the probe again.")
    return Probe(manifest, rows, path.parent)


def _named(images: Mapping[str, Any]) -> bool:
    return isinstance(images["name"] + images["fingerprint"], str) and isinstance(images["count"], int)


def _asked_of(path: Path, probe: Probe) -> Asked:
    try:
        images, found = probe.manifest["images"], [_spec(facts) for facts in probe.manifest["encoders"]]
        specs = [spec for spec in found if probe.compared(spec.name)] or found
        if probe.manifest.get("fast_decode"):  # as extraction marks it, in the store's key alone
            specs = [replace(spec, decoding="fast") for spec in specs]
        return Asked(images["name"], images["fingerprint"], {spec.name: spec.fingerprint for spec in specs})
    except (KeyError, TypeError, AttributeError):
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run the probe again.") from None


def _spec(facts: Mapping[str, Any]) -> EncoderSpec:
    known = {field.name for field in fields(EncoderSpec)}
    return EncoderSpec(**{name: value for name, value in facts.items() if name in known})
