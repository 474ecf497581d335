"""The key of a number: what was measured, of what, under which condition, as fields and never as a sentence."""

from __future__ import annotations

from dataclasses import dataclass

SHUFFLED = "shuffled labels"
"""The condition of a control task: the classifier is fitted to labels that mean nothing."""
SHOTS = "shots"
"""The condition of a classifier that is fitted to few images of each value; their number is the strength."""
GAIN = "gain over the best trivial reference"
"""The condition of a decoding less that of the best encoder that has learned nothing, on the same images."""
CHANGED = "all changes"
"""The condition of the mean over all changes of the tested images, by a classifier that has seen none of them."""
CLASSIFIERS = {"linear probe": "decoding", "k-NN": "k-NN", "GDA": "GDA"}
"""The variants of decoding, each with the word that sentences have for it."""
PERCENTILE, CONTROL, BEYOND_CONTROL = "percentile", "control", "beyond control"
"""The variants of displacement, beside displacement itself, which has none."""
ACCURACY = "accuracy"
"""The variant of zero-shot classification that is no retrieval."""
SAME, ALIKE = "the same", "alike in"
"""The variants of pairs: how often a label is the same, how near images are in what is a distance."""
_MOVED = {
    None: "displacement",
    PERCENTILE: "displacement percentile",
    CONTROL: "displacement by the control",
    BEYOND_CONTROL: "displacement beyond the control",
}


@dataclass(frozen=True, kw_only=True)
class Key:
    """What one estimate is of. Estimates with the same key may be compared; ``str(key)`` is it in words, for people.

    Example:
        >>> print(Key(kind="displacement", target="hue", variant="beyond control", strength=120))
        hue 120: displacement beyond the control
        >>> print(Key(kind="decoding", target="category", variant="linear probe", test="unseen, rare"))
        category decoding, unseen, rare
    """

    kind: str
    """The kind of measure: ``displacement``, ``decoding``, ``zero-shot``, ``preference``, ``variance``,
    ``attraction``, ``natural-pairs``, ``blind-pairs``, ``pairs``, ``geometry``, ``dense``,
    ``questions``, or one that another package adds."""
    target: str
    """The intervention of a displacement, the label that is decoded or named, the preferred cue, the factor of a
    variance share, the attribute of natural pairs, the pattern of blind pairs, the statistic of a
    geometry, the question to patches, the group of questions to a vision-language model."""
    test: str | None = None
    """The name of the test images, where a card gives them one."""
    variant: str | None = None
    """Which of the numbers of this kind: the classifier of a decoding, what a displacement is compared with, the rival
    of a preference, what natural pairs hold constant, the cosine above which a pair is alike."""
    condition: str | None = None
    """What was done to images, labels or vectors before measuring: an intervention, ``shuffled labels``, ``shots``, or
    a compression."""
    strength: float | None = None
    """Of the intervention, or the number of shots."""
    dataset: str | None = None
    """The name of the images."""
    layer: int | None = None
    """The layer of the encoder; None is the vector that it gives by default."""

    @property
    def phrase(self) -> str:
        """The measure in words, without condition and strength."""
        match self.kind:
            case "displacement":
                return _MOVED.get(self.variant, f"displacement, {self.variant}")
            case "decoding":
                how = CLASSIFIERS.get(self.variant or "", self.variant)
                few = " from few" if self.condition == SHOTS else ""
                shuffled = f" of {SHUFFLED}" if self.condition == SHUFFLED else ""
                return f"{self.target} {how}{few}{shuffled}, {self.test}"
            case "zero-shot" if self.variant == ACCURACY:
                return f"zero-shot {self.target}"
            case "zero-shot":
                return str(self.variant)
            case "preference":
                return f"{self.target} preferred to {self.variant}"
            case "attraction":
                shuffled = f" by {SHUFFLED}" if self.condition == SHUFFLED else ""
                return f"same {self.target} nearer{shuffled}, {self.variant}"
            case "questions":
                return f"{self.target} questions, {self.test}"
            case "variance":
                return f"variance share of {self.target}"
            case "pairs":
                return f"pairs near for it only: {self.variant} {self.target}, beyond random pairs"
            case "blind-pairs":
                return ", ".join(filter(None, (f"blind pairs of {self.target}", self.variant)))
            case "natural-pairs":
                return ", ".join(filter(None, (f"similarity by {self.target}", self.variant)))
        return ", ".join(filter(None, (" ".join(filter(None, (self.target, self.variant))), self.test)))

    @property
    def prefix(self) -> str:
        """The condition with its strength in words; empty where there is none."""
        condition = self.target if self.kind == "displacement" else self.condition
        if condition is None or condition == SHUFFLED:
            return ""
        return condition if self.strength is None else f"{condition} {self.strength:g}"

    def __str__(self) -> str:
        return f"{self.prefix}: {self.phrase}" if self.prefix else self.phrase
