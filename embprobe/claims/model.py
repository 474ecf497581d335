"""What papers claim of CLIP, DINO and their kin, each as the difference of two encoders at a question of a probe card.

A claim says in which region the difference a - b lies:

    more      a is above b                      (0, inf)
    at least  a is not below b by the margin    (-margin, inf)
    similar   they differ by less               (-margin, margin)

The papers' own measures are of other data and partly unpublished, so which question stands for a claim is our choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from embprobe.probing.results import Question

Kind = Literal["more", "at least", "similar"]

ROLES = ("clip", "dino", "siglip", "nclip", "xclip", "clip-lm")
"""Who claims are about. ``clip-lm`` is CLIP with a pre-trained language encoder in the place of its text tower."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of a paper, and the question of a probe card that decides it here."""

    sentence: str
    source: str
    attribute: str
    """Of the card."""
    question: Question
    a: str
    b: str
    """Roles; what is claimed is about a - b."""
    kind: Kind
    margin: float = 0.0
    """In the question's unit; of ``similar`` and ``at least``."""
    learned: str = ""
    """The role that must have learned content before anything is said; else the claim is undecided."""

    @property
    def region(self) -> tuple[float, float]:
        """Where the difference lies if the claim is true."""
        if self.kind == "more":
            return 0.0, math.inf
        return -self.margin, self.margin if self.kind == "similar" else math.inf


_PAIR = "Data or Language Supervision: What Makes CLIP Better than DINO? arXiv 2510.11835"
_NCLIP = "Non-Contrastive Learning Meets Language-Image Pre-Training, arXiv 2210.09304"
_UNSEEN_CONCEPTS = Question("category decoding, unseen concepts")
_ACCURACY = Question("category decoding, unseen drawings")
_ZERO_SHOT = Question("zero-shot name")

CONTENT, RANK = ("category", Question("concept k-NN, unseen drawings")), ("geometry", Question("effective rank"))
"""By what an encoder shows that it has learned something: cards and questions."""

FIVE_POINTS, TWO_POINTS = 0.05, 0.02
"""Margins: five images in a hundred of a decoding, where encoders have half of them right; two of a zero-shot, where
they have fewer."""

CLAIMS: tuple[Claim, ...] = (
    Claim(
        sentence="CLIP is more sensitive to the category than DINO",
        source=_PAIR,
        attribute="category",
        question=_UNSEEN_CONCEPTS,
        a="clip",
        b="dino",
        kind="more",
    ),
    Claim(
        sentence="CLIP is more sensitive to embedded text than DINO",
        source=_PAIR,
        attribute="text",
        question=Question("word decoding, unseen concepts"),
        a="clip",
        b="dino",
        kind="more",
    ),
    Claim(
        sentence="DINO is more sensitive to colour than CLIP",
        source=_PAIR,
        attribute="color",
        question=Question("displacement beyond the control", "hue", 120),
        a="dino",
        b="clip",
        kind="more",
        learned="dino",
    ),
    Claim(
        sentence="DINO is more sensitive to style than CLIP",
        source=_PAIR,
        attribute="style",
        question=Question("displacement", "house", 1),
        a="dino",
        b="clip",
        kind="more",
        learned="dino",
    ),
    Claim(
        sentence="CLIP and DINO have a similar overall accuracy",
        source=_PAIR,
        attribute="category",
        question=_ACCURACY,
        a="clip",
        b="dino",
        kind="similar",
        margin=FIVE_POINTS,
    ),
    Claim(
        sentence="SigLIP's loss changes little against CLIP's",
        source=_PAIR,
        attribute="category",
        question=_ACCURACY,
        a="siglip",
        b="clip",
        kind="similar",
        margin=FIVE_POINTS,
    ),
    Claim(
        sentence="A pre-trained language encoder changes little against CLIP's own",
        source=_PAIR,
        attribute="category",
        question=_ACCURACY,
        a="clip-lm",
        b="clip",
        kind="similar",
        margin=FIVE_POINTS,
    ),
    Claim(
        sentence="nCLIP is better than CLIP at decoding",
        source=_NCLIP,
        attribute="category",
        question=_ACCURACY,
        a="nclip",
        b="clip",
        kind="more",
    ),
    Claim(
        sentence="nCLIP is worse than CLIP at zero-shot",
        source=_NCLIP,
        attribute="category",
        question=_ZERO_SHOT,
        a="clip",
        b="nclip",
        kind="more",
    ),
    Claim(
        sentence="xCLIP is at least as good as CLIP at decoding",
        source=_NCLIP,
        attribute="category",
        question=_ACCURACY,
        a="xclip",
        b="clip",
        kind="at least",
        margin=FIVE_POINTS,
    ),
    Claim(
        sentence="xCLIP is at least as good as CLIP at zero-shot",
        source=_NCLIP,
        attribute="category",
        question=_ZERO_SHOT,
        a="xclip",
        b="clip",
        kind="at least",
        margin=TWO_POINTS,
    ),
)
"""The claims in the order in which they are told."""
