"""Docstrings as the documentation's Markdown: roles become code, examples become code blocks."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
EXAMPLE = re.compile(r"(?m)^([ ]*)>>> .*\n?(?:.+\n?)*")
"""An example up to the next empty line, at the margin or indented in a section such as ``Example:``."""


class AsMarkdown(Extension):
    """Runs on every object that is documented."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite its docstring."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value).replace("``", "`")
            obj.docstring.value = EXAMPLE.sub(_fenced, text)


def _fenced(example: re.Match[str]) -> str:
    """Put an example into a code block at its own indentation."""
    margin = example[1]
    return f"{margin}```pycon\n{example[0].rstrip()}\n{margin}```\n"
