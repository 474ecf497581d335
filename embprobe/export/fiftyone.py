"""A folder that FiftyOne imports as ``FiftyOneDataset``: images, and a sample with labels and vectors for each.

FiftyOne knows two forms of it. This is the one without a version, where FiftyOne takes the fields from the samples; the
other one repeats the contents of FiftyOne's database, down to the ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.export.pictures import WEB, original_file
from embprobe.export.table import KEY, ExportTable, label_columns
from embprobe.system.files import making, write_json
from embprobe.system.folders import mark_output
from embprobe.system.text import printable, visible

_ROWS = 256
_A_FOLDER = 1000
"""The most images in one folder."""
_OWN = (
    *("add_labels", "clear_field", "compute_metadata", "copy", "created_at", "dataset", "dataset_id", "field_names"),
    *("filename", "filepath", "frames", "from_dict", "from_doc", "from_frame", "from_json", "get_field"),
    *("get_media_key", "groups", "has_field", "id", "in_dataset", "iter_fields", "last_modified_at"),
    *("media_reference", "media_type", "merge", "metadata", "pk", "reload", "save", "set_field", "tags", "to_dict"),
    *("to_json", "to_mongo_dict", "update_fields"),
)
"""Attributes of FiftyOne's samples, which no field can have the name of."""


def write_fiftyone(table: ExportTable, folder: Path) -> None:
    """Write ``data/``, ``samples.json`` and ``metadata.json``.

    A label is a field of text, a vector a list of numbers; a row lacks the fields of labels that it does not have.
    Images are as they were, or as PNG where browsers would not show them. Raises :class:`EmbprobeError` if one cannot
    be read any more, and for rows without pictures: FiftyOne has no samples without a file.
    """
    if not table.rows.has_pictures:
        raise EmbprobeError(
            f"FiftyOne shows images, and '{visible(table.rows.name)}' has none: export it to atlas, huggingface, npy "
            "or csv."
        )
    fields = label_columns(table.labels, [*table.reserved(), *_OWN], _field)
    with making(folder) as temporary:
        mark_output(temporary)
        with (temporary / "samples.json").open("w", encoding="utf-8") as samples:
            samples.write('{"samples": [')
            for block in table.blocks(_ROWS):
                for i in range(block.start, block.stop):
                    samples.write(",\n" if i else "\n")
                    samples.write(json.dumps(_sample(table, i, fields, temporary), allow_nan=False))
            samples.write("\n]}\n")
        info = {
            "images": printable(table.rows.name),
            "encoders": {f"{name}_vector": encoder for encoder, name in table.names.items()},
            "labels": {name: printable(label) for label, name in fields.items()},
        }
        write_json(temporary / "metadata.json", {"media_type": "image", "info": info})


def open_fiftyone(table: ExportTable, folder: Path) -> Iterator[str]:
    """Yield a line of Python that imports it."""
    yield f"fiftyone.Dataset.from_dir({str(folder)!r}, dataset_type=fiftyone.types.FiftyOneDataset)"


def _sample(table: ExportTable, i: int, fields: dict[str, str], folder: Path) -> dict[str, Any]:
    """Write the image of row ``i`` and return its sample."""
    row = table.rows.rows[i]
    encoded, suffix = original_file(row, WEB)
    path = f"data/{i // _A_FOLDER:04}/{i:07}{suffix}"
    if i % _A_FOLDER == 0:
        (folder / path).parent.mkdir(parents=True)
    (folder / path).write_bytes(encoded)
    sample: dict[str, Any] = {"filepath": path, "tags": [], KEY: printable(row.key)}
    sample |= {name: printable(row.labels[label]) for label, name in fields.items() if label in row.labels}
    for encoder, name in table.names.items():
        vector = table.vectors[encoder][i]
        if not np.isfinite(vector).all():
            raise EmbprobeError(f"The embedding of '{visible(row.key)}' by {encoder} is not finite: JSON has no such.")
        sample[f"{name}_vector"] = vector.tolist()
        if encoder in table.layouts:
            sample |= dict(zip((f"{name}_x", f"{name}_y"), table.layouts[encoder][i].tolist(), strict=True))
    return sample


def _field(label: str) -> str:
    """Replace the characters that FiftyOne or its database would refuse in a field's name."""
    return re.sub(r"\W+", "_", printable(label)).strip("_")
