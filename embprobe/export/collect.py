"""What is exported, put together: embeddings and their maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    few rows as a map takes for the neighbours of one.
    """
    layouts: Mapping[str, Floats] = {}
    if method != "none" and len(embedded.rows) > NEIGHBORS:
        layouts = make_maps(embedded, encoders, session, method=method, notify=notify).layouts
    return ExportTable(embedded.rows, embedded.vectors, layouts, neighbors=neighbors, device=session.device)
