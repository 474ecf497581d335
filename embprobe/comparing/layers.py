"""Compare the layers of encoders on the same images, or find that the same was compared before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embprobe.comparing.layer_result import CKA, ComparedLayers, LayerComparison, load_layers
from embprobe.comparing.result import ImagesSummary
from embprobe.comparing.run import choose_compared, choose_groups, made_from
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.measures.vectors import ScoreArray
from embprobe.system.threads import one_thread, side_by_side

if TYPE_CHECKING:
    from embprobe.comparing.layer_numbers import LayerScores
    from embprobe.images.groups import Grouping
    from embprobe.measures.cka import Kernel
    from embprobe.measures.knn import Positions

ROWS = 10_000
"""Of more images this many random ones are embedded and compared with each other."""
UNTRAINED = "reference/random-vit"
"""The network whose layers stand beside those of the others: neighbouring layers agree untrained, too."""


@one_thread()
def compare_layers(
    images: Images,
    encoders: Sequence[Encoder],
    session: Session,
    asked: str = "all",
    *,
    k: int = 10,
    notify: Callable[[str], None] = lambda now: None,
) -> LayerComparison:
    """Compare the layers of every two encoders, and those of each with each other, by debiased CKA and mutual k-NN.

    The layers of the untrained network stand beside them. One pass of each network gives the vectors of all its layers,
    by the pooling and the norm that the encoder is named with. Of more than :data:`ROWS` images random ones are
    compared. Images are resampled in the groups of :func:`embprobe.images.groups.choose_grouping`.

    Where the workspace holds the comparison of the same rows, layers, seed and k, that is returned.

    Args:
        images: The rows to compare the layers on.
        encoders: One or more.
        session: Gives the vectors, the device and the seed.
        asked: ``all``, ``every 2``, or numbers such as ``8,10,12``, of every encoder.
        k: Neighbours of an image that mutual k-NN compares, among the compared images.
        notify: Called with each step in a few words as it begins.

    Raises:
        UsageError: An encoder has no layers, or not these, or there is only one layer in all.
        EmbprobeError: Fewer than k + 2 images, or than four, have a vector by all layers.
    """
    if k < 1:
        raise UsageError(f"The number of neighbours must be at least 1; it is {k}.")
    by_name = {_name(encoder): encoder for encoder in encoders}
    layers = {name: _layers(encoder, asked) for name, encoder in by_name.items()}
    if sum(map(len, layers.values())) == 1:
        raise UsageError("One layer of one encoder is nothing to compare: name more layers, or another encoder.")
    compared = {name: _facts(each, len(_layers(by_name[name], "all"))) for name, each in layers.items()}
    if not any(f"{encoder.spec.family}/{encoder.spec.model}" == UNTRAINED for encoder in encoders):
        layers[UNTRAINED] = _layers(load_encoder(UNTRAINED, device=session.device), "all")
        compared[UNTRAINED] = _facts(layers[UNTRAINED], len(layers[UNTRAINED]), untrained=True)
    embedded = _embedded(images, layers, session)
    if len(embedded.rows) < (needed := max(k + 2, 4)):
        raise EmbprobeError(
            f"Comparing layers, and the {k} nearest, needs at least {needed} images; there are {len(embedded.rows)}."
        )
    grouping = choose_groups(embedded.rows)
    if grouping.note:
        session.note(grouping.note)
    begun = LayerComparison(
        images=ImagesSummary.of(images),
        compared=len(embedded.rows),
        encoders=compared,
        k=k,
        resampled=grouping.label,
        seed=session.seed,
        similarities=(),
        best=(),
        nearest=(),
        changes=(),
        made_from=made_from(embedded.rows, (), session),
    )
    before = _saved(begun, session)
    if before is not None:
        notify(f"{before.path(session.workspace)} has the same comparison, made before")
        return before
    return _measured(begun, embedded, grouping, session.device, notify)


def _name(encoder: Encoder) -> str:
    """Return an encoder's name without a layer: its layers share it."""
    if encoder.spec.layer is None:
        return encoder.spec.name
    return ",".join(part for part in encoder.spec.name.split(",") if not part.startswith("layer="))


def _layers(encoder: Encoder, asked: str) -> list[Encoder]:
    """Return an encoder for each layer that is asked for."""
    name, layers = encoder.spec.name, getattr(encoder, "layers", None)
    if layers is None:
        raise UsageError(f"'{name}' has no layers to compare: leave it out, or leave out --layers.")
    return list(layers(asked))


def _facts(layers: Sequence[Encoder], depth: int, *, untrained: bool = False) -> ComparedLayers:
    specs = [each.spec for each in layers]
    numbers = tuple(spec.layer or 0 for spec in specs)
    return ComparedLayers(
        depth, numbers, tuple(spec.name for spec in specs), tuple(spec.fingerprint for spec in specs), untrained
    )


