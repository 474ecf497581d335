"""The Python API: what the commands do, for programs and notebooks. ``import embprobe as ep`` gives all of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from embprobe.embeddings.embedding_set import EmbeddingSet, match_rows
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import list_encoders, load_encoders
from embprobe.encoders import load_encoder as _load_encoder
from embprobe.encoders.given import GivenVectors
from embprobe.errors import UsageError
from embprobe.images import Images, load_images
from embprobe.images.unlabelled import MAX_UNLABELLED
from embprobe.probing.results import Results
from embprobe.system.devices import resolve_device
from embprobe.system.written import written

if TYPE_CHECKING:
    from embprobe.benchmarking.shape import DecidedBias
    from embprobe.benchmarking.table import Benchmark
    from embprobe.claims.model import Claim
    from embprobe.claims.roles import Roles
    from embprobe.claims.run import Study
    from embprobe.comparing.layer_result import LayerComparison
    from embprobe.comparing.result import Comparison
    from embprobe.embeddings.token_set import TokenSet
    from embprobe.encoders.spec import Encoder
    from embprobe.probing.card import Card
    from embprobe.probing.context import NotApplicable
    from embprobe.search.maps import Maps
    from embprobe.search.neighbors import Neighborhood

__all__ = [
    "EmbeddingSet",
    "Results",
    "benchmark",
    "check_claims",
    "compare",
    "draw_map",
    "embed",
    "embed_tokens",
    "intervene",
    "list_encoders",
    "load_encoder",
    "load_images",
    "neighbors",
    "probe",
    "shape_bias",
    "write_export",
    "write_report",
]

PAIR = ("bundled/clip", "bundled/dino")
"""The encoders that are meant where none is named."""
IMAGES = "bundled/emoji"
"""The images that are meant where none are named."""
WORKSPACE = "embprobe-workspace"
"""The workspace that is meant where none is named, unless ``EMBPROBE_WORKSPACE`` names one."""

ImageSource = str | Path | Images | EmbeddingSet | None
"""Images by what :func:`load_images` opens, opened ones, or an embedding set; None are the bundled ones."""
Encoders = "str | Encoder | Sequence[str | Encoder] | None"
Notify = Callable[[str], None]


class Settings(TypedDict, total=False):
    """What every function that embeds images takes by keyword."""

    session: Session
    """A session to go on with; then the others are not used, but for ``precision``."""
    workspace: str | Path
    """The folder for stores and results. Default: ``EMBPROBE_WORKSPACE``, or ``embprobe-workspace`` here."""
    device: str
    """``auto``, ``cpu``, ``cuda``, ``cuda:0`` or ``mps``."""
    precision: str
    """Of the networks: ``float32``, ``bfloat16`` or ``float16``."""
    fast_decode: bool
    """Decode large JPEGs at reduced scale: faster, slightly different vectors."""
    max_pixels: int
    """The largest image that is decoded; larger ones are left out. Default: the encoders' own, 89,478,485."""
    seed: int
    """Same seed, same numbers."""
    max_unlabelled: float
    """The largest share of the images that may lack a label that is needed (0.2): they are left out, and a note says
    so; of more it is an error."""


@dataclass(frozen=True)
class Subjects:
    """Images and encoders, opened and matched with each other, and the session they are embedded in."""

    images: Images
    encoders: list[Encoder]
    session: Session


def open_session(
    *,
    session: Session | None = None,
    workspace: str | Path | None = None,
    device: str = "auto",
    precision: str = "",
    fast_decode: bool = False,
    max_pixels: int | None = None,
    seed: int = 0,
    max_unlabelled: float = MAX_UNLABELLED,
) -> Session:
    """Return the session that the settings describe; see :class:`Settings`."""
    if session is not None:
        return session
    if not 0 <= max_unlabelled <= 1:
        raise UsageError(f"max_unlabelled is a share, from 0 to 1, not {max_unlabelled}.")
    space, chosen = Workspace.open(_root(workspace)), resolve_device(device)
    return Session(space, chosen, seed, fast_decode, max_pixels, max_unlabelled=max_unlabelled)


def open_subjects(images: ImageSource = None, encoders: Any = None, **settings: Unpack[Settings]) -> Subjects:
    """Return images and encoders, opened, and vectors that a user brings matched with the images by key.

    Args:
        images: What to embed. With an embedding set, its vectors are among the encoders.
        encoders: Names, or encoders that are loaded already. An embedding set needs no others.
        settings: See :class:`Settings`.

    Raises:
        UsageError: There are no such images or encoders.
        EmbprobeError: No vector belongs to any of the images.
    """
    embedded = images if isinstance(images, EmbeddingSet) else None
    known = settings.get("session")
    device = resolve_device(settings.get("device", "auto")) if known is None else known.device
    names = () if embedded is not None and encoders is None else _several(encoders)
    precision = settings.get("precision", "")
    loaded = [*(embedded.as_encoders() if embedded is not None else []), *_loaded(names, device, precision)]
    by_name = {encoder.spec.name: encoder for encoder in loaded}
    given = [encoder for encoder in by_name.values() if isinstance(encoder, GivenVectors)]
    alone = images is None and bool(given) and len(given) == len(by_name)  # then the vectors have rows of their own
    opened = None if alone else _rows(images)
    session = open_session(**settings)  # last, so that a wrong name leaves no workspace
    if opened is not None and session.max_pixels is not None:
        opened = opened.limited_to(session.max_pixels)
    if opened is not None and not given:
        return Subjects(opened, list(by_name.values()), session)
    rows, matched, notes = match_rows(given, opened)
    for note in notes:
        session.note(note)
    return Subjects(rows, list((by_name | {each.spec.name: each for each in matched}).values()), session)


