"""The command line: parse, call, print. Heavy imports happen inside the commands, so that --help is instant."""

from __future__ import annotations

import difflib
import logging
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from embprobe.arguments import (
    PAIR,
    DeviceOption,
    EncodersOption,
    FastOption,
    ImagesArgument,
    ImagesOption,
    JsonOption,
    PrecisionOption,
    SeedOption,
    WorkspaceOption,
    choose_device,
    load_encoders,
    open_rows,
)
from embprobe.errors import EmbprobeError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="What do image embeddings notice? Extract, probe and compare CLIP, DINO and other encoders.",
    epilog="--debug, anywhere, shows the traceback of an error.",
)

_IMAGES, _TRAIN = "bundled/emoji", "bundled/emoji:train"
_WORKSPACE = Path("embprobe-workspace")
_DESCRIBED = 60
"""So many encoders are described in a list, each in up to a fifth of a second; of more, only the names."""


@app.command()
def extract(
    images: ImagesArgument = _IMAGES,
    encoder: EncodersOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Images that go through a network at once. Default: 16, on a GPU 64.", min=1)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Let torch compile the networks first: a minute, then faster on GPUs.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="local, or ray for a Ray cluster (RAY_ADDRESS; else one here).")
    ] = "local",
    json: JsonOption = False,
) -> None:
    """Turn images into embeddings with every encoder, and index them. What is already there is not done again."""
    from embprobe import terminal
    from embprobe.encoders import NetworkEncoder
    from embprobe.engines import find_engine
    from embprobe.errors import UsageError
    from embprobe.extraction import extract
    from embprobe.index import open_index
    from embprobe.workspace import Workspace

    run = find_engine(engine)
    rows, where = open_rows(images), choose_device(device)
    encoders = load_encoders(encoder, where, precision)
    if compile and engine != "local":
        raise UsageError("--compile is for the local engine.")
    if compile:
        encoders = [each.compiled() if isinstance(each, NetworkEncoder) else each for each in encoders]
    seconds: dict[str, float] = {}
    with terminal.progress_bar("extracting", len(rows)) as progress:
        stores = extract(
            rows,
            encoders,
            Workspace.open(workspace),
            device=where,
            batch_size=batch_size,
            fast_decode=fast_decode,
            progress=progress,
            engine=run,
            seconds=seconds,
        )
    for store in stores:
        open_index(store)
    if json:
        terminal.print_json([store.summary() for store in stores])
    else:
        terminal.print_stores(stores, seconds)


