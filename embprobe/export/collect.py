"""What is exported, put together: embeddings and their maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.encoders.spec import Encoder, Floats
from embprobe.export.table import ExportTable
from embprobe.search.maps import make_maps
from embprobe.search.projection import NEIGHBORS


def collect_content(
    embedded: EmbeddingSet,
    encoders: Sequence[Encoder],
    session: Session,
    *,
    method: str = "none",
    neighbors: int = 15,
    notify: Callable[[str], None] = lambda now: None,
) -> ExportTable:
    """Return the embeddings with their maps by ``method``, from the workspace or new ones.

    ``encoders`` are those that gave the vectors, in their order. There are no maps for the method ``none``, nor of so
    few rows as a map takes for the neighbours of one, nor of vectors of one number, which the session notes.
    """
    layouts: Mapping[str, Floats] = {}
    if method != "none" and len(embedded.rows) > NEIGHBORS:
        wide = [encoder for encoder in encoders if encoder.spec.dimension > 1]
        for name in (encoder.spec.name for encoder in encoders if encoder not in wide):
            session.note(f"{name} has no map: its embeddings are of one number each")
        mapped = replace(embedded, vectors={each.spec.name: embedded.vectors[each.spec.name] for each in wide})
        layouts = make_maps(mapped, wide, session, method=method, notify=notify).layouts if wide else {}
    return ExportTable(embedded.rows, embedded.vectors, layouts, neighbors=neighbors, device=session.device)