def load_encoder(name: str, *, device: str = "auto", precision: str = "") -> Encoder:
    """Return the encoder of this name, ready on a device.

    Args:
        name: ``family/model[:weights][,option=value]`` as :func:`list_encoders` lists them, ``python:module:function``
            or ``vectors:FILE``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0`` or ``mps``.
        precision: Of the network: ``float32`` (the default), ``bfloat16`` or ``float16``.

    Returns:
        The encoder; ``encoder.spec`` says all that decides its vectors.

    Raises:
        UsageError: There is no such encoder, option or device.
        EmbprobeError: Its weights cannot be read.

    Example:
        >>> load_encoder("reference/pixels", device="cpu").spec.dimension
        432
    """
    return _load(name, resolve_device(device), precision)


def embed(images: ImageSource = None, encoders: Any = None, **settings: Unpack[Settings]) -> EmbeddingSet:
    """Return embeddings of images by one or more encoders; what was embedded before is read from the workspace.

    Args:
        images: A name that :func:`load_images` opens, or images. Default: the bundled emoji.
        encoders: Names or encoders. Default: the bundled pair.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        The rows that all encoders could embed, and by encoder name their vectors, float32 ``[n, d]``, not normalised.

    Raises:
        UsageError: There are no such images or encoders.
        EmbprobeError: No image can be read.
    """
    subjects = open_subjects(images, encoders, **settings)
    return subjects.session.embed(subjects.images, subjects.encoders, "extracting")


def embed_tokens(
    images: ImageSource = None, encoder: str | Encoder = PAIR[1], **settings: Unpack[Settings]
) -> TokenSet:
    """Return all tokens of images by one encoder; what was embedded before is read from the workspace.

    Args:
        images: A name that :func:`load_images` opens, or images. Default: the bundled emoji.
        encoder: A name or an encoder; without ``pooling=tokens`` behind it, the tokens of the layer that it names or of
            its last are meant.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, or a ``session``.

    Returns:
        The rows that can be read, and their tokens ``[n, t, d]``, memory-mapped: the class token and registers, then
        patches row by row.

    Raises:
        UsageError: There are no such images or encoder, it has no tokens, or the disk has no room for them.
        EmbprobeError: No image can be read.
    """
    from embprobe.probing.dense_scenes import tokens_of

    subjects = open_subjects(images, [encoder], **settings)
    (named,) = subjects.encoders
    return subjects.session.tokens(subjects.images, tokens_of(named, None), "extracting")


def probe(
    images: ImageSource = None,
    attribute: str | Path | Card = "category",
    encoders: Any = None,
    *,
    layers: str | None = None,
    quick: bool = False,
    save: bool = True,
    **settings: Unpack[Settings],
) -> Results:
    """Measure how much each encoder notices an attribute of images, with intervals over concepts or images.

    Args:
        images: A name that :func:`load_images` opens, images, or an embedding set. Default: the bundled emoji.
        attribute: ``category``, ``text``, ``color``, ``style``, ``geometry``, ``typographic``, ``background``; the path
            of a card of one's own (``.toml``); or a card.
        encoders: Names or encoders. Default: the bundled pair, or the vectors of the embedding set.
        layers: Measure the headline alone, by these layers of each encoder: ``all``, ``every 2`` or ``8,10,12``. Rows
            then have the layer in their keys, and without one the encoder's own vector.
        quick: Measure only what the headline and the checks need.
        save: Write results and figure into the workspace, for :func:`write_report`; what cannot be written is logged
            as a warning.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        One estimate a row with its 95 % interval, the paired differences between encoders, and what follows.

    Raises:
        UsageError: There is no such attribute, and so on.
        NotApplicable: Nothing of the card can be measured on these images.
        EmbprobeError: More than a share of ``max_unlabelled`` of the images lack a label that others have, and so on.

    Example:
        >>> import tempfile
        >>> vectors = [[x, y] for x in range(5) for y in (0, 9)]
        >>> labels = {"key": list("abcdefghij"), "category": ["low", "high"] * 5}
        >>> mine = EmbeddingSet.from_arrays({"mine": vectors}, labels=labels)
        >>> results = probe(mine, "category", quick=True, workspace=tempfile.mkdtemp())
        >>> results.rows[0].role, str(results.rows[0].key)
        ('subject', 'category decoding, unseen images')
    """
    from embprobe.probing.context import NotApplicable

    card = _card(attribute)
    (results,) = probe_cards(images, [card], encoders, layers=layers, quick=quick, save=save, **settings)
    if isinstance(results, NotApplicable):
        raise results
    return results


