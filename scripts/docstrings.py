"""Docstrings as the documentation's Markdown: roles become code, examples become code blocks."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
EXAMPLE = re.compile(r"(?m)^(?:>>> .*\n?)(?:.+\n?)*")
"""Of a docstring without sections; examples in a section are indented, and griffe reads them itself."""


class AsMarkdown(Extension):
    """Runs on every object that is documented."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite its docstring."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value).replace("``", "`")
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)
