"""Images and vectors that results name, opened again; nothing is encoded for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.embeddings.manifest import read_manifest
from embprobe.embeddings.store import Store, open_store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.report.findings import MeasuredImages
from embprobe.system.text import visible


@dataclass(frozen=True)
class Opened:
    """Images by their fingerprints, and a sentence for each set that is missing here."""

    images: Mapping[str, Images]
    given: Images | None
    """The set that the user named."""
    notes: Sequence[str]


def open_images(measured: Sequence[MeasuredImages], given: Images | None, workspace: Workspace) -> Opened:
    """Open every set of images that was measured, each once; ``given`` is one that the user named."""
    opened = {} if given is None else {given.fingerprint: given}
    notes: dict[str, str] = {}
    for each in measured:
        if each.fingerprint in opened or each.fingerprint in notes:
            continue
        missing = f"The pictures of '{visible(each.name)}' are missing here"
        try:
            images = load_images(each.name)
        except (EmbprobeError, OSError) as reason:
            if (rows := _rows_of_store(each, workspace)) is not None:
                opened[each.fingerprint] = rows
                continue
            cause = visible(str(reason)).rstrip(".")
            notes[each.fingerprint] = (
                f"{missing}, for these images cannot be opened again by their name ({cause}). "
                "Say where they are: embprobe report PLACE."
            )
            continue
        if images.fingerprint == each.fingerprint:
            opened[each.fingerprint] = images
        else:
            notes[each.fingerprint] = f"{missing}: the images of this name are no longer those that were measured."
    return Opened(opened, given, list(notes.values()))


def _rows_of_store(measured: MeasuredImages, workspace: Workspace) -> Images | None:
    """Return rows that have vectors and no pictures, from the keys and labels beside their vectors."""
    for folder in workspace.stores():
        if not folder.parent.name.endswith(f"-{measured.fingerprint[:8]}"):
            continue
        tables = [pq.read_table(path) for path in sorted((folder / "metadata").glob("*.parquet"))]
        labels = pa.concat_tables(tables).to_pydict() if tables else {"key": []}
        rows = Images.without_pictures(measured.name, labels.pop("key"), labels)
        if rows.fingerprint == measured.fingerprint:
            return rows
    return None


def open_stores(images: Images, workspace: Workspace, wanted: Sequence[str] | Mapping[str, str]) -> list[Store]:
    """Open the complete stores of these images by the ``wanted`` encoders, in their order.

    ``wanted`` are names, or fingerprints by name. Raises :class:`UsageError`, with the command to run, if one is
    missing.
    """
    specs = _specs(images, workspace)
    stores = []
    for name in wanted:
        fingerprint = wanted[name] if isinstance(wanted, Mapping) else ""
        matching = (s for s in specs if s.fingerprint == fingerprint or (not fingerprint and s.name == name))
        spec = next((each for each in matching if each.tokens is None), None)
        store = None if spec is None else open_store(workspace.store(images, spec), spec, images)
        if store is None or not store.complete:
            raise UsageError(
                f"The workspace has no embeddings of '{visible(images.name)}' by {visible(name)}. "
                f"Run 'embprobe extract {_typed(images)} -e {visible(name)}' first."
            )
        stores.append(store)
    return stores


def _typed(images: Images) -> str:
    """Return what the user typed to open these images."""
    return visible(f"{images.opened_as}{images.reading.options()}" if images.opened_as else images.name)


def _specs(images: Images, workspace: Workspace) -> list[EncoderSpec]:
    """Read the specs of all encoders with a store of these images."""
    specs = []
    for folder in workspace.stores():
        if folder.parent.name.endswith(f"-{images.fingerprint[:8]}"):
            saved = read_manifest(folder).encoder
            try:
                specs.append(EncoderSpec.from_saved(saved))
            except (KeyError, TypeError, ValueError):
                raise EmbprobeError(f"'{folder / 'manifest.json'}' is damaged. Remove that folder.") from None
    return specs