def probe_cards(
    images: ImageSource,
    cards: Sequence[Card],
    encoders: Any = None,
    *,
    layers: str | None = None,
    quick: bool = False,
    save: bool = True,
    **settings: Unpack[Settings],
) -> Iterator[Results | NotApplicable]:
    """Yield for each card what :func:`probe` returns, or why nothing of it can be measured.

    Each image is read once for all cards and all that is done to it.
    """
    from embprobe.encoders.network import NetworkEncoder
    from embprobe.plots.probe import save_probe
    from embprobe.plots.profile import save_profile
    from embprobe.probing.context import NotApplicable
    from embprobe.probing.profiles import Profiled, run_profiles
    from embprobe.probing.run import Asked, run_probes

    subjects = open_subjects(images, encoders, **settings)
    session, names = subjects.session, [encoder.spec.name for encoder in subjects.encoders]
    wanted = dict.fromkeys(name for card in cards for name in card.references if name not in names)
    loaded = {name: _load(name, session.device, settings.get("precision", "")) for name in wanted}
    references = [[loaded[name] for name in card.references if name in loaded] for card in cards]
    if layers is None:
        asked = [
            Asked(card, subjects.encoders, of_card, quick) for card, of_card in zip(cards, references, strict=True)
        ]
        every = run_probes(asked, subjects.images, session)
    else:
        profiled = [Profiled.of(encoder, layers) for encoder in subjects.encoders]
        twins = [Profiled.of(encoder) for encoder in loaded.values() if isinstance(encoder, NetworkEncoder)]
        every = run_profiles(list(zip(cards, references, strict=True)), subjects.images, profiled, twins, session)
    for results in every:
        if save and not isinstance(results, NotApplicable):
            _keep(subjects)
            (save_probe if layers is None else save_profile)(results, session.workspace)
        yield results


def benchmark(
    datasets: Any = None,
    encoders: Any = None,
    *,
    tasks: Sequence[str] | None = None,
    baseline: str = "",
    label: str = "",
    domains: str = "",
    captions: str = "",
    leaks: Literal["auto", "bytes", "near", "off"] = "auto",
    without_leaks: bool = False,
    **settings: Unpack[Settings],
) -> Benchmark:
    """Measure encoders at tasks on data sets with their official splits, with intervals and paired differences.

    Args:
        datasets: Names that :func:`load_images` opens, images, data sets that are opened already, or an embedding set;
            one or several. Default: the bundled emoji.
        encoders: Names or encoders. Default: the bundled pair, or the vectors of the embedding set.
        tasks: ``knn-1``, ``knn-20``, ``linear-probe``, ``few-shot-1``, ``few-shot-4``, ``few-shot-16``, ``gda``,
            ``zero-shot``, ``gda+zero-shot``, ``image-to-text``, ``text-to-image``; other numbers stand behind ``knn``
            and ``few-shot``, too. Default: all that a data set and an encoder allow.
        baseline: The encoder that all others are compared with. Default: every two are compared.
        label: The label whose values are the classes. Default: the card's, else ``category``.
        domains: The label whose values are domains, each tested by what was fitted on the others. Default: the card's.
        captions: The label that holds captions, each on a line of its own. Default: the card's.
        leaks: How to look for test images that are among the training images: as the same ``bytes``, or ``near``, as
            the same pixels and near duplicates, too; a note counts them. ``auto`` is ``bytes`` for up to 200,000 files
            of this machine, else ``off``, and a note says so.
        without_leaks: Leave those test images out.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        A cell for every data set, split, encoder and task: ``.to_frame()``, ``.differences()``, ``.as_json()``.

    Raises:
        UsageError: There is no such data set, encoder, task or baseline.
        EmbprobeError: Nothing can be measured.

    Example:
        >>> import tempfile
        >>> vectors = [[x + 1, y] for x in range(5) for y in (0, 9)]
        >>> labels = {"key": list("abcdefghij"), "category": ["low", "high"] * 5}
        >>> mine = EmbeddingSet.from_arrays({"mine": vectors}, labels=labels)
        >>> table = benchmark(mine, tasks=["knn-1"], workspace=tempfile.mkdtemp())
        >>> table.rows()[0]["split"], table.rows()[0]["estimate"], table.rows()[0]["chance"]
        ('5 folds over images', 1.0, 0.5)
    """
    from embprobe.benchmarking.dataset import Dataset, dataset_of, open_dataset
    from embprobe.benchmarking.run import run_benchmark
    from embprobe.benchmarking.table import Benchmark
    from embprobe.benchmarking.tasks import TASKS, find_task

    asked = [find_task(name) for name in dict.fromkeys(tasks or TASKS)]
    most = settings.get("max_unlabelled", MAX_UNLABELLED)
    if (known := settings.get("session")) is not None:
        most = known.max_unlabelled
    one = isinstance(datasets, str | Path | Images | Dataset | EmbeddingSet)
    every = [datasets] if one else list(datasets or [IMAGES])
    embedded = [each for each in every if isinstance(each, EmbeddingSet)]
    if len(embedded) > 1:
        raise UsageError(
            "A benchmark takes one embedding set: put the rows of all data sets into it, or run it for each."
        )
    named: Any = {"label": label, "domains": domains, "captions": captions}
    opened: list[Dataset] = []
    for each in every:
        if isinstance(each, EmbeddingSet | Images):
            rows = each.rows if isinstance(each, EmbeddingSet) else each
            opened.append(dataset_of(rows, most=most, **named))
        else:
            known_set = isinstance(each, Dataset)
            opened.append(each if known_set else open_dataset(str(each), max_unlabelled=most, **named))
    names = () if embedded and encoders is None else encoders
    loaded = [encoder for each in embedded for encoder in each.as_encoders()]
    subjects = list({each.spec.name: each for each in [*loaded, *_encoders(names, settings)]}.values())
    session = open_session(**settings)
    ran = run_benchmark(opened, subjects, asked, session, leaks=leaks, without_leaks=without_leaks)
    return Benchmark.of(ran, baseline=baseline, seed=session.seed)


