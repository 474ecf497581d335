"""``embprobe vlm train``: a language model trained on an encoder's tokens by a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import WORKSPACE, DeviceOption, JsonOption, RunOptions, SeedOption, WorkspaceOption
from embprobe.cli.progress import training_bar
from embprobe.cli.session import choose_device, start_session

if TYPE_CHECKING:
    from embprobe.encoders.spec import Encoder
    from embprobe.images.rows import Images
    from embprobe.system.processes import Machine, Processes
    from embprobe.vlm.image_tokens import TokenSource
    from embprobe.vlm.language import Language
    from embprobe.vlm.planning import Plan
    from embprobe.vlm.recipe import Recipe
    from embprobe.vlm.training import TrainingData


def train(
    encoder: Annotated[
        str,
        typer.Option("--encoder", "-e", help="As 'embprobe encoders' lists them, or blind: a model without images."),
    ],
    images: Annotated[Path, typer.Option(help="Folder that the paths of images start from.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted one goes on from there.")],
    recipe: Annotated[
        str, typer.Option(help="llava-1.5, llava-1.5-lora, small, or a .toml of your own.")
    ] = "llava-1.5",
    language_model: Annotated[
        str, typer.Option(help="A folder of transformers' files or OWNER/NAME. Default: the recipe's.")
    ] = "",
    captions: Annotated[
        Path | None, typer.Option(help="Images and captions in LLaVA's JSON format: blip_laion_cc_sbu_558k.json.")
    ] = None,
    conversations: Annotated[
        Path | None, typer.Option(help="Conversations in LLaVA's JSON format: llava_v1_5_mix665k.json.")
    ] = None,
    caption_images: Annotated[Path | None, typer.Option(help="Folder of the captions' images, if another.")] = None,
    max_left_out: Annotated[
        int, typer.Option(help="Samples of a file that may be left out: images missing, not in the format.", min=0)
    ] = 0,
    steps: Annotated[int | None, typer.Option(help="The most steps of a stage, for a trial.", min=1)] = None,
    stored: Annotated[
        bool, typer.Option("--stored/--live", help="Encode each image once, or whenever it is needed.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print steps, memory and time; train nothing.")] = False,
    tflops: Annotated[
        float | None, typer.Option(help="Rate of a device for --dry-run, 10^12 operations a second.", min=0)
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16; default: bfloat16 on a GPU.")] = "",
    accumulate: Annotated[
        int, typer.Option(help="Parts of a batch that go through the model one by one; changes no loss.", min=1)
    ] = 1,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; losses repeat exactly for the same number.", min=1)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a language model to read an encoder's tokens: captions first, then conversations. The encoder is frozen."""
    from embprobe.encoders import load_encoder
    from embprobe.errors import UsageError
    from embprobe.system.processes import Processes, choose_machine
    from embprobe.vlm.image_tokens import token_encoder
    from embprobe.vlm.llava_data import read_training_data
    from embprobe.vlm.recipe import read_recipe
    from embprobe.vlm.trained import BLIND
    from embprobe.vlm.trained import train as run

    chosen = read_recipe(recipe)
    if language_model:
        language = chosen.language.model_copy(update={"model": language_model, "scratch": None})
        seeing = [stage for stage in chosen.stages if stage.sees]  # the others are for one from scratch
        chosen = chosen.model_copy(update={"language": language, "stages": seeing})
    if encoder == BLIND:
        learning = [stage for stage in chosen.stages if stage.trains != "connector"]
        chosen = chosen.model_copy(update={"stages": learning})
    for stage in chosen.stages:
        if (captions if stage.data != "conversations" else conversations) is None:
            option = "conversations" if stage.data == "conversations" else "captions"
            raise UsageError(f"The stage '{stage.name}' of '{chosen.name}' needs --{option} FILE.")
    machine = choose_machine(choose_device(device), precision=precision, accumulate=accumulate, threads=threads)
    rows, data = read_training_data(
        captions=captions,
        conversations=conversations,
        image_folder=images,
        caption_images=caption_images,
        max_left_out=max_left_out,
    )
    if steps is not None:
        chosen = _at_most(steps, chosen, data)
    processes = Processes(machine.device)
    for remark in rows.notes if processes.first else ():
        note(f"{remark}.")
    reader = None
    if encoder != BLIND:
        reader = token_encoder(load_encoder(encoder, device=processes.device), chosen.image)
    if dry_run:
        planned, fitting = _planned(chosen, rows, data, reader, machine, tflops=tflops, stored=stored)
        print_json(_as_json(planned, fitting)) if json else _print_plan(planned, fitting, machine)
        return
    source = _source(rows, reader, stored, processes, RunOptions(workspace=workspace, device=device), seed)
    loaded = _language(chosen, data, out, replace(machine, device=processes.device), seed, processes)
    total = sum(data.steps(stage) for stage in chosen.stages if stage.sees)
    with training_bar(total) if processes.first else nullcontext() as progress:
        trained = run(chosen, data, out, source=source, language=loaded, seed=seed, machine=machine, progress=progress)
    if not processes.first:
        return
    if json:
        print_json({"folder": str(out), "encoder": trained.encoder, "recipe": chosen.name, "steps": total})
    note(f"Model: {out}")
    note(f"Put questions to it: embprobe vlm eval {out} --questions FOLDER")


