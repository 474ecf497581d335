"""The result of a comparison of encoders: how far they agree, what similarity goes with, and where they disagree.

It is data alone, without images or vectors: :meth:`Comparison.save` writes it, :func:`load_comparison` reads it back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictBool, TypeAdapter

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images, Row
from embprobe.measures.disagreement import FAR, NEAR, SAMPLED
from embprobe.statistics import CERTAIN, Estimate, holm
from embprobe.system.files import write_json
from embprobe.system.models import Count, DamagedFile, Number, check_json, read_json
from embprobe.system.text import listed, printable

VERSION = 2
FILE = "comparison.json"
COLOR = "color"
"""The name of colour as an attribute."""
COLORS = "reference/color-histogram"
"""The encoder whose vectors measure colour."""
MEASURED = {COLOR: COLORS, "lightness": "reference/lightness-histogram", "texture": "reference/texture"}
"""Attributes that are measured as a distance, and the encoders whose vectors measure them."""
SETTINGS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "loose": ((0.7, 0.5), (0.5, 0.8)),
    "strict": ((0.85, 0.3), (0.15, 0.95)),
    "imagenet": ((0.8, 0.5), (0.15, 0.9)),
    "mmvp": ((0.95, 0.6), (0.6, 0.95)),
}
"""Limits on cosines by name, of pairs near for the first encoder and far for the second, and far and near. The first
three are those of the authors of arXiv 2510.11835 (their code, CLIP first), of class tokens; the last is MMVP's (Tong
et al. 2024, section 2.1), both ways."""
_Key = Annotated[str, AfterValidator(printable)]


@dataclass(frozen=True)
class ComparisonSettings:
    """How every two encoders are compared."""

    k: Count = 10
    """Neighbours of an image that mutual k-NN compares."""
    by: tuple[str, ...] = ("category", "style")
    """Labels that may explain a disagreement."""
    pairs: Count = 12
    """Disagreement pairs to show in each direction."""
    near_far: tuple[Number, Number] | None = None
    """Cosines above which a pair is near for the first encoder, and below which it is far for the second."""
    far_near: tuple[Number, Number] | None = None
    """Cosines below which a pair is far for the first encoder, and above which it is near for the second."""
    percentiles: tuple[Number, Number] = (NEAR, FAR)
    """Percentiles of an encoder's cosines above which a pair is near, and below which it is far, where no cosines are
    given."""
    sampled: Count = SAMPLED
    """Images of each of the two samples whose pairs are all looked at."""
    most_per_image: Count | None = None
    """The largest number of contrasting pairs of an image that count; without it hubs are only reported."""


@dataclass(frozen=True)
class ImagesSummary:
    """The name, fingerprint and number of the images that were compared: enough to open them again and to know them."""

    name: str
    fingerprint: str
    count: Count

    @classmethod
    def of(cls, images: Images) -> ImagesSummary:
        """The summary of these images."""
        return cls(images.name, images.fingerprint, len(images))


@dataclass(frozen=True)
class Agreement:
    """How far encoders ``a`` and ``b`` agree by one measure, beside what a random matching of their rows gives."""

    measure: str
    """``debiased CKA``, ``mutual 10-NN`` or ``rank correlation``; each is 1 where the encoders agree in everything."""
    a: str
    b: str
    value: Annotated[Estimate, Field(alias="found")]
    """The measure over the images, with its bootstrap interval."""
    chance: Number
    """The mean of the measure over random matchings of the rows."""
    chance_high: Number
    """Its 97.5th percentile over them."""


@dataclass(frozen=True)
class Explanation:
    """How much more the similarity of one encoder goes with an attribute than that of another.

    Partial rank correlations over pairs of images, the other attributes held constant
    (:func:`embprobe.measures.natural_pairs.natural_pairs`).
    """

    attribute: str
    """A label, or ``color``."""
    a: str
    b: str
    of_a: Estimate
    of_b: Estimate
    difference: Estimate
    """The correlation of a less that of b, over the same resamples."""


@dataclass(frozen=True)
class DisagreementPair:
    """Two images, near for one encoder and far for another, and the attributes that they share."""

    keys: tuple[_Key, _Key]
    """The keys of their rows, as :func:`embprobe.system.text.printable` writes them."""
    cosines: tuple[Number, Number]
    """By the encoder that calls them near, and by the one that calls them far."""
    percentiles: tuple[Number, Number]
    """The share of all pairs of images that are less similar than these, from 0 to 1, by the same two encoders."""
    same: Mapping[str, StrictBool]
    """By label, whether both images have the same value."""
    color: Number | None
    """The cosine of their colour histograms, from 0 to 1; None of rows without pictures."""


@dataclass(frozen=True)
class PairSharing:
    """How much contrasting pairs share of an attribute, beside random pairs of the same images."""

    attribute: str
    """A label, ``color``, ``lightness`` or ``texture``."""
    distance: StrictBool
    """Whether it is the mean of a distance, 1 - cosine from 0 to 2; else the share of pairs with the same label."""
    share: Estimate
    """The mean over the pairs, with its interval over images: a resample has a pair where it has both images."""
    matched: Number
    """The mean over random pairs in which each image is as often as in the contrasting ones."""
    beyond: Estimate
    """The first less the second."""


@dataclass(frozen=True)
class Disagreement:
    """The pairs that encoder ``near`` calls alike and ``far`` does not."""

    near: str
    far: str
    limits: tuple[Number, Number]
    """The cosines above which pairs are near, and below which they are far."""
    found: Count
    """The number of such pairs among all that were looked at."""
    counted: Count
    """The number of them that ``sharing`` is about: all, random ones of very many, or those that hubs are left."""
    images: Count
    """The number of different images in these."""
    busiest: Count
    """The number of these that the image with the most pairs is in."""
    sharing: tuple[PairSharing, ...]
    """An entry for each attribute; none for fewer than 20 pairs."""
    pairs: tuple[DisagreementPair, ...]
    """Some to look at, largest difference first, each group of images in one at most."""


@dataclass(frozen=True)
class PairContrast:
    """How much more the pairs near for ``a`` alone share of an attribute than those near for ``b`` alone."""

    attribute: str
    distance: StrictBool
    a: str
    b: str
    difference: Estimate
    """What the one share beyond random pairs less what the others do, over the same resamples."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far every two of some encoders agree on the same images, what explains where they do not, and on which pairs.

    The alias of a field is its key in ``comparison.json``.
    """

    images: ImagesSummary
    """All images that were given."""
    compared: Annotated[Count, Field(alias="images_compared")]
    """The number of them that have a vector by every encoder."""
    encoders: Mapping[str, str]
    """The fingerprints of their specs, by name."""
    settings: Annotated[ComparisonSettings, Field(alias="terms")]
    queries: Annotated[Count, Field(alias="images_whose_neighbours_were_compared")]
    """The number of images whose neighbours were compared; these were sought among all."""
    resampled: str
    """The unit of the bootstrap: ``concept`` or ``image``."""
    seed: Count
    agreements: Annotated[tuple[Agreement, ...], Field(alias="agreement")]
    """Three measures of every two encoders."""
    explanations: Annotated[tuple[Explanation, ...], Field(alias="explanation")]
    """Every attribute of every two encoders."""
    disagreements: Annotated[tuple[Disagreement, ...], Field(alias="disagreement")]
    """Both directions of every two encoders, one after the other."""
    looked_at: Annotated[Count, Field(alias="pairs_looked_at")]
    """The number of pairs of images among which these were sought."""
    contrasts: Annotated[tuple[PairContrast, ...], Field(alias="contrast")]
    """Every attribute of every two encoders whose contrasting pairs are enough both ways."""
    made_from: Annotated[str, Field(exclude_if=lambda mark: not mark)] = ""
    """A hash of the rows that were compared and of their labels; "" in files of earlier versions."""
    rows: Annotated[Any, Field(exclude=True)] = field(default_factory=dict, compare=False, repr=False)
    """The rows of all pairs by key, to draw them; the file does not hold them, so a loaded comparison has none."""
    why: Annotated[Any, Field(exclude=True)] = field(default=(), compare=False, repr=False)
    """The first pairs with their maps, one entry a disagreement (:mod:`embprobe.comparing.why`); not in the file."""

    def sentence(self, a: str, b: str) -> str:
        """What explains the disagreement of two encoders: attributes that similarity goes with more for one of them.

        Those with p < 0.05, Holm-corrected over all attributes and pairs of encoders.
        """
        adjusted = holm([explanation.difference.p or 0.0 for explanation in self.explanations])
        stronger: dict[str, list[str]] = {a: [], b: []}
        for explanation, p in zip(self.explanations, adjusted, strict=True):
            if (explanation.a, explanation.b) == (a, b) and p < CERTAIN:
                d = explanation.difference
                low, high = (d.low, d.high) if d.estimate > 0 else (-d.high, -d.low)
                attribute = f"{explanation.attribute} (by {abs(d.estimate):.3f}, {low:.3f} to {high:.3f})"
                stronger[a if d.estimate > 0 else b].append(attribute)
        parts = [f"more with {listed(names)} for {encoder}" for encoder, names in stronger.items() if names]
        return f"Similarity goes {', '.join(parts)}." if parts else f"{a} and {b}: no attribute tells them apart."

    def pair_sentence(self, a: str, b: str) -> str:
        """What pairs near for one encoder alone share more than those near for the other alone.

        Attributes with p < 0.05, Holm-corrected over all attributes and pairs of encoders; less of a distance is more
        in common.
        """
        adjusted = holm([contrast.difference.p or 0.0 for contrast in self.contrasts])
        closer: dict[str, list[str]] = {a: [], b: []}
        here = [(each, p) for each, p in zip(self.contrasts, adjusted, strict=True) if (each.a, each.b) == (a, b)]
        if not here:
            return f"Too few pairs are near for only one of {a} and {b} to tell what they share."
        for contrast, p in here:
            if p < CERTAIN:
                more = contrast.difference.estimate > 0
                closer[a if more != contrast.distance else b].append(contrast.attribute)
        parts = [f"those near for {encoder} only in {listed(names)}" for encoder, names in closer.items() if names]
        if not parts:
            return f"Pairs near for only one of {a} and {b}: no attribute tells the two kinds apart."
        return f"Pairs have more in common than random ones, and than those of the other kind: {', '.join(parts)}."

    def both_ways(self) -> list[tuple[Disagreement, Disagreement]]:
        """The disagreements of every two encoders: the pairs that the first calls alike, and those of the second."""
        return list(zip(self.disagreements[::2], self.disagreements[1::2], strict=True))

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that change with the images, the encoders, the seed and the settings."""
        inputs = [self.images.fingerprint, dict(self.encoders), self.seed, asdict(self.settings)]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:8]

    def save(self, workspace: Workspace) -> Path:
        """Write ``comparison.json`` into a folder of the workspace's results and return its path."""
        path = self.path(workspace)
        write_json(path, self.as_json())
        return path

    def plot(self, pair: int = 0, *, images: Images | None = None) -> Any:
        """Draw the sheet of disagreement pairs of two encoders, the first two by default, as a matplotlib figure.

        A comparison that was loaded needs ``images``, the compared ones, to show their pictures.
        """
        from embprobe.plots.pairs import draw_pairs  # as a result draws itself

        return draw_pairs(self.both_ways()[pair], self.rows if images is None else rows_by_key(images))

    def path(self, workspace: Workspace) -> Path:
        """Return where the workspace keeps this comparison."""
        return workspace.results(f"compare-{self.fingerprint}") / FILE

    def as_json(self) -> dict[str, Any]:
        """The whole comparison, for ``--json`` and for the file."""
        return {"version": VERSION, **_COMPARISON.dump_python(self, by_alias=True)}


_COMPARISON = TypeAdapter(Comparison)


def load_comparison(folder: Path) -> Comparison:
    """Read back the comparison that :meth:`Comparison.save` wrote into a folder.

    Files without a version are of version 1. Raises :class:`EmbprobeError` if the file is damaged, of
    another version or cannot be read.
    """
    path = folder / FILE
    try:
        content = read_json(path)
        version = content.get("version", 1)
        if version != VERSION:
            raise EmbprobeError(
                f"'{path}' is of comparison version {version}; this embprobe reads version {VERSION}. "
                "Remove it, and run 'embprobe compare' again."
            )
        return check_json(Comparison, content, path)
    except OSError as error:
        raise EmbprobeError(f"'{path}' cannot be read: {error.strerror}.") from None
    except DamagedFile as damage:
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run 'embprobe compare' again.") from damage


def rows_by_key(images: Images) -> dict[str, Row]:
    """Return the rows of images by key, spelled as a comparison spells keys."""
    return {printable(row.key): row for row in images.rows}
