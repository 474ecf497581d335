"""What mkdocs does besides: the page of commands comes from the commands, links into the code become its name."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)([^)#]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``reference/commands.md``, as Typer writes it."""
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """A file that is not among the pages is named, not linked."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def named(link: re.Match[str]) -> str:
        target = (folder / link[2] / link[3]).resolve()
        if not target.exists():
            raise SystemExit(f"{page.file.src_uri}: there is no '{link[2]}{link[3]}'.")
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        text = str(target.relative_to(ROOT))
        return f"{link[1]}" if link[1].strip("`") == text else f"{link[1]} (`{text}`)"

    return OUTSIDE.sub(named, markdown)


def commands() -> str:
    """Every command's help as Markdown."""
    sys.path.insert(0, str(ROOT))
    import typer
    from typer.cli import get_docs_for_click

    from embprobe.cli.app import app

    command = typer.main.get_command(app)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command), name="embprobe", title="Commands")
    return text