def shape_bias(
    images: Any = None,
    encoders: Any = None,
    *,
    means_of: str | Path | Images | None = None,
    decisions: str | Path | Sequence[str | Path] | None = None,
    **settings: Unpack[Settings],
) -> list[DecidedBias]:
    """Measure how often encoders decide for the shape of images whose texture is of another class, with intervals.

    Encoders decide among the classes by the nearest class mean of other images and, those with text, by the nearest
    name (Geirhos et al. 2019, section 2.4). A bias of a low coverage is one of few decisions.

    Args:
        images: A name that :func:`load_images` opens, such as ``cue-conflict@FOLDER``, images, or an opened data set;
            with the labels ``shape`` and ``texture``. None for published decisions alone.
        encoders: Names or encoders. Default: the bundled pair.
        means_of: Images of the same classes to take class means of, by ``category`` or by ``shape``. Default: those of
            ``images`` whose shape and texture agree.
        decisions: CSV files of published decisions of people and networks, in the authors' form.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        One for each encoder and way to decide, then one for each subject of the published decisions: ``.biases.bias``,
        ``.biases.coverage``, ``.biases.by_class``.

    Raises:
        UsageError: There are neither images nor decisions, or no such images or encoders.
        EmbprobeError: The images lack a label or have no conflict, or a file holds no decisions.

    Example:
        Two images whose shape and texture agree, and two with a conflict; the encoder sees shapes alone.

        >>> import tempfile
        >>> from embprobe.encoders.given import given_vectors
        >>> labels = {"shape": ["cat", "car", "cat", "car"], "texture": ["cat", "car", "car", "cat"]}
        >>> images = Images.without_pictures("four", ["a", "b", "c", "d"], labels)
        >>> outlines = given_vectors("outlines", [[1, 0], [0, 1], [1, 0], [0, 1]], ["a", "b", "c", "d"])
        >>> [found] = shape_bias(images, outlines, workspace=tempfile.mkdtemp(), device="cpu")
        >>> found.by, found.biases.bias.estimate, found.biases.coverage.estimate
        ('nearest mean', 1.0, 1.0)
    """
    from embprobe.benchmarking.dataset import Dataset, dataset_of, open_dataset
    from embprobe.benchmarking.shape import SHAPE, decisions_biases, shape_biases
    from embprobe.embeddings.session import ignore_note

    files = [decisions] if isinstance(decisions, str | Path) else decisions or []
    if images is None and not files:
        raise UsageError("A shape bias needs images with the labels shape and texture, or a file of decisions.")
    known = settings.get("session")
    seed = settings.get("seed", 0) if known is None else known.seed
    note = ignore_note if known is None else known.note
    published = decisions_biases([Path(file) for file in files], seed=seed, note=note)
    if images is None:
        return published
    most = settings.get("max_unlabelled", MAX_UNLABELLED) if known is None else known.max_unlabelled
    if isinstance(images, Images):
        images = dataset_of(images, label=SHAPE, most=most)
    elif not isinstance(images, Dataset):
        images = open_dataset(str(images), label=SHAPE, max_unlabelled=most)
    others = None if means_of is None else means_of if isinstance(means_of, Images) else load_images(str(means_of))
    subjects = _encoders(encoders, settings)
    return [*shape_biases(images, open_session(**settings), subjects, means_of=others), *published]


@overload
def compare(
    images: ImageSource = None,
    encoders: Any = None,
    *,
    layers: None = None,
    k: int = 10,
    by: Sequence[str] | None = None,
    pairs: int = 12,
    thresholds: str = "",
    near_far: tuple[float, float] | None = None,
    far_near: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (0.95, 0.5),
    sampled: int = 20_000,
    most_per_image: int | None = None,
    save: bool = True,
    why: bool = False,
    notify: Notify = lambda activity: None,
    **settings: Unpack[Settings],
) -> Comparison: ...


