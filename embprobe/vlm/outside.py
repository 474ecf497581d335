"""Read the answers that other tools have recorded a question at a time: lmms-eval and VLMEvalKit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embprobe.errors import UsageError
from embprobe.system.text import printable, visible
from embprobe.vlm.answers import Answers, is_answers, read_answers
from embprobe.vlm.lmms_eval import read_lmms_eval, read_lmms_eval_folder
from embprobe.vlm.vlmevalkit import read_vlmevalkit

_TABLES = (".xlsx", ".tsv", ".csv", ".json")


def open_answers(path: Path | str, *, name: str = "") -> Answers:
    """Read the answers of one model, whichever tool wrote them.

    - embprobe's own (``embprobe vlm eval``);
    - lmms-eval's ``…_samples_TASK.jsonl`` of ``--log_samples`` (:func:`~embprobe.vlm.lmms_eval.read_lmms_eval`), or
      the folder that has those of several tasks;
    - VLMEvalKit's predictions or results, ``.xlsx``, ``.tsv``, ``.csv`` or ``.json``
      (:func:`~embprobe.vlm.vlmevalkit.read_vlmevalkit`).

    Args:
        path: The file, or lmms-eval's folder.
        name: A name for the model in the place of the file's own.

    Raises:
        UsageError: There is no such file, or it is of none of these forms.
        EmbprobeError: It is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return read_lmms_eval_folder(path, name=name)
    if not path.is_file():
        raise UsageError(f"There is no file '{visible(str(path))}' with answers.")
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return read_vlmevalkit(path, name=name)
    if suffix != ".jsonl":
        raise UsageError(
            f"'{visible(str(path))}' is of no known form: give answers of 'embprobe vlm eval' or lmms-eval (.jsonl), "
            "or of VLMEvalKit (.xlsx, .tsv, .json)."
        )
    try:
        own = is_answers(path)
    except OSError as error:
        raise UsageError(f"'{printable(str(path))}' cannot be read: {error.strerror}.") from None
    if not own:
        return read_lmms_eval(path, name=name)
    found = read_answers(path)
    return replace(found, name=name) if name else found
