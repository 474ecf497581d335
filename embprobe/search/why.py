"""Explain neighbours: which part of the query and of each neighbour makes an encoder call the two near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from embprobe.embeddings.occlusion import Occlusions, occlude_row, occlusion_map, random_vectors
from embprobe.embeddings.session import Session
from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Encoder, Floats
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.search.neighbors import ExplainedNeighbor, Neighborhood, query_vectors
from embprobe.system.text import visible

QUERIES, FIRST = 5, 3
"""Queries that are explained, at most, and nearest neighbours of each by each encoder."""


@dataclass(frozen=True)
class _Explaining:
    """An encoder with the store of the images, and what an explanation of all queries shares."""

    encoder: Encoder
    store: Store
    random: Floats
    session: Session
    notify: Callable[[str], None]
    done: Callable[[int], None]

    def occlusions(self, row: Row) -> Occlusions | None:
        """Encode a row's image with parts hidden; None, after a remark, if it cannot be read."""
        try:
            return occlude_row(row, self.encoder, self.store.spec.require_image_input(), device=self.session.device)
        except (UnreadableImage, OSError) as reason:
            self.notify(f"'{visible(row.key)}' cannot be read ({reason}) and is not explained")
            return None
        finally:
            self.done(1)


def explain_neighbors(
    neighborhoods: Sequence[Neighborhood],
    encoders: Sequence[Encoder],
    stores: Sequence[Store],
    session: Session,
    *,
    notify: Callable[[str], None] = lambda now: None,
) -> list[Neighborhood]:
    """Return the neighbourhoods, the first of them with maps of why their first neighbours are near.

    Of a query that is an image alone, the map holds how far its cosine with the neighbour falls when a block of it is
    hidden. A query with words, or a sum of images, has no map; its neighbours have theirs in any case.

    Args:
        neighborhoods: Queries and what was found; the first :data:`QUERIES` are explained.
        encoders: Those that found it; all of them take images.
        stores: The images that were searched, a store for each encoder: random ones give what chance is.
        session: Gives seed, device and progress.
        notify: Called with a remark on each image that cannot be read any more.

    Raises:
        EmbprobeError: An encoder's vectors of an image with a part hidden are not finite.
    """
    explained = neighborhoods[:QUERIES]
    count = sum(len(near[:FIRST]) + _alone(one) for one in explained for near in one.by_encoder.values())
    maps: list[dict[str, list[ExplainedNeighbor]]] = [{} for _ in explained]
    with session.progress("hiding parts", count) as progress:
        for encoder, store in zip(encoders, stores, strict=True):
            name = encoder.spec.name
            shown = {n.row.key for one in explained for n in one.by_encoder[name][:FIRST]}
            shown |= {one.query.row.key for one in explained if one.query.row is not None}
            random = random_vectors(store.vectors(), store.embedded().keys, without=shown, seed=session.seed)
            explaining = _Explaining(encoder, store, random, session, notify, progress or (lambda rows: None))
            vectors = query_vectors([one.query for one in explained], encoder, store)
            for one, vector, by_encoder in zip(explained, vectors, maps, strict=True):
                by_encoder[name] = _explain(one, vector[0], explaining)
    return [
        *(replace(one, why=by_encoder) for one, by_encoder in zip(explained, maps, strict=True)),
        *neighborhoods[len(explained) :],
    ]


def _explain(one: Neighborhood, vector: Floats, explaining: _Explaining) -> list[ExplainedNeighbor]:
    query = None
    if _alone(one) and one.query.row is not None:
        query = explaining.occlusions(one.query.row)
    found = []
    for neighbor in one.by_encoder[explaining.encoder.spec.name][:FIRST]:
        if (its := explaining.occlusions(neighbor.row)) is None:
            continue
        of_query = None if query is None else occlusion_map(query, its.vector, explaining.random)
        found.append(ExplainedNeighbor(neighbor, of_query, occlusion_map(its, vector, explaining.random)))
    return found


def _alone(one: Neighborhood) -> bool:
    """Return whether the query is an image without words or other images."""
    query = one.query
    return query.row is not None and not (query.has_text or query.minus_rows)