@overload
def compare(
    images: ImageSource = None,
    encoders: Any = None,
    *,
    layers: str,
    k: int = 10,
    save: bool = True,
    notify: Notify = lambda activity: None,
    **settings: Unpack[Settings],
) -> LayerComparison: ...


def compare(
    images: ImageSource = None,
    encoders: Any = None,
    *,
    layers: str | None = None,
    k: int = 10,
    by: Sequence[str] | None = None,
    pairs: int = 12,
    thresholds: str = "",
    near_far: tuple[float, float] | None = None,
    far_near: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (0.95, 0.5),
    sampled: int = 20_000,
    most_per_image: int | None = None,
    save: bool = True,
    why: bool = False,
    notify: Notify = lambda activity: None,
    **settings: Unpack[Settings],
) -> Comparison | LayerComparison:
    """Measure how far every two encoders agree, what explains where they do not, and find pairs they disagree on.

    With ``layers``, measure instead how far every layer of an encoder agrees with every layer of another, and of
    itself, beside those of an untrained network.

    Args:
        images: A name that :func:`load_images` opens, images, or an embedding set. Default: the bundled emoji.
        encoders: Two or more names or encoders; one is enough with ``layers``. Default: the bundled pair, or the
            vectors of the embedding set.
        layers: Compare these layers of each encoder: ``all``, ``every 2`` or ``8,10,12``. Of the options below only
            ``k``, ``save`` and ``notify`` are then meant.
        k: Neighbours of an image that mutual k-NN compares.
        by: Labels that may explain a disagreement; images without one are left out, see ``max_unlabelled``. Default:
            ``category`` and ``style``, where images have them.
        pairs: Disagreement pairs to find in each direction.
        thresholds: Limits on cosines by name: ``loose``, ``strict`` or ``imagenet`` (the study's), ``mmvp`` (blind
            pairs). Default: ``percentiles``.
        near_far: A pair is near for the first encoder with a cosine above the first number, and far for the second with
            one below the second number.
        far_near: A pair is far for the first encoder with a cosine below the first number, and near for the second with
            one above the second number.
        percentiles: Without limits on cosines, the percentiles of an encoder's own cosines above which a pair is near,
            and below which it is far.
        sampled: Of more images, all pairs of two random samples of this many are looked at.
        most_per_image: The largest number of contrasting pairs of an image that count, against hubs.
        save: Write numbers and figures into the workspace, for :func:`write_report`; what cannot be written is logged
            as a warning.
        why: Map for the first pairs of each direction which parts of the images make them near, too: ``.why`` of the
            result, and ``why.json`` and ``why-1.png`` beside the comparison.
        notify: Called with what is being done.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        Debiased CKA, mutual k-NN and rank correlation of every two encoders beside chance, explanations, pairs that are
        near for only one encoder and what these share. With ``layers``: debiased CKA and mutual k-NN of every two
        layers, and which are nearest to each other.

    Raises:
        UsageError: There are fewer than two encoders, no such thresholds, a limit is no cosine or percentile, or
            ``why`` is asked of vectors without a network; an encoder has no layers, or not these, or an option is
            given that is not about them.
        EmbprobeError: There are fewer than k + 2 images that all encoders could embed.
    """
    from embprobe.comparing.run import compare, make_settings
    from embprobe.comparing.why import explain_disagreements
    from embprobe.embeddings.occlusion import check_explainable
    from embprobe.plots.pairs import save_pairs
    from embprobe.plots.why import save_why

    if layers is not None:
        given: dict[str, object] = {"by": by, "thresholds": thresholds, "near_far": near_far, "far_near": far_near}
        given |= {"pairs": pairs != 12, "percentiles": tuple(percentiles) != (0.95, 0.5), "sampled": sampled != 20_000}
        given |= {"most_per_image": most_per_image, "why": why}
        _refuse_pairs_of([name for name, value in given.items() if value])
        return _compare_layers(images, encoders, layers, k, save, notify, settings)
    subjects = open_subjects(images, encoders, **settings)
    if why:
        check_explainable(subjects.encoders)
    most = subjects.session.max_unlabelled
    compare_settings = make_settings(
        subjects.images,
        k=k,
        by=by,
        pairs=pairs,
        thresholds=thresholds,
        near_far=near_far,
        far_near=far_near,
        percentiles=percentiles,
        sampled=sampled,
        most_per_image=most_per_image,
        max_unlabelled=most,
    )
    comparison = compare(subjects.images, subjects.encoders, subjects.session, compare_settings, notify=notify)
    if save:
        _keep(subjects)
        save_pairs(comparison, subjects.session.workspace)
    if why:
        notify("hiding parts of images")
        explained = explain_disagreements(comparison, subjects.images, subjects.encoders, subjects.session)
        comparison = replace(comparison, why=explained)
        if save:
            save_why(explained, comparison.path(subjects.session.workspace).parent)
    return comparison