@app.command()
def verify(
    workspace: WorkspaceOption = _WORKSPACE,
    repair: Annotated[
        bool, typer.Option("--repair", help="Forget damaged shards, so that the next extract makes just those again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check every byte of every store against the hashes written beside it."""
    from embprobe import terminal
    from embprobe.verification import verify_stores
    from embprobe.workspace import Workspace

    space = Workspace.open(workspace, create=False)
    checked = list(verify_stores(space, repair=repair))
    if json:
        terminal.print_json([store.as_json() for store in checked])
    else:
        terminal.print_checked(checked, space.root, repaired=repair)
    if any(store.problems and not (repair and store.damaged) for store in checked):
        raise typer.Exit(1)


@app.command()
def probe(
    images: ImagesArgument = _IMAGES,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", help="What to probe, or 'all'; repeatable.")
    ] = None,
    card: Annotated[list[Path] | None, typer.Option(help="A probe card of your own; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only what the headlines and the checks need.")] = False,
    encoder: EncodersOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Measure how much each encoder notices an attribute: a table, a figure and a JSON, with intervals."""
    from embprobe import terminal
    from embprobe.cards import attributes, bundled_card, read_card
    from embprobe.errors import UsageError
    from embprobe.plots.probe import plot_probe
    from embprobe.study import NotApplicable, Session, run_probe
    from embprobe.workspace import Workspace

    every = attributes() if "all" in (attribute or []) else []
    names = dict.fromkeys([name for name in attribute or [] if name != "all"] + every)
    cards = [bundled_card(name) for name in names] + [read_card(path) for path in card or []]
    if not cards:
        raise UsageError(f"Say what to probe: --attribute {', '.join([*attributes(), 'all'])}; or --card FILE.")
    if quick:
        cards = [asked.quickly() for asked in cards]
    rows, where = open_rows(images), choose_device(device)
    encoders = load_encoders(encoder, where, precision)
    subjects = [each.spec.name for each in encoders]
    session = Session(Workspace.open(workspace), where, seed, fast_decode, terminal.progress_bar)
    found = []
    for asked in cards:
        references = load_encoders([name for name in asked.references if name not in subjects], where)
        try:
            results = run_probe(asked, rows, encoders, references, session)
        except NotApplicable as reason:
            if len(cards) == 1:
                raise
            terminal.note(str(reason))
            continue
        folder = session.workspace.results(f"{asked.attribute}-{results.fingerprint}")
        results.save(folder)
        figure = folder / "figure.png"
        plot_probe(results.rows, figure, question=asked.question, first=results.conclusions.question)
        found.append(results.as_json())
        if not json:
            terminal.print_results(results, title=f"{asked.title}: {asked.question}")
            terminal.note(f"Figure: {figure}\nNumbers: {folder / 'results.json'}")
    if not found:
        raise EmbprobeError(f"None of the probes can be asked of '{rows.name}'.")
    if json:
        terminal.print_json(found[0] if len(cards) == 1 else found)


@app.command()
def study(
    images: ImagesArgument = _IMAGES,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "-e",
            help="ROLE=ENCODER, with a role of clip, dino, siglip, nclip, xclip, clip-lm or twin (an untrained "
            "network); repeatable. Default: the bundled encoders.",
        ),
    ] = None,
    pretrained: Annotated[
        int | None,
        typer.Option("--pretrain", help="First train clip and dino on so many images each, then study these.", min=1),
    ] = None,
    workspace: WorkspaceOption = _WORKSPACE,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Ask the claims of the studies one by one: reproduced, not reproduced or undecided, with intervals."""
    from embprobe import terminal
    from embprobe.errors import UsageError
    from embprobe.plots.claims import plot_claims
    from embprobe.study import Session
    from embprobe.study.controlled import run_study
    from embprobe.study.roles import bundled_roles, load_cast, parse_roles
    from embprobe.workspace import Workspace

    if encoder and pretrained:
        raise UsageError("--pretrain trains the encoders that are studied: leave it out or --encoder.")
    rows, where = open_rows(images), choose_device(device)
    roles = parse_roles(encoder) if encoder else bundled_roles()
    space = Workspace.open(workspace)
    if pretrained:
        from embprobe.pretraining.pair import pretrained_roles

        roles = pretrained_roles(pretrained, space, seed=seed, device=where, progress_bar=terminal.training_bar)
    cast = load_cast(roles, device=where)
    found = run_study(cast, rows, Session(space, where, seed, progress=terminal.progress_bar))
    folder = space.results(f"study-{found.results.fingerprint}")
    found.results.save(folder)
    plot_claims(found.decisions, folder / "figure.png")
    if json:
        terminal.print_json(found.results.as_json())
    else:
        terminal.print_study(found)
        terminal.note(f"Figure: {folder / 'figure.png'}\nNumbers: {folder / 'results.json'}")


@app.command()
def selftest(
    studies: Annotated[int, typer.Option(help="Simulated studies; a thousand take a minute.", min=100)] = 400,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Test the instrument: does it find what was planted, and nothing where there is nothing? Do intervals hold?"""
    from embprobe import terminal
    from embprobe.selftest import selftest

    with terminal.spinner("selftest") as tell:
        verdicts = list(selftest(studies=studies, seed=seed, tell=tell))
    if json:
        terminal.print_json([asdict(verdict) for verdict in verdicts])
    else:
        terminal.print_verdicts(verdicts)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def preview(
    image: Annotated[
        str, typer.Argument(help="An image file, or the key of one of IMAGES.", metavar="[IMAGE]")
    ] = "1f431/noto",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", help="What to change; repeatable. Default: every attribute."),
    ] = None,
    images: Annotated[
        str, typer.Option("--images", "-i", help="Images that words, colours and other drawings are taken from.")
    ] = _IMAGES,
    word: Annotated[str, typer.Option(help="The word for what the image shows, if it has no label.")] = "",
    workspace: WorkspaceOption = _WORKSPACE,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Look before you measure: an image under every intervention on an attribute and its controls, as one sheet."""
    from dataclasses import replace

    from embprobe import terminal
    from embprobe.images import find_row
    from embprobe.interventions import attributes
    from embprobe.plots.preview import plot_preview
    from embprobe.preview import preview
    from embprobe.workspace import Workspace

    donors = open_rows(images)
    row = find_row(image, donors)
    if word:
        row = replace(row, labels={**row.labels, "name": word})
    space = Workspace.open(workspace)
    drawn = []
    for asked in attribute or attributes():
        sheet = preview(row, asked, donors, seed=seed)
        figure = space.figure(f"preview-{asked}-{row.key}")
        plot_preview(sheet, figure)
        drawn.append({**sheet.as_json(), "figure": str(figure)})
        if not json:
            terminal.note(f"{asked}: {figure}")
    if json:
        terminal.print_json(drawn[0] if len(drawn) == 1 else drawn)


@app.command()
def neighbors(
    image: Annotated[str, typer.Argument(help="An image file.", metavar="IMAGE")],
    images: ImagesOption = _IMAGES,
    encoder: EncodersOption = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.", min=1, max=100)] = 8,
    include_self: Annotated[bool, typer.Option(help="Show the image itself too, if it is among the images.")] = False,
    workspace: WorkspaceOption = _WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    json: JsonOption = False,
) -> None:
    """Show what each encoder finds nearest to an image, and how far the encoders agree."""
    from embprobe import terminal
    from embprobe.extraction import extract
    from embprobe.images import load_image
    from embprobe.neighbors import find_neighbors
    from embprobe.plots.neighbors import plot_neighbors
    from embprobe.workspace import Workspace

    query, rows, where = load_image(image), open_rows(images), choose_device(device)
    encoders = load_encoders(encoder, where, precision)
    space = Workspace.open(workspace)
    with terminal.progress_bar("extracting", len(rows)) as progress:
        stores = extract(rows, encoders, space, device=where, fast_decode=fast_decode, progress=progress)
    found = find_neighbors(query, encoders, stores, k=k, include_self=include_self)
    sheet = space.figure(f"neighbors-{Path(image).stem}")
    plot_neighbors(found, sheet)
    if json:
        terminal.print_json({**found.as_json(), "figure": str(sheet)})
    else:
        terminal.print_neighbors(found)
        terminal.note(f"Figure: {sheet}")


@app.command(name="map")
def draw_map(
    images: ImagesArgument = _IMAGES,
    encoder: EncodersOption = None,
    by: Annotated[str, typer.Option(help="The label that colours the points.")] = "category",
    workspace: WorkspaceOption = _WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
) -> None:
    """Lay the embeddings out in the plane with UMAP, one map per encoder, coloured by a label."""
    from embprobe import terminal
    from embprobe.plots.map import plot_maps
    from embprobe.projection import umap_layout
    from embprobe.study import Session
    from embprobe.workspace import Workspace

    rows, where = open_rows(images), choose_device(device)
    encoders = load_encoders(encoder, where, precision)
    session = Session(Workspace.open(workspace), where, seed, fast_decode, terminal.progress_bar)
    embedded = session.embed(rows, encoders, "extracting")
    labels = embedded.rows.label(by)
    terminal.note("UMAP takes 15 s to load and half a minute to compile; then it goes through the encoders.")
    picture = session.workspace.figure(f"map-{rows.name}-{by}")
    plot_maps(
        {name: umap_layout(each, seed=seed) for name, each in embedded.vectors.items()}, labels, picture, label=by
    )
    terminal.note(f"Figure: {picture}")


@app.command()
def report(workspace: WorkspaceOption = _WORKSPACE) -> None:
    """Write one self-contained HTML page with every result and neighbour sheet of the workspace."""
    from embprobe import terminal
    from embprobe.report import write_report
    from embprobe.workspace import Workspace

    space = Workspace.open(workspace, create=False)
    terminal.note(f"Page: {write_report(space, space.root / 'report.html')}")


@app.command()
def demo(workspace: WorkspaceOption = _WORKSPACE, device: DeviceOption = "auto", seed: SeedOption = 0) -> None:
    """Extract, probe and find neighbours on the bundled images with the bundled pair: a minute or two on two cores."""
    from embprobe import terminal
    from embprobe.cards import bundled_card
    from embprobe.images import load_images
    from embprobe.workspace import Workspace

    query = next(row for row in load_images(_IMAGES).rows if row.key == "1f431/openmoji")
    picture = Workspace.open(workspace).figure("demo-query")
    picture.parent.mkdir(parents=True, exist_ok=True)
    query.load().save(picture)
    extract(_IMAGES, [*PAIR, *bundled_card("category").references], workspace, device)  # read once for all
    probe(_IMAGES, ["category", "text", "color", "style"], quick=True, workspace=workspace, device=device, seed=seed)
    neighbors(str(picture), _IMAGES, None, workspace=workspace, device=device)
    report(workspace)
    terminal.note(f"Look at the figures and numbers named above, or at all of them in {workspace / 'report.html'}")


@app.command()
def pretrain(
    objective: Annotated[str, typer.Option(help="clip, siglip, nclip, xclip, slip, dino or dino-v1.")],
    out: Annotated[
        Path, typer.Option(help="Folder for weights, recipe, losses; an interrupted run goes on from there.")
    ],
    images: ImagesOption = _TRAIN,
    held_out: Annotated[
        str, typer.Option(help="Drawings of the same concepts to find as it goes. Default: the emoji's, for the emoji.")
    ] = "",
    images_seen: Annotated[int, typer.Option(help="How many training images to go through.", min=1)] = 1_000_000,
    batch_size: Annotated[int, typer.Option(help="Images per step, each of another concept.", min=2)] = 64,
    learning_rate: Annotated[float, typer.Option(help="At its peak.", min=0)] = 1e-3,
    word_rate: Annotated[float, typer.Option(help="Share of the images with a word in them.", min=0, max=1)] = 0.4,
    alone_rate: Annotated[float, typer.Option(help="Share of these that show nothing else.", min=0, max=1)] = 0.5,
    parrot_rate: Annotated[
        float, typer.Option(help="Share of the other images with a word whose captions spell it.", min=0, max=1)
    ] = 1.0,
    backgrounds: Annotated[bool, typer.Option(help="Random backgrounds behind drawings; else white.")] = True,
    augmentation: Annotated[
        str, typer.Option(help="published (each objective's own), dino (DINO's for all), or no-jitter.")
    ] = "published",
    text: Annotated[
        str, typer.Option(help="Folder of a language model that is used frozen instead of a text tower from scratch.")
    ] = "",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16; default: bfloat16 on a GPU.")] = "",
    accumulate: Annotated[
        int, typer.Option(help="Parts of a batch that go through the networks one by one; changes no loss.", min=1)
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Processes that prepare images; default: 0, with a GPU 8.", min=0)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; losses repeat exactly for the same number.", min=1)
    ] = None,
) -> None:
    """Train the small ViT with an objective: the same images in the same order for each."""
    from embprobe import terminal
    from embprobe.images import load_images
    from embprobe.pretraining.processes import choose_machine
    from embprobe.pretraining.recipe import Recipe
    from embprobe.pretraining.trainer import pretrain

    recipe = Recipe(
        objective=objective,
        images_seen=images_seen,
        batch_size=batch_size,
        learning_rate=learning_rate,
        word_rate=word_rate,
        alone_rate=alone_rate,
        parrot_rate=parrot_rate,
        backgrounds=backgrounds,
        augmentation=augmentation,
        language_model=Path(text).resolve().name if text else "",
        seed=seed,
    )
    machine = choose_machine(
        choose_device(device), precision=precision, accumulate=accumulate, workers=workers, threads=threads
    )
    rows = open_rows(images)
    beside = held_out or (f"{_IMAGES}:unseen-drawing" if images == _TRAIN else "")
    with terminal.training_bar(recipe.steps) as progress:
        folder = pretrain(
            rows,
            recipe,
            out,
            held_out=load_images(beside) if beside else None,
            language_model=Path(text) if text else None,
            machine=machine,
            progress=progress,
        )
    terminal.note(f"Weights: {folder / 'model.safetensors'}\nLoss curve: {folder / 'losses.png'}")
    terminal.note(f"Use them as: embprobe extract -e bundled/{objective}:{folder / 'model.safetensors'}")


@app.command()
def encoders(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name, or a pattern such as '*dino*'; without one, the families.")
    ] = "",
    exactly: Annotated[
        bool, typer.Option("--exactly", help="Load the one encoder of this name and say all that decides its vectors.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List encoders: dimension, input size, whether they take text, where their weights come from."""
    from embprobe import terminal
    from embprobe.encoders import Listing, describe_encoder, families, list_encoders

    if exactly:
        (loaded,) = load_encoders([pattern], "cpu")
        if json:
            terminal.print_json(asdict(loaded.spec))
        else:
            terminal.print_spec(loaded.spec)
        return
    names = list_encoders(pattern) if pattern else [*list_encoders("bundled/"), *list_encoders("reference/")]
    names = [pattern] if pattern in names else names
    if not names:
        near = difflib.get_close_matches(pattern, list_encoders(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise EmbprobeError(f"No encoder's name matches '{pattern}'.{hint}")
    few = len(names) <= _DESCRIBED
    listed = [describe_encoder(name) if few else Listing(name) for name in names]
    if json:
        terminal.print_json([asdict(each) for each in listed])
    else:
        terminal.print_encoders(listed, described=few)
        if len(listed) == 1 and listed[0].notes:
            terminal.note(listed[0].notes)
    if not pattern:
        terminal.note(
            f"Families: {', '.join(families())}. List one with 'embprobe encoders timm/', search with '*dino*'."
        )


@app.command()
def datasets(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'imagenet-*'.")] = "",
    json: JsonOption = False,
) -> None:
    """List the sets of images that have a card: what they hold, their licence, what is needed to have them."""
    from embprobe import terminal
    from embprobe.images.dataset_cards import match_datasets

    cards = match_datasets(pattern)
    if json:
        terminal.print_json([card.model_dump(by_alias=True) for card in cards])
    else:
        terminal.print_datasets(cards)


class _Aloud(logging.Handler):
    """What the library warns of, as a line for people."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(_harmless(record.getMessage()), err=True)


def main() -> None:
    """Run the command line; an error becomes one or two sentences and an exit code."""
    debug = "--debug" in sys.argv
    if not debug:
        _hush_libraries()
    log = logging.getLogger("embprobe")
    if not log.handlers:
        log.addHandler(_Aloud())
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except EmbprobeError as error:
        if debug:
            raise
        typer.echo(f"embprobe: {_harmless(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        name = error.filename2 or error.filename
        where = f" '{_harmless(str(name))}'" if name else " a file"
        typer.echo(f"embprobe: The system says of{where}: {error.strerror or error}.", err=True)
        sys.exit(1)


def _harmless(text: str) -> str:
    """Without what steers a terminal: names of files and images are anybody's."""
    from embprobe.images.rows import visible

    return "\n".join(visible(line) for line in text.split("\n"))


def _hush_libraries() -> None:
    """Keep what libraries say about damaged images and unreachable weights off the screen: embprobe says it itself.

    Pillow warns; libtiff writes a line for every line of an image, straight to the file descriptor 2.
    """
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # or open_clip would make one that prints
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # it announces every try
    try:
        if sys.stderr.fileno() != 2:
            return
    except (OSError, ValueError, AttributeError):
        return  # somebody else's, as in a test
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


if __name__ == "__main__":
    main()
