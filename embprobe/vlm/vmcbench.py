"""The twenty sets of VMCBench and its four groups, each of which is the mean of its sets."""

from __future__ import annotations

from collections.abc import Iterable

VMCBENCH = {
    **dict.fromkeys(("SEEDBench", "MMStar", "A-OKVQA", "VizWiz", "MMVet", "VQAv2", "OKVQA"), "general"),
    **dict.fromkeys(("MMMU", "MathVista", "ScienceQA", "RealWorldQA", "GQA", "MathVision"), "reasoning"),
    **dict.fromkeys(("TextVQA", "OCRVQA"), "ocr"),
    **dict.fromkeys(("AI2D", "ChartQA", "DocVQA", "InfoVQA", "TableVQABench"), "doc & chart"),
}
"""The group of each set (Zhang et al. 2025, "Automated Generation of Challenging Multiple-Choice Questions for Vision
Language Model Evaluation"; sets and groups as VLMEvalKit and lmms-eval have them)."""


def sets_of(group: str, kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the sets whose means a group of questions is the mean of; none if not all kinds are its sets.

    Example:
        >>> sets_of("ocr", ["OCRVQA", "TextVQA", "OCRVQA"]), sets_of("text", ["word"])
        (('TextVQA', 'OCRVQA'), ())
    """
    there = set(kinds)
    return tuple(name for name in VMCBENCH if name in there) if all(VMCBENCH.get(k) == group for k in there) else ()