def _refuse_pairs_of(options: Sequence[str]) -> None:
    """Raise UsageError if options are given that layers are not compared by."""
    if options:
        raise UsageError(
            f"Layers are compared as a whole, without contrasting pairs and labels: leave out {', '.join(options)}, "
            "or leave out layers."
        )


def _compare_layers(
    images: ImageSource, encoders: Any, layers: str, k: int, save: bool, notify: Notify, settings: Settings
) -> LayerComparison:
    """Return what :func:`compare` returns of layers."""
    from embprobe.comparing.layers import compare_layers
    from embprobe.plots.layers import save_layers

    subjects = open_subjects(images, encoders, **settings)
    comparison = compare_layers(subjects.images, subjects.encoders, subjects.session, layers, k=k, notify=notify)
    if save:
        save_layers(comparison, subjects.session.workspace)
    return comparison


def neighbors(
    queries: str | Path | Sequence[str | Path] = (),
    images: ImageSource = None,
    encoders: Any = None,
    *,
    k: int = 8,
    texts: Sequence[str] = (),
    minus: Sequence[str] = (),
    where: Mapping[str, Sequence[str]] | None = None,
    include_self: bool = False,
    exact: bool = False,
    index_memory: int | str | None = None,
    draw: bool = False,
    why: bool = False,
    notify: Notify = lambda remark: None,
    **settings: Unpack[Settings],
) -> list[Neighborhood]:
    """Find the images that each encoder places nearest to an image, a text, or a sum of both.

    Args:
        queries: Image files, folders of them, or keys of ``images``; each is a query.
        images: Where to search: a name that :func:`load_images` opens, images, or an embedding set. Default: the
            bundled emoji.
        encoders: Names or encoders. Default: the bundled pair, or the vectors of the embedding set.
        k: How many neighbours.
        texts: Texts to find, or to add to each query, for encoders with text; others are left out.
        minus: Image files, keys of ``images`` or else texts, to take away from each query.
        where: Only among images with these values of labels.
        include_self: Whether an image with the query's own pixels counts.
        exact: Whether a large store is searched exactly, however long it takes.
        index_memory: The most that the index of a large store may take, ``"2GB"`` or bytes. Default: a fourth of the
            available memory, at most 1.5 GB.
        draw: Draw a sheet of each of the first queries into the workspace's figures; one that cannot be written is
            logged as a warning.
        why: Map which parts of the first queries and of their first neighbours make them near, too; with ``draw``, as
            a sheet a query.
        notify: Called with what a search leaves to be desired.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        One neighbourhood a query: by encoder the neighbours, nearest first, and how many the encoders share.

    Raises:
        UsageError: A query is neither a file nor a key, no encoder takes text, no index fits the memory, or ``why`` is
            asked of vectors without a network.
    """
    from embprobe.embeddings.occlusion import check_explainable
    from embprobe.search.choice import memory_limit
    from embprobe.search.neighbors import find_neighbors, matching
    from embprobe.search.queries import encoders_for, parse_queries

    memory_limit(index_memory)  # before anything is opened
    subjects = open_subjects(images, encoders, **settings)
    names = [queries] if isinstance(queries, str | Path) else queries
    parsed = parse_queries([str(name) for name in names], subjects.images, texts=texts, minus=minus)
    matching(subjects.images, where or {})  # before anything is extracted
    able, wordless = encoders_for(parsed, subjects.encoders)
    for encoder in wordless:
        notify(f"{encoder.spec.name} takes no text and is left out")
    if why:
        check_explainable(able)
    stores = subjects.session.stores(subjects.images, able, "extracting")
    neighborhoods = find_neighbors(
        parsed,
        able,
        stores,
        k=k,
        include_self=include_self,
        where=where,
        exact=exact,
        index_memory=index_memory,
        device=subjects.session.device,
        notify=notify,
    )
    if why:
        from embprobe.search.why import explain_neighbors

        neighborhoods = explain_neighbors(neighborhoods, able, stores, subjects.session, notify=notify)
    if not draw:
        return neighborhoods
    from embprobe.plots.neighbors import save_neighbors
    from embprobe.plots.why import save_why_neighbors

    figures = save_neighbors(neighborhoods, subjects.session.workspace)
    whys = save_why_neighbors(neighborhoods, subjects.session.workspace)
    return [
        replace(one, figure=figure, why_figure=why_figure)
        for one, figure, why_figure in itertools.zip_longest(neighborhoods, figures, whys)
    ]


