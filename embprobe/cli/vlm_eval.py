"""``embprobe vlm eval``: questions put to trained vision-language models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import WORKSPACE, DeviceOption, JsonOption, RunOptions, SeedOption, WorkspaceOption
from embprobe.cli.progress import progress_bar
from embprobe.cli.session import choose_device, start_session
from embprobe.system.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embprobe.embeddings.session import Session
    from embprobe.vlm.answers import Answers
    from embprobe.vlm.image_tokens import TokenSource
    from embprobe.vlm.question import QuestionSet
    from embprobe.vlm.trained import About


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
        Path | None,
        typer.Option(
            help="Folder for the answers, RUN.jsonl. By default they go beside each run's model.", metavar="FOLDER"
        ),
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Put multiple-choice questions to trained models: accuracy by group, and their differences, with intervals."""
    from embprobe.cli.vlm_compare import print_vlm_comparison
    from embprobe.embeddings.workspace import slug
    from embprobe.errors import UsageError
    from embprobe.vlm.answers import write_answers
    from embprobe.vlm.benchmarks import open_questions
    from embprobe.vlm.compare import compare_answers
    from embprobe.vlm.trained import BLIND, read_about

    if encoder and len(runs) > 1:
        raise UsageError("--encoder names the encoder of one run: evaluate the others apart from it.")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder, and '{visible(str(out))}' is a file.")
    abouts = [read_about(run) for run in runs]
    names = _names(runs, [about.encoder for about in abouts])
    asked = open_questions(questions)
    for remark in asked.notes:
        note(f"{visible(remark)}.")
    session = start_session(RunOptions(workspace=workspace, device=device), choose_device(device), seed=seed)
    # tokens of all encoders come first: what cannot be loaded is known before anything is answered
    sources = [_tokens(about, encoder or about.encoder, asked, session) for about in abouts]
    found = [
        _answers(run, name, asked, source, session, circular=not once)
        for run, name, source in zip(runs, names, sources, strict=True)
    ]
    for run, answers in zip(runs, found, strict=True):
        path = run / f"{slug(asked.name)}-answers.jsonl" if out is None else out / f"{slug(_called(run))}.jsonl"
        write_answers(path, answers)
        note(f"Answers: {path}")
    blind = [name for name, about in zip(names, abouts, strict=True) if about.encoder == BLIND]
    comparison = compare_answers(found, references=blind, seed=seed)
    if json:
        print_json(comparison.as_json())
    else:
        print_vlm_comparison(comparison)
    known = {f"{visible(name)}: {remark}" for name in names for remark in asked.notes}
    for remark in comparison.notes:
        if remark not in known:
            note(f"{visible(remark)}.")


def _called(run: Path) -> str:
    return run.resolve().name


def _names(runs: Sequence[Path], encoders: Sequence[str]) -> list[str]:
    """Return what the runs are called in results: their encoder, or their folder where several have that encoder."""
    from embprobe.errors import UsageError

    called = [_called(run) for run in runs]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise UsageError(f"Two runs are in folders called '{visible(twice)}': answers could not be told apart.")
    return [encoder if encoders.count(encoder) == 1 else name for encoder, name in zip(encoders, called, strict=True)]


def _tokens(about: About, encoder: str, asked: QuestionSet, session: Session) -> TokenSource | None:
    """Return an encoder's tokens of the images; None for a model that sees none."""
    from embprobe.encoders import load_encoder
    from embprobe.errors import UsageError
    from embprobe.vlm.image_tokens import stored_tokens, token_encoder
    from embprobe.vlm.trained import BLIND

    if about.encoder == BLIND:
        return None
    reader = token_encoder(load_encoder(encoder, device=session.device), about.recipe.image)
    if reader.spec.dimension != about.width:
        raise UsageError(
            f"The tokens of '{visible(encoder)}' have {reader.spec.dimension:,} numbers, and the model was trained on "
            f"those of '{visible(about.encoder)}', which have {about.width:,}."
        )
    return stored_tokens(asked.images, reader, session)


def _answers(
    run: Path, name: str, asked: QuestionSet, source: TokenSource | None, session: Session, *, circular: bool
) -> Answers:
    from embprobe.system.processes import Machine
    from embprobe.vlm.evaluate import answer
    from embprobe.vlm.trained import load_trained

    trained = load_trained(run, device=session.device)
    with progress_bar(name, len(asked)) as progress:
        return answer(
            trained.model,
            asked,
            trained.recipe,
            name=name,
            tokenizer=trained.tokenizer,
            source=source,
            machine=Machine(device=session.device),
            circular=circular,
            progress=progress,
        )