def _at_most(steps: int, recipe: Recipe, data: TrainingData) -> Recipe:
    """Return a recipe whose stages have no more than so many steps; the learning rate falls to 0 in these."""
    stages = []
    for stage in recipe.stages:
        if data.steps(stage) > steps:
            samples = len(data.captions if stage.data == "captions" else data.conversations)
            # half a step less, for the number is rounded up
            stage = stage.model_copy(update={"epochs": (steps - 0.5) * stage.batch_size / samples})
        stages.append(stage)
    return recipe.model_copy(update={"stages": stages})


def _source(
    rows: Images, reader: Encoder | None, stored: bool, processes: Processes, run: RunOptions, seed: int
) -> TokenSource | None:
    """Return the tokens of the images; where they are stored, the first process encodes what is not there yet."""
    from embprobe.vlm.image_tokens import LiveTokens, stored_tokens

    if reader is None:
        return None
    if not stored:
        return LiveTokens(rows, reader)
    if not processes.first:
        processes.wait()
    source = stored_tokens(rows, reader, start_session(run, processes.device, seed=seed))
    if processes.first:
        processes.wait()
    return source


def _language(
    recipe: Recipe, data: TrainingData, out: Path, machine: Machine, seed: int, processes: Processes
) -> Language:
    """Load the recipe's language model, or train it from scratch."""
    from embprobe.errors import UsageError
    from embprobe.vlm.language import load_language
    from embprobe.vlm.planning import language_precision
    from embprobe.vlm.trained import train_language

    if recipe.language.scratch is None:
        return load_language(
            recipe.language.model, device=machine.device, precision=language_precision(recipe, machine)
        )
    if processes.world > 1:
        raise UsageError(f"The recipe '{recipe.name}' trains its language model from scratch: use one process.")
    stages = [stage for stage in recipe.stages if not stage.sees]
    with training_bar(sum(data.steps(stage) for stage in stages)) as progress:
        folder = train_language(recipe, data, out / "from-scratch", seed=seed, machine=machine, progress=progress)
    return load_language(folder, device=machine.device)


# --- the plan ------------------------------------------------------------------------------------------------------