def draw_map(
    images: ImageSource = None,
    encoders: Any = None,
    *,
    by: str | None = None,
    method: str = "umap",
    thumbnails: int = 40,
    notify: Notify = lambda activity: None,
    **settings: Unpack[Settings],
) -> Maps:
    """Lay embeddings out in the plane, one map an encoder, aligned with each other and coloured by a label.

    Args:
        images: A name that :func:`load_images` opens, images, or an embedding set. Default: the bundled emoji.
        encoders: Names or encoders. Default: the bundled pair, or the vectors of the embedding set.
        by: The label that colours the points; images without it are not drawn, see ``max_unlabelled``. Default:
            ``category``, if images have it.
        method: ``umap``, ``tsne`` or ``pca``.
        thumbnails: How many images to draw at their points.
        notify: Called with what is being done.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        The maps: ``layouts`` by encoder ``[n, 2]``, the path of the ``figure`` (None, after a warning, if it could not
        be written), and that of the ``table`` of points.

    Raises:
        UsageError: There is no such method.
        EmbprobeError: There are too few images for a map, or too many lack the label.
    """
    from embprobe.plots.map import save_maps
    from embprobe.search.maps import choose_label, make_maps
    from embprobe.search.projection import check_dimension, check_method

    check_method(method)
    subjects = open_subjects(images, encoders, **settings)
    for encoder in subjects.encoders:  # before anything is extracted
        check_dimension(encoder.spec.name, encoder.spec.dimension)
    session = subjects.session
    label, labelled, notes = choose_label(subjects.images, by, max_unlabelled=session.max_unlabelled)
    for note in notes:  # before anything is extracted
        session.note(note)
    embedded = session.embed(subjects.images, subjects.encoders, "extracting")
    embedded = session.directed(embedded)
    _keep(subjects)
    maps = make_maps(embedded, subjects.encoders, session, method=method, notify=notify)
    drawn = maps.at(row.key for row in labelled.rows) if notes else maps
    return replace(maps, figure=save_maps(drawn, label=label, thumbnails=thumbnails))


def intervene(
    images: str | Path | Images, name: str, strength: float, *, seed: int = 0, donors: Images | None = None
) -> Images:
    """Return the same rows with every image changed when it is read.

    Args:
        images: A name that :func:`load_images` opens, or images.
        name: An intervention, ``hue``, or a control of one, ``hue/lightness``.
        strength: In the intervention's unit: degrees of hue, share of the width of a word.
        seed: What happens to a row depends on its key, the seed and the donors alone.
        donors: Rows that words, palettes and other drawings are taken from. Default: ``images``.

    Raises:
        UsageError: There is no such intervention, or the strength is out of its range.

    Example:
        >>> emoji = load_images("bundled/emoji:unseen-drawing")
        >>> grey = intervene(emoji, "greyscale", 1).rows[0].load()
        >>> all(min(pixel) == max(pixel) for pixel in grey.get_flattened_data())
        True
    """
    from embprobe.interventions import intervene

    rows = images if isinstance(images, Images) else load_images(str(images))
    return intervene(rows, name, strength, seed=seed, donors=donors)


def check_claims(
    images: ImageSource = None,
    roles: Mapping[str, str] | Roles | None = None,
    *,
    claims: str | Path | Sequence[Claim] | None = None,
    vlm: bool = False,
    save: bool = True,
    **settings: Unpack[Settings],
) -> Study:
    """Check what papers claim of CLIP, DINO and their kin: reproduced, not reproduced or undecided, with intervals.

    Args:
        images: A name that :func:`load_images` opens, or images. Default: the bundled emoji.
        roles: Names of encoders by role: ``{"clip": "open_clip/ViT-B-16:openai", "dino": ...}``; ``twin`` is an
            untrained network. Default: the bundled encoders.
        claims: A file of claims (``.toml``), or claims. Default: all that come with embprobe.
        vlm: Train a small vision-language model on each encoder's tokens, for the claims about questions: some ten
            minutes an encoder on two cores, and kept in the workspace.
        save: Write results and figure into the workspace, for :func:`write_report`; what cannot be written is logged
            as a warning.
        settings: ``workspace``, ``device``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        A decision a claim, what each encoder has learned, and the results behind them.

    Raises:
        UsageError: No claim has both its encoders, or there is no such role or encoder.
        NotApplicable: No claim can be checked on these images.
    """
    from embprobe.claims.model import bundled_claims, read_claims, roles_of
    from embprobe.claims.roles import bundled_roles, load_cast, parse_roles
    from embprobe.claims.run import run_study
    from embprobe.plots.claims import save_study

    asked = tuple(read_claims(Path(claims)) if isinstance(claims, str | Path) else claims or bundled_claims())
    known = roles_of(asked)
    names = bundled_roles() if roles is None else roles
    if isinstance(names, Mapping):
        names = parse_roles([f"{role}={name}" for role, name in names.items()], known)
    session = open_session(**settings)
    if isinstance(images, EmbeddingSet):
        raise UsageError("Claims are checked on images that encoders embed, not on an embedding set.")
    tokens = any(claim.vectors for claim in asked)
    cast = load_cast(names, device=session.device, known=known, class_tokens=tokens)
    study = run_study(cast, _rows(images), session, claims=asked, vlm=vlm)
    if save:
        save_study(study, session.workspace)
    return study