def _embedded(images: Images, layers: dict[str, list[Encoder]], session: Session) -> EmbeddingSet:
    """Return vectors with a direction by every layer, of images that have the labels that they are grouped by."""
    labelled, notes = choose_compared(images, (), session.max_unlabelled)
    for note in notes:  # before anything slow
        session.note(note)
    every = [each for of_encoder in layers.values() for each in of_encoder]
    if len(images) > ROWS:  # then no store of all images is made
        drawn = np.random.default_rng(session.seed).choice(len(labelled), min(ROWS, len(labelled)), replace=False)
        labelled = labelled.take(np.sort(drawn))
        session.note(f"{len(labelled):,} random images of {len(images):,} are compared")
        return session.directed(session.embed(labelled, every, "extracting layers"))
    embedded = session.embed(images, every, "extracting layers")
    return session.directed(embedded if len(labelled) == len(images) else embedded.at(labelled.keys))


def _measured(
    begun: LayerComparison,
    embedded: EmbeddingSet,
    grouping: Grouping,
    device: str,
    notify: Callable[[str], None],
) -> LayerComparison:
    """Measure every two encoders and each with itself, and read from it which layers agree."""
    from embprobe.comparing.layer_numbers import LayerScores  # what it imports takes a second
    from embprobe.measures.cka import chance_cka
    from embprobe.measures.layer_similarity import layer_cka, layer_overlap

    k, n, groups, names = begun.k, begun.compared, grouping.of(embedded.rows), list(begun.encoders)
    notify("neighbours by every layer")
    kernels, near = _prepared(begun, embedded, device)
    chances = {CKA: (0.0, chance_cka(n)), f"mutual {k}-NN": (k / (n - 1), None)}
    found: dict[tuple[str, str, str], LayerScores] = {}
    for a, b in itertools.combinations_with_replacement(names, 2):
        notify(f"layers of {a}" if a == b else f"layers of {a} and {b}")
        for measure in chances:
            scores = (
                layer_cka(kernels[a], kernels[b]) if measure == CKA else layer_overlap(near[a], near[b], groups, k=k)
            )
            both = begun.encoders[a], begun.encoders[b]
            found[measure, a, b] = LayerScores.of(
                measure, (a, b), both, scores, groups, seed=begun.seed, unit=begun.resampled
            )
    pairs = [found[measure, a, b] for a, b in begun.between() for measure in chances]
    within = [found[measure, name, name].change() for name in names for measure in chances]
    return replace(
        begun,
        similarities=tuple(each.similarity(*chances[each.measure]) for each in found.values()),
        best=tuple(each.best(_with_untrained(begun, found, each)) for each in pairs),
        nearest=tuple(one for each in pairs for one in each.nearest()),
        changes=tuple(each for each in within if each is not None),
    )


def _prepared(
    begun: LayerComparison, embedded: EmbeddingSet, device: str
) -> tuple[dict[str, list[Kernel]], dict[str, list[Positions]]]:
    """Return the kernel and the neighbours of every layer, each computed once."""
    from embprobe.measures.cka import Kernel
    from embprobe.measures.mutual_knn import nearest_others

    def prepared(name: str) -> tuple[Kernel, Positions]:
        vectors = embedded.vectors[name]
        try:
            return Kernel.of(vectors), nearest_others(vectors, begun.k, device=device)
        except EmbprobeError as reason:
            raise EmbprobeError(f"{name}: {reason}") from None

    every = [name for each in begun.encoders.values() for name in each.names]
    most = max(embedded.vectors[name].nbytes for name in every)
    by_name = dict(zip(every, side_by_side(prepared, every, memory=most, device=device), strict=True))
    kernels = {name: [by_name[one][0] for one in each.names] for name, each in begun.encoders.items()}
    return kernels, {name: [by_name[one][1] for one in each.names] for name, each in begun.encoders.items()}


def _with_untrained(
    begun: LayerComparison, found: dict[tuple[str, str, str], LayerScores], pair: LayerScores
) -> ScoreArray | None:
    """Return the most that each layer of two encoders agrees with one of the untrained network; None without it."""
    twin = next((name for name, each in begun.encoders.items() if each.untrained), None)
    if twin is None:
        return None
    return np.concatenate([found[pair.measure, name, twin].values.max(1) for name in (pair.a, pair.b)])


def _saved(begun: LayerComparison, session: Session) -> LayerComparison | None:
    """Return the comparison of the workspace that compared the same layers on the same rows; None if there is none."""
    try:
        saved = load_layers(begun.path(session.workspace).parent)
    except EmbprobeError:
        return None  # none yet, or damaged: it can always be made again
    return saved if replace(saved, similarities=(), best=(), nearest=(), changes=()) == begun else None
