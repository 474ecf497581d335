"""Claims of papers: each is the difference of two encoders at one number of a probe card, or over pairs of images.

A claim says in which region the difference a - b lies:

    more      a is above b                      (0, inf)
    at least  a is not below b by the margin    (-margin, inf)
    similar   they differ by less               (-margin, margin)

The papers' own measures are of other data and partly unpublished, so which number stands for a claim is our choice.
Claims are TOML files: those in ``probes/claims`` come with embprobe, and anybody may write more.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from embprobe.comparing.result import MEASURED
from embprobe.probing.card import Card, bundled_card, read_card
from embprobe.probing.pattern import KeyPattern
from embprobe.system.models import Strict, parse_card, read_card_file

Relation = Literal["more", "at least", "similar"]
VectorChoice = Literal["", "class token", "own"]
"""The vector that answers: an encoder's class token before any head, or the one that it gives by default. Empty: the
latter, and the other choice is not shown beside it."""
CARD = ".toml"
"""How the name of a card ends that is a file and not a bundled one."""

QUESTIONS = ("text", "category", "colour", "style", "vision-centric", "reasoning", "all")
"""The groups of questions that claims may be about."""

CONTENT = ("category", KeyPattern(kind="decoding", target="concept", variant="k-NN", test="unseen drawings"))
RANK = ("geometry", KeyPattern(kind="geometry", target="effective rank"))
"""By what an encoder shows that it has learned something: cards and numbers."""


class Claim(Strict):
    """One claim of a paper, and the number of a probe card that decides it here."""

    a: str
    b: str
    """Roles; the claim is about a - b."""
    relation: Relation
    quality: str = ""
    """What a has more of, as much of, or at least as much of: ``accurate at decoding``."""
    card: str = ""
    """The attribute of a bundled card, or the path of a card's file."""
    number: KeyPattern | None = None
    """The number of that card that decides."""
    pairs: str = ""
    """Instead of a card's number, an attribute of pairs that are near for one encoder only: a label that both images
    of a pair may have in common, or ``color``, ``lightness`` or ``texture``, in which they may be alike."""
    questions: str = ""
    """Instead of a card's number, a group of questions that a small vision-language model answers from each encoder's
    tokens: ``text``, ``category``, ``colour``, ``style``, ``vision-centric``, ``reasoning`` or ``all``."""
    vectors: VectorChoice = ""
    """The vector that answers; the other choice is shown beside it. Taken from the file's head where there is none."""
    paper: str = ""
    """What the paper found, in our words."""
    published: str = ""
    """The paper's numbers."""
    differs: str = ""
    """How this question differs from the paper's."""
    margin: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """In the number's unit; of ``similar`` and ``at least``."""
    learned: str = ""
    """The role that must have learned content before anything is concluded; else the claim is undecided."""
    source: str = ""
    """The paper. Taken from the file's head."""
    names: dict[str, str] = {}
    """What the roles are called in sentences. Taken from the file's head."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.a == self.b:
            raise ValueError("a and b must be two roles")
        if (self.margin > 0) == (self.relation == "more"):
            raise ValueError("a margin goes with 'similar' and 'at least', and only with these")
        by_card = bool(self.card), self.number is not None, bool(self.quality)
        if (by_card, bool(self.pairs), bool(self.questions)) not in (
            ((True, True, True), False, False),
            ((False, False, False), True, False),
            ((False, False, False), False, True),
        ):
            raise ValueError("a claim has quality, card and number, or else pairs, or else questions")
        if self.questions and self.questions not in QUESTIONS:
            raise ValueError(f"there are no questions about '{self.questions}', but about {', '.join(QUESTIONS)}")
        if self.pairs and self.relation != "more":
            raise ValueError("a claim about pairs is 'more'")
        return self

    @property
    def sentence(self) -> str:
        """The claim in words, made of its fields, so that what is read is what is tested."""
        a, b = (self.names.get(role, role) for role in (self.a, self.b))
        if self.pairs:
            called = self.pairs.replace("color", "colour")
            have = f"alike in {called}" if self.pairs in MEASURED else f"often of the same {called}"
            return f"Pairs near for {a} only are more {have} than pairs near for {b} only"
        quality = self._answering if self.questions else self.quality
        if self.relation == "similar":
            return f"{a} and {b} are similarly {quality}"
        if self.relation == "at least":
            return f"{a} is at least as {quality} as {b}"
        return f"{a} is more {quality} than {b}"

    @property
    def _answering(self) -> str:
        """What a claim about questions says of an encoder."""
        kind = "vision-centric questions" if self.questions == "vision-centric" else f"questions about {self.questions}"
        return f"accurate at {'all questions' if self.questions == 'all' else kind} inside a language model"

    @property
    def question(self) -> str:
        """What is asked, as far as it is known before it was: the fields of the number, or pairs."""
        if self.questions:
            return f"questions, {self.questions}"
        return f"pairs near for one only, {self.pairs}" if self.number is None else self.number.describe()

    @property
    def region(self) -> tuple[float, float]:
        """Where the difference lies if the claim is true."""
        if self.relation == "more":
            return 0.0, math.inf
        return -self.margin, self.margin if self.relation == "similar" else math.inf


class ClaimFile(Strict):
    """The claims of one paper."""

    schema_: Literal[1] = Field(alias="schema")
    source: str
    roles: Annotated[dict[str, str], Field(min_length=2)]
    """The encoders the paper speaks of, by role, as sentences call them."""
    vectors: VectorChoice = ""
    """The vector that answers where a claim says nothing else."""
    claims: Annotated[list[Claim], Field(min_length=1)]

    @model_validator(mode="after")
    def _known_roles(self) -> Self:
        used = {role for claim in self.claims for role in (claim.a, claim.b, claim.learned) if role}
        if unknown := used - self.roles.keys():
            raise ValueError(f"the table 'roles' lacks {', '.join(sorted(unknown))}")
        if any(claim.model_fields_set & {"source", "names"} for claim in self.claims):
            raise ValueError("a claim's source and names are those of the file")
        return self

    def whole(self, folder: Path | None = None) -> tuple[Claim, ...]:
        """Return the claims, each with its source and its roles' names; cards' files are sought in ``folder``."""

        def placed(card: str) -> str:
            return str(folder / card) if folder is not None and card.endswith(CARD) else card

        more = {"source": self.source, "names": self.roles}
        return tuple(
            claim.model_copy(
                update={**more, "card": placed(claim.card), "vectors": claim.vectors or self._vectors_of(claim)}
            )
            for claim in self.claims
        )

    def _vectors_of(self, claim: Claim) -> VectorChoice:
        """Return the file's choice; names are compared with the vectors that texts share, and a language
        model reads tokens of its own layer, whatever it is."""
        own = bool(claim.questions) or (claim.number is not None and claim.number.kind == "zero-shot")
        return "" if own else self.vectors


@cache
def bundled_claims() -> tuple[Claim, ...]:
    """Return the claims that come with embprobe, paper by paper.

    Example:
        >>> bundled_claims()[0].sentence
        'Pairs near for CLIP only are more often of the same category than pairs near for DINO only'
    """
    found = sorted((files("embprobe.probes") / "claims").iterdir(), key=lambda item: item.name)
    texts = {item.name: item.read_text(encoding="utf-8") for item in found if item.name.endswith(CARD)}
    return tuple(claim for name, text in texts.items() for claim in parse_card(ClaimFile, text, name).whole())


def read_claims(path: Path | str) -> tuple[Claim, ...]:
    """Return the claims of a file of one's own.

    Raises:
        EmbprobeError: The file is not right; the message has the key and what was expected.
    """
    path = Path(path)
    return read_card_file(ClaimFile, path).whole(path.parent)


def roles_of(claims: tuple[Claim, ...]) -> tuple[str, ...]:
    """Return the roles that claims are about, each once."""
    return tuple(dict.fromkeys(role for claim in claims for role in claim.names))


def card_of(name: str) -> Card:
    """Return the card of a claim: a bundled one by its attribute, or one of one's own by its path."""
    return read_card(Path(name)) if name.endswith(CARD) else bundled_card(name)
