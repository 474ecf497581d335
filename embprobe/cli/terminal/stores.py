"""What was extracted, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from embprobe.cli.terminal.console import note
from embprobe.embeddings.store import Store
from embprobe.embeddings.verify import Checked
from embprobe.system.text import visible

_LISTED = 10


def print_stores(stores: Sequence[Store], seconds: Mapping[str, float]) -> None:
    """What was extracted, where it lies, where the time went, and what could not be read."""
    for store in stores:
        fresh = f"{store.written:,} encoded now" if store.written else "already there"
        name, folder = visible(store.spec.name), visible(str(store.folder))
        note(f"{name}: {len(store.embedded()):,} x {store.spec.dimension}, {fresh}, in {folder}")
    if (total := sum(seconds.values())) > 0:
        shares = ", ".join(f"{stage} {taken / total:.0%}" for stage, taken in seconds.items())
        note(f"Where the time went: {shares}.")
    rejections()(stores)


def rejections() -> Callable[[Sequence[Store]], None]:
    """What to call with the stores of the same images: says of each image once that it could not be read."""
    told: set[str] = set()

    def notify(stores: Sequence[Store]) -> None:
        unread = {row.key: row.reason for store in stores for row in store.rejected if row.key not in told}
        told.update(unread)
        if unread:
            note(f"{len(unread):,} of {len(stores[0].images):,} images could not be read and were left out:")
        for key, reason in list(unread.items())[:_LISTED]:
            note(f"  '{visible(key)}': {visible(reason)}")
        if len(unread) > _LISTED:
            note(f"  and {len(unread) - _LISTED:,} more, all in {stores[0].folder / 'rejected.jsonl'}")

    return notify


def print_checked(checked: Sequence[Checked], root: Path, *, repaired: bool = False) -> None:
    """A line for each store, and its problems under it."""
    for store in checked:
        state = (
            f"{len(store.problems)} damaged" if store.problems else "whole" if store.complete else "whole, unfinished"
        )
        what = f"{visible(store.encoder)} x {visible(store.images)}, " if store.encoder else ""
        folder = visible(str(store.folder.relative_to(root)))
        note(f"{state}: {what}{_shards(store.shards)}, {store.bytes / 1e6:,.1f} MB, {folder}")
        for problem in store.problems[:_LISTED]:
            note(f"  {visible(problem)}")
        if len(store.problems) > _LISTED:
            note(f"  and {len(store.problems) - _LISTED:,} more")
    if not checked:
        note("There are no stores yet.")
    if any(store.damaged for store in checked):
        when = "The" if repaired else "With --repair the"
        note(f"{when} next extract makes the damaged shards again, and only those.")


def _shards(count: int) -> str:
    return f"{count:,} shard{'' if count == 1 else 's'}"
