"""Explain disagreement pairs: which parts of two images make them near for one encoder and far for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embprobe.comparing.result import Comparison, Disagreement, DisagreementPair
from embprobe.embeddings.occlusion import OcclusionMap, occlude_row, occlusion_map, random_vectors
from embprobe.embeddings.session import Session
from embprobe.encoders.spec import Encoder, Floats
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.system.files import write_json
from embprobe.system.models import DamagedFile, read_json
from embprobe.system.text import printable, visible

FILE = "why.json"
FIRST = 3
"""Pairs of each direction that are explained: those with the largest difference."""


@dataclass(frozen=True, eq=False)
class ExplainedPair:
    """A pair of images that two encoders disagree on, and by encoder a map of each image."""

    pair: DisagreementPair
    rows: tuple[Row, Row]
    maps: Mapping[str, tuple[OcclusionMap, OcclusionMap]]


@dataclass(frozen=True, eq=False)
class ExplainedDisagreement:
    """The first pairs that one encoder calls alike and the other does not, explained by both."""

    disagreement: Disagreement
    pairs: Sequence[ExplainedPair]

    def as_json(self) -> dict[str, Any]:
        """Return the maps' numbers, those of the encoder that calls the pairs near first."""
        return {
            "near": self.disagreement.near,
            "far": self.disagreement.far,
            "pairs": [
                {
                    "keys": list(each.pair.keys),
                    "maps": {encoder: [one.as_json() for one in both] for encoder, both in each.maps.items()},
                }
                for each in self.pairs
            ],
        }


def explain_disagreements(
    comparison: Comparison, images: Images, encoders: Sequence[Encoder], session: Session
) -> list[ExplainedDisagreement]:
    """Map why the first disagreement pairs of a comparison are near for one encoder and far for the other.

    Args:
        comparison: A comparison with the rows of its pairs, as :func:`embprobe.comparing.run.compare` returns it.
        images: The images that were compared: random ones give what chance is.
        encoders: Those that were compared; all of them take images.
        session: Gives vectors, seed, device and progress; it notes each pair that cannot be read any more.

    Returns:
        One for each of ``comparison.disagreements``, in their order.

    Raises:
        EmbprobeError: An encoder's vectors of an image with a part hidden are not finite.
    """
    by_name = {encoder.spec.name: encoder for encoder in encoders}
    shown = {key for half in comparison.disagreements for pair in half.pairs[:FIRST] for key in pair.keys}
    embedded = session.embed(images, encoders, "extracting")
    keys = [printable(key) for key in embedded.rows.keys]
    random = {
        name: random_vectors(vectors, keys, without=shown, seed=session.seed)
        for name, vectors in embedded.vectors.items()
    }
    count = sum(2 * 2 * len(half.pairs[:FIRST]) for half in comparison.disagreements)
    explained = []
    with session.progress("hiding parts", count) as progress:
        for half in comparison.disagreements:
            found = []
            for pair in half.pairs[:FIRST]:
                rows = comparison.rows[pair.keys[0]], comparison.rows[pair.keys[1]]
                try:
                    maps = {name: _maps(rows, by_name[name], random[name], session) for name in (half.near, half.far)}
                    found.append(ExplainedPair(pair, rows, maps))
                except (UnreadableImage, OSError) as reason:
                    names = " and ".join(f"'{visible(key)}'" for key in pair.keys)
                    session.note(f"{names} cannot be read any more ({reason}) and are not explained")
                if progress is not None:
                    progress(2 * 2)
            explained.append(ExplainedDisagreement(half, found))
    return explained


def save_explanations(explained: Sequence[ExplainedDisagreement], folder: Path) -> Path:
    """Write the maps' numbers into the folder of a comparison and return the path."""
    path = folder / FILE
    write_json(path, {"explained": [each.as_json() for each in explained]})
    return path


def are_explained(comparison: Comparison, folder: Path) -> bool:
    """Return whether the explanations in a comparison's folder are of its pairs, not of those of an earlier run."""
    try:
        kept = [(half["near"], half["far"], half["pairs"]) for half in read_json(folder / FILE)["explained"]]
        shown = [(near, far, {tuple(pair["keys"]) for pair in pairs}) for near, far, pairs in kept]
    except (OSError, DamagedFile, TypeError, KeyError):
        return False
    there = [(half.near, half.far, {pair.keys for pair in half.pairs}) for half in comparison.disagreements]
    return [half[:2] for half in shown] == [half[:2] for half in there] and all(
        some <= every for (_, _, some), (_, _, every) in zip(shown, there, strict=True)
    )


def _maps(rows: Sequence[Row], encoder: Encoder, random: Floats, session: Session) -> tuple[OcclusionMap, OcclusionMap]:
    """Return a map of each of two images by one encoder."""
    spec = encoder.spec.with_decoding("fast" if session.fast_decode else "exact", session.max_pixels)
    image_input = spec.require_image_input()
    one, other = (occlude_row(row, encoder, image_input, device=session.device) for row in rows)
    return occlusion_map(one, other.vector, random), occlusion_map(other, one.vector, random)
