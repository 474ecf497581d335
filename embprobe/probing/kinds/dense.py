"""Dense: what the patch tokens of an encoder know of scenes whose mask is known, and what its class token lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.interventions import find_intervention
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.context import GUESSING, NotApplicable
from embprobe.probing.dense_scenes import MASK, mask_of, partners, read_truths, token_encoders
from embprobe.probing.key import Key
from embprobe.probing.measure import Condition, Labels, Measure
from embprobe.probing.patch_questions import (
    EVEN,
    NAME,
    NUMBERS,
    SHUFFLED,
    UNITS,
    Named,
    Number,
    Question,
    Seen,
    answer,
    blind,
)
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.token_set import TokenSet
    from embprobe.encoders.spec import Encoder
    from embprobe.probing.context import ProbeContext

SHUFFLED_PATCHES = "shuffled patches"
"""The condition of a control: the patches of each image are permuted."""
_MIN_GROUPS = 3
"""Groups of images that folds need: one to test on, one to choose a penalty on, and one to fit on."""
Values = dict[Key, dict[str, ScoreArray]]
"""Scores ``[n]`` by key and encoder."""


class Dense(Measure):
    """What patch tokens know that is known exactly: the object's mask, places, parts and name.

    Images are cut-outs. Each is put into a scene, and the mask of the scene is resized and cropped as the picture is.
    """

    takes_tokens: ClassVar[bool] = True
    kind: Literal["dense"]
    scene: str = "plant"
    """The intervention that makes the scene, with a control ``mask`` that shows its mask."""
    ask: list[Question] = list(NUMBERS)
    """The questions that are asked."""
    shuffled: bool = True
    """Whether they are also asked of shuffled patches."""
    part_of: str = "concept"
    """The label whose values have several pictures, of which parts correspond."""
    drawn_by: Labels = ["family", "style"]
    """Labels, of which the first that images have tells the hands of two pictures apart."""
    label: str = "name"
    """The label that names the object."""
    template: str = "{}"
    """The text in which the name stands."""

    def check(self) -> None:
        if MASK not in find_intervention(self.scene).controls:
            raise UsageError(f"The intervention '{self.scene}' has no control '{MASK}' that shows the mask of a scene.")

    def read_labels(self, images: Images) -> Sequence[str]:
        return self.images.labels  # a question whose label is missing is left out alone

    def declared_keys(self) -> Sequence[Key]:
        keys = [_key(number) for question in self.ask for number in NUMBERS[question]]
        if self.shuffled:
            keys += [_key(number, SHUFFLED_PATCHES) for question in self.ask for number in SHUFFLED.get(question, [])]
        return keys

    def brief(self, needed: Sequence[KeyPattern]) -> Self:
        """Return it with the needed ones of its questions only, of shuffled patches only if that is needed."""
        keys = [key for pattern in needed if (key := pattern.find(self.declared_keys(), folds=""))]
        ask = [each for each in self.ask if NUMBERS[each][0][0] in {key.target for key in keys}]
        if not ask:
            return self
        return self.model_copy(update={"ask": ask, "shuffled": any(key.condition for key in keys)})

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        encoders = token_encoders(context)
        yield Condition(context.intervene(self._chosen(context), self.scene, 1), list(encoders.values()))

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield the scores of every encoder with tokens, question by question."""
        encoders, chosen = token_encoders(context), self._chosen(context)
        tokens = self._tokens(chosen, encoders, context)
        shared = set.intersection(*({*each.rows.keys} for each in tokens.values()))
        rows = chosen.take([i for i, key in enumerate(chosen.keys) if key in shared])
        groups = np.asarray(context.groups(rows))
        if len(np.unique(groups)) < _MIN_GROUPS:
            raise NotApplicable(f"patches are tested in folds, which need at least {_MIN_GROUPS} {context.resampled}s")
        masks = context.intervene(rows, mask_of(self.scene), 1)
        truths = read_truths(masks, {name: encoder.spec for name, encoder in encoders.items()})
        partner, texts = self._partners(rows, context), self._texts(rows, encoders, context)
        _note_grids(encoders, context)
        values: Values = {key: {} for key in self.declared_keys()}
        for name, encoder in encoders.items():
            own = tokens[name].at(rows.keys)
            patches = own.patches(slice(0, len(rows)))
            seen = Seen(
                patches=patches,
                class_token=own.prefix(slice(0, len(rows)))[:, 0] if _has_class(encoder) else None,
                truth=truths[name],
                groups=groups,
                partner=partner,
                named=_named(encoder, patches, texts.get(name)),
                seed=context.session.seed,
                device=context.session.device,
            )
            self._answer(seen, name, values, context)
        first = truths[next(iter(encoders))]
        for question in self.ask:
            for number, scores in blind(question, first, groups, seed=context.session.seed).items():
                values[_key(number)][GUESSING] = scores
        for key, by_encoder in values.items():
            kept = _with_scores(key, by_encoder, groups, context)
            if kept.keys() - {GUESSING}:
                guessed = values.get(_key((key.target, str(key.variant))), {}).get(GUESSING)
                floor, unit = _floor(key, kept, guessed), UNITS[key.target, str(key.variant)]
                yield from context.scored(key, kept, rows.keys, groups.tolist(), unit=unit, floor=floor)

    def _tokens(self, chosen: Images, encoders: Mapping[str, Encoder], context: ProbeContext) -> Mapping[str, TokenSet]:
        """Return each encoder's tokens of the scenes."""
        scenes = context.intervene(chosen, self.scene, 1)
        try:
            return {name: context.tokens(scenes, encoder, self.scene) for name, encoder in encoders.items()}
        except NotApplicable as reason:
            raise NotApplicable(
                f"it needs cut-outs, images with transparent parts, and '{context.images.name}' has none: {reason}"
            ) from None

    def _answer(self, seen: Seen, name: str, values: Values, context: ProbeContext) -> None:
        """Put the scores of an encoder to those of the others; note the questions that its patches do not allow."""
        for question in self.ask:
            try:
                for number, scores in answer(question, seen).items():
                    values[_key(number)][name] = scores
                if self.shuffled and question in SHUFFLED:
                    for number, scores in answer(question, seen.shuffled(), only=SHUFFLED[question]).items():
                        values[_key(number, SHUFFLED_PATCHES)][name] = scores
            except EmbprobeError as reason:
                context.note(f"dense: {NUMBERS[question][0][0]}, of {name}: {str(reason).removesuffix('.')}")

    def _chosen(self, context: ProbeContext) -> Images:
        if not context.images.has_pictures:
            raise NotApplicable(f"it changes images, and '{context.images.name}' has vectors and no pictures")
        return context.select(self.images)

    def _partners(self, rows: Images, context: ProbeContext) -> NDArray[np.int64]:
        """Return the position of another drawing of each row's object; note where there is none."""
        partner = partners(rows, self.part_of, self.drawn_by)
        if "same part" in self.ask and (partner < 0).all():
            context.note(
                f"dense: the same part in another drawing, which needs several pictures of a {self.part_of} that "
                f"differ in {' or '.join(self.drawn_by)}"
            )
        return partner

    def _texts(
        self, rows: Images, encoders: Mapping[str, Encoder], context: ProbeContext
    ) -> Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return by encoder with text vectors of the objects' names and of other objects'; note the lack of them."""
        if "name" not in self.ask:
            return {}
        if not rows.has(self.label) or len(set(rows.label(self.label))) < 2:
            context.note(f"dense: patches and names, for not all images have a {self.label}, or all have the same")
            return {}
        names, own = np.unique(rows.label(self.label), return_inverse=True)
        texts = context.texts([self.template.replace("{}", name) for name in names.tolist()])
        lacking = [name for name in encoders if name in texts and not _projects(encoders[name])]
        if lacking:
            context.note(f"dense: patches and names of {', '.join(lacking)}, whose patches have no way to its texts")
        if not set(texts) - set(lacking):
            context.note("dense: patches and names, which need an encoder with text whose patches lie in its space")
        # each name is another's, and none its own
        order = np.random.default_rng(context.session.seed).permutation(len(names))
        another = np.empty_like(order)
        another[order] = np.roll(order, 1)
        return {name: (each[own], each[another[own]]) for name, each in texts.items() if name not in lacking}


def _key(number: Number, condition: str | None = None) -> Key:
    return Key(kind="dense", target=number[0], variant=number[1], condition=condition)


def _with_scores(
    key: Key, by_encoder: Mapping[str, ScoreArray], groups: NDArray[np.str_], context: ProbeContext
) -> dict[str, ScoreArray]:
    """Return the encoders that have scores of enough groups, together; note those whose patches are too coarse.

    An image counts if it has a score by all of them.
    """
    kept: dict[str, ScoreArray] = {}
    finite = np.ones(len(groups), bool)
    for name, scores in by_encoder.items():
        shared = finite & np.isfinite(scores)
        if len(np.unique(groups[shared])) >= _MIN_GROUPS:
            kept[name], finite = scores, shared
        elif name != GUESSING:
            context.note(f"dense: {key}, of {name}: its patches are too coarse for nearly all of these scenes")
    return kept


def _floor(key: Key, kept: Mapping[str, ScoreArray], guessed: ScoreArray | None) -> float:
    """Return the estimate of whoever is blind: that of guessing on the same images, even odds for an AUC, or 0."""
    if guessed is not None:
        asked = np.isfinite(np.array([*kept.values(), guessed])).all(axis=0)
        return float(guessed[asked].mean())
    return EVEN if key.target == NAME else 0.0


def _note_grids(encoders: Mapping[str, Encoder], context: ProbeContext) -> None:
    """Note that encoders have other grids, if they have: their numbers answer other questions."""
    grids = [encoder.spec.tokens for encoder in encoders.values()]
    sizes = list(dict.fromkeys(f"{grid.rows} x {grid.columns}" for grid in grids if grid is not None))
    if len(sizes) > 1:
        context.note(
            f"dense: a comparison of like with like, for encoders have grids of {' and '.join(sizes)} patches, and "
            f"finer ones are asked more; guessing is that of {sizes[0]}"
        )


def _has_class(encoder: Encoder) -> bool:
    """Return whether the first token of an encoder is a class token."""
    trunk = getattr(encoder, "trunk", None)
    return bool(trunk is not None and trunk.has_class)


def _projects(encoder: Encoder) -> bool:
    """Return whether an encoder's tokens have a way to the space shared with text: those of the last layer only."""
    trunk = getattr(encoder, "trunk", None)
    return bool(trunk is not None and trunk.project is not None and encoder.spec.norm == "last")


def _named(
    encoder: Encoder,
    patches: NDArray[np.float32],
    texts: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> Named | None:
    """Return the patches in the space shared with text, and their texts; None where there are no texts."""
    from embprobe.encoders.network import NetworkEncoder

    if texts is None or not isinstance(encoder, NetworkEncoder):
        return None
    projected = encoder.project_tokens(patches.reshape(-1, patches.shape[-1]))
    if projected is None:
        return None
    return Named(projected.reshape(*patches.shape[:3], -1), *texts)
