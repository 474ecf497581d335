"""``embprobe vlm eval``: questions put to trained vision-language models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import WORKSPACE, DeviceOption, JsonOption, RunOptions, SeedOption, WorkspaceOption
from embprobe.cli.progress import progress_bar
from embprobe.cli.session import choose_device, start_session

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.vlm.answers import Answers
    from embprobe.vlm.question import QuestionSet


def evaluate(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of 'embprobe vlm train', or models of a study.", metavar="RUN...")
    ],
    questions: Annotated[
        Path,
        typer.Option(
            help="A folder of 'embprobe vlm questions', VMCBench's .tsv or .parquet, MMVP's folder, or another .tsv of "
            "VLMEvalKit."
        ),
    ],
    encoder: Annotated[
        str,
        typer.Option("--encoder", "-e", help="The encoder of the run, where its name has changed, as of a file moved."),
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="Put each question once; by default once for every turn of its options.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the answers. Default: beside each run's model.", metavar="FOLDER")
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Put multiple-choice questions to trained models: accuracy by group, and their differences, with intervals."""
    from embprobe.cli.vlm_compare import print_vlm_comparison
    from embprobe.errors import UsageError
    from embprobe.vlm.answers import write_answers
    from embprobe.vlm.benchmarks import open_questions, without_images
    from embprobe.vlm.compare import compare_answers
    from embprobe.vlm.trained import BLIND

    if encoder and len(runs) > 1:
        raise UsageError("--encoder names the encoder of one run: evaluate the others apart from it.")
    chosen = choose_device(device)
    asked = without_images(open_questions(questions))
    for remark in asked.notes:
        note(f"{remark}.")
    session = start_session(RunOptions(workspace=workspace, device=device), chosen, seed=seed)
    found = [_answers(run, asked, encoder, session, circular=not once) for run in runs]
    for run, answers in zip(runs, found, strict=True):
        path = (out or run) / f"{run.name}-answers.jsonl"
        write_answers(path, answers)
        note(f"Answers: {path}")
    comparison = compare_answers(found, references=[each.name for each in found if each.name == BLIND], seed=seed)
    if json:
        print_json(comparison.as_json())
    else:
        print_vlm_comparison(comparison)


def _answers(run: Path, asked: QuestionSet, encoder: str, session: Session, *, circular: bool) -> Answers:
    from embprobe.encoders import load_encoder
    from embprobe.system.processes import Machine
    from embprobe.vlm.evaluate import answer
    from embprobe.vlm.image_tokens import TokenSource, stored_tokens, token_encoder
    from embprobe.vlm.trained import BLIND, load_trained

    trained = load_trained(run, device=session.device)
    source: TokenSource | None = None
    if trained.encoder != BLIND:
        reader = token_encoder(load_encoder(encoder or trained.encoder, device=session.device), trained.recipe.image)
        source = stored_tokens(asked.images, reader, session)
    with progress_bar(trained.encoder, len(asked)) as progress:
        return answer(
            trained.model,
            asked,
            trained.recipe,
            name=trained.encoder,
            tokenizer=trained.tokenizer,
            source=source,
            machine=Machine(device=session.device),
            circular=circular,
            progress=progress,
        )