def _planned(
    recipe: Recipe,
    rows: Images,
    data: TrainingData,
    reader: Encoder | None,
    machine: Machine,
    *,
    tflops: float | None,
    stored: bool,
) -> tuple[Plan, int | None]:
    """Return the plan, and the fewest parts of a batch with which it fits; None if there are none."""
    from embprobe.vlm.language import read_configuration
    from embprobe.vlm.planning import EncoderSize, data_size, fewest_parts, language_shape, measured_rate, plan
    from embprobe.vlm.prompts import PROMPTS
    from embprobe.vlm.small import small_language

    if recipe.language.scratch is None:
        config, tokenizer = read_configuration(recipe.language.model)
    else:
        language = small_language(data.texts(), recipe.language.scratch, context=recipe.language.context, seed=0)
        config, tokenizer = language.model.config, language.tokenizer
    shape, prompt = language_shape(config), PROMPTS[recipe.language.prompt]
    sizes = {stage.data: data_size(data, stage, prompt, tokenizer) for stage in recipe.stages if stage.sees}
    seen = _encoder_size(reader) if reader is not None else EncoderSize(0, 0)
    rate = measured_rate(machine.device, machine.precision) if tflops is None else tflops * 1e12

    def plan_of(parts: int) -> Plan:
        return plan(
            recipe,
            shape,
            seen,
            sizes,
            machine=replace(machine, accumulate=parts),
            rate=rate,
            stored=stored,
            images=len(rows),
        )

    planned = plan_of(machine.accumulate)
    available = planned.available
    batch_sizes = [stage.batch_size for stage in recipe.stages if stage.sees]
    fitting = fewest_parts(lambda parts: replace(plan_of(parts), available=available), batch_sizes)
    return planned, fitting


def _encoder_size(reader: Any) -> Any:
    from embprobe.vlm.planning import EncoderSize

    grid, network = reader.spec.tokens, getattr(reader, "network", None)
    weights = sum(each.numel() for each in network.parameters()) if network is not None else 0
    return EncoderSize(grid.rows * grid.columns, reader.spec.dimension, weights)


def _as_json(planned: Plan, fitting: int | None) -> dict[str, object]:
    stages = [{**asdict(stage), "total_memory": stage.total_memory} for stage in planned.stages]
    return {
        "language_parameters": planned.language.parameters,
        "connector_parameters": planned.connector,
        "stages": stages,
        "stored_tokens": planned.stored_tokens,
        "memory": planned.memory,
        "available": planned.available,
        "fits": planned.fits,
        "fewest_parts": fitting,
        "operations_per_second": planned.rate,
        "seconds": planned.seconds,
    }


def _print_plan(planned: Plan, fitting: int | None, machine: Machine) -> None:
    from embprobe.system.memory import format_memory

    console = output(width=120)
    console.print(
        f"Language model: {planned.language.parameters:,} weights; connector: {planned.connector:,}; "
        f"on {machine.device} in {machine.precision}.",
        markup=False,
    )
    columns = ("stage", "samples", "steps", "tokens each", "weights trained", "memory", "time")
    lines = [
        (
            stage.name,
            f"{stage.samples:,}",
            f"{stage.steps:,}",
            f"{stage.tokens:,.0f}",
            f"{stage.trained:,}",
            format_memory(stage.total_memory),
            _duration(stage.seconds),
        )
        for stage in planned.stages
    ]
    for line in _aligned([columns, *lines]):
        console.print(line, markup=False)
    for stage in planned.stages:
        parts = ", ".join(f"{part} {format_memory(size)}" for part, size in stage.memory.items() if size)
        console.print(f"Memory of '{stage.name}': {parts}.", markup=False)
    if planned.stored_tokens:
        console.print(f"Tokens of all images on the disk: {format_memory(planned.stored_tokens)}.", markup=False)
    if planned.fits:
        verdict = "It fits into the memory of this machine"
    elif fitting is not None:
        verdict = f"It does not fit into the memory of this machine; with --accumulate {fitting} it does"
    else:
        verdict = "It does not fit into the memory of this machine, however a batch is cut"
    console.print(
        f"{verdict}: {format_memory(planned.memory)} of {format_memory(planned.available)} on each device.",
        markup=False,
    )


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def _duration(seconds: float) -> str:
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:,.1f} days"
    return str(timedelta(seconds=round(seconds))) if seconds else "unknown"