def write_report(
    out: str | Path | None = None,
    *,
    images: str | Path | Images | None = None,
    encoders: Sequence[str] | None = None,
    workspace: str | Path | None = None,
    notify: Notify = lambda activity: None,
) -> Path:
    """Write every result of a workspace as one self-contained HTML page.

    Args:
        out: The page. Default: ``report.html`` in the workspace.
        images: The images on the map, where they are now. Default: those of the newest result.
        encoders: Encoders on the map. Default: those of the newest result.
        workspace: The workspace. Default: ``EMBPROBE_WORKSPACE``, or ``embprobe-workspace`` here.
        notify: Called with what is being done.

    Returns:
        The path of the page.

    Raises:
        EmbprobeError: There are no results, or they are damaged.
    """
    from embprobe.report import write_report

    space = Workspace.open(_root(workspace), create=False)
    rows = None if images is None else images if isinstance(images, Images) else load_images(str(images))
    page = Path(out) if out is not None else space.root / "report.html"
    return write_report(space, page, images=rows, encoders=encoders, notify=notify)


def write_export(
    to: str,
    out: str | Path,
    images: ImageSource = None,
    encoders: Any = None,
    *,
    method: str | None = None,
    k: int = 15,
    notify: Notify = lambda activity: None,
    **settings: Unpack[Settings],
) -> list[str]:
    """Write embeddings, labels and images for another tool.

    Args:
        to: ``atlas``, ``fiftyone``, ``huggingface``, ``npy`` or ``csv``.
        out: The file (atlas) or folder to write, which must not be there yet.
        images: A name that :func:`load_images` opens, images, or an embedding set. Default: the bundled emoji.
        encoders: Names or encoders. Default: the bundled pair, or the vectors of the embedding set.
        method: Of the map: ``umap``, ``tsne``, ``pca`` or ``none``. Default: ``umap`` for atlas, else ``none``.
        k: Neighbours of an image to write down, for atlas.
        notify: Called with what is being done.
        settings: ``workspace``, ``device``, ``precision``, ``fast_decode``, ``max_pixels``, ``seed``, or a ``session``.

    Returns:
        Lines of code or commands that open what was written.

    Raises:
        UsageError: There is no such target, or ``out`` is there already.
    """
    from embprobe.export import check_target, collect_content, needs_directions
    from embprobe.search.projection import check_method

    path = Path(out)
    target = check_target(to, path)
    chosen = check_method(method or ("umap" if to == "atlas" else "none"), "none")
    subjects = open_subjects(images, encoders, **settings)
    embedded = subjects.session.embed(subjects.images, subjects.encoders, "extracting")
    embedded = subjects.session.directed(embedded) if needs_directions(to, chosen) else embedded
    content = collect_content(embedded, subjects.encoders, subjects.session, method=chosen, neighbors=k, notify=notify)
    target.write(content, path)
    return list(target.opens(content, path))


def _load(name: str, device: str, precision: str) -> Encoder:
    return _load_encoder(name, device=device, **({"precision": precision} if precision else {}))


def _encoders(encoders: Any, settings: Settings) -> list[Encoder]:
    """Return the encoders that are named or given, each once, on the device of the settings."""
    known, precision = settings.get("session"), settings.get("precision", "")
    device = resolve_device(settings.get("device", "auto")) if known is None else known.device
    loaded = _loaded(_several(encoders), device, precision)
    return list({encoder.spec.name: encoder for encoder in loaded}.values())


def _loaded(encoders: Sequence[Any], device: str, precision: str) -> list[Encoder]:
    """Return encoders in their order, those that are named loaded: each network once, ``layer=*`` as one a layer."""
    defaults = {"precision": precision} if precision else {}
    loaded: list[Encoder] = []
    for named, group in itertools.groupby(encoders, lambda each: isinstance(each, str)):
        members = list(group)
        loaded += load_encoders(members, device=device, **defaults) if named else members
    return loaded


def _root(workspace: str | Path | None) -> Path:
    """Return the folder of the workspace that is meant."""
    return Path(workspace or os.environ.get("EMBPROBE_WORKSPACE") or WORKSPACE)


def _several(encoders: Any) -> list[Any]:
    """Return names and encoders as a list, each name once; the bundled pair for None."""
    if encoders is None:
        return list(PAIR)
    several = [encoders] if isinstance(encoders, str) or hasattr(encoders, "spec") else list(encoders)
    return [each for i, each in enumerate(several) if each not in several[:i]]


def _rows(images: ImageSource) -> Images:
    if isinstance(images, EmbeddingSet):
        return images.rows
    return images if isinstance(images, Images) else load_images(str(images or IMAGES))


def _card(attribute: str | Path | Card) -> Card:
    from embprobe.probing.card import Card, bundled_card, read_card

    if isinstance(attribute, Card):
        return attribute
    return read_card(Path(attribute)) if str(attribute).endswith(".toml") else bundled_card(str(attribute))


def _keep(subjects: Subjects) -> None:
    """Keep vectors that a user brings in the workspace, so that a report can show their map."""
    session, given = subjects.session, [encoder for encoder in subjects.encoders if isinstance(encoder, GivenVectors)]
    if given:
        stores = session.workspace.root / "stores"
        written("vectors in", stores, lambda: session.stores(subjects.images, given, "keeping vectors"))
