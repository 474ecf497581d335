"""Choose an approximate index by rows, dimension and memory, as autofaiss does: whole vectors in cells, or codes.

Both put rows into cells around centres (FAISS's ``IVF``) and search some cells. ``IVF,Flat`` keeps the vectors in them;
where these take too much memory, ``IVF,PQ`` keeps codes of 1 to 96 bytes by product quantization (Jégou et al. 2011).
Either proposes candidates, which are ordered by their vectors in the store. Two of autofaiss's choices are left out,
because trials on clustered random vectors did not speak for them: HNSW took about twenty times as long to build and
saved a fraction of a millisecond a search (benchmarks/indexes.py); a rotation before the codes (OPQ) took three times
as long to train with FAISS's own training, and twice the candidates gave more. Embeddings, whose dimensions are
correlated, may gain more by a rotation than random vectors do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from embprobe.errors import UsageError
from embprobe.system.memory import available_memory, format_memory, parse_memory

DEFAULT_MOST = 1_500_000_000
"""The largest limit that is taken where none is given: with one block, a million rows stay under 2 GB."""
_SHARE = 4
"""The part of the available memory that an index may take where no limit is given: a fourth."""
_CELLS = 65_536
"""The most cells: placing more takes longer than searching larger ones."""
_TRAINED, _LEAST_TRAINED = 64, 16
"""Rows for each cell that k-means places the cells by, and as few as still place them well."""
_CODES = (96, 64, 48, 32, 24, 16, 12, 8, 4, 2, 1)
"""Bytes of a code. FAISS can search these on a GPU."""
_PARTS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32)
"""Dimensions that a byte of a code may stand for: FAISS can search these on a GPU, and more say too little."""
_ID = 8
"""Bytes of a row's number."""
_SLACK = 1.25
"""Memory of growing lists for each byte in them."""


@dataclass(frozen=True)
class Choice:
    """An index to build."""

    rows: int
    width: int
    """Dimension of the vectors in the index: zeros are added where the bytes of a code could not share them equally."""
    cells: int
    code: int
    """Bytes of a row's code; 0 where the index holds the vectors."""

    @property
    def key(self) -> str:
        """The name by which FAISS's ``index_factory`` makes it."""
        return f"IVF{self.cells},PQ{self.code}x8" if self.code else f"IVF{self.cells},Flat"

    @property
    def memory(self) -> int:
        """The most bytes that the index takes, without the rows that it is trained on."""
        centres = 2 * 4 * self.cells * self.width
        return int(_SLACK * self.rows * ((self.code or 4 * self.width) + _ID)) + centres

    @property
    def least_memory(self) -> int:
        """The fewest bytes that building it takes."""
        return self.memory + _LEAST_TRAINED * self.cells * 4 * self.width

    def trained_rows(self, memory: int) -> int:
        """Return the number of rows to train on beside the index in so many bytes."""
        wanted, least = _TRAINED * self.cells, _LEAST_TRAINED * self.cells
        room = (memory - self.memory) // (4 * self.width)
        return min(self.rows, max(least, min(wanted, room)))


def choose_index(rows: int, dimension: int, memory: int) -> Choice:
    """Choose the index that holds most of the vectors within a limit of memory, in bytes.

    Raises:
        UsageError: None can be built in so little; the message names the least.

    Example:
        >>> choose_index(1_000_000, 768, 8 * 10**9).key, choose_index(1_000_000, 768, 10**9).key
        ('IVF1000,Flat', 'IVF1000,PQ96x8')
    """
    choices = _choices(rows, dimension)
    for choice in choices:
        if choice.least_memory <= memory:
            return choice
    raise UsageError(
        f"No index of {rows:,} vectors of {dimension:,} numbers fits {format_memory(memory)}. The least that works is "
        f"--index-memory {format_memory(choices[-1].least_memory)}; --exact searches without an index, in any memory."
    )


def memory_limit(given: int | str | None) -> int:
    """Return the bytes that an index may take: as given (``"2GB"``), or a fourth of what is available, at most 1.5 GB.

    Raises:
        UsageError: The size is none.
    """
    if given is None:
        return min(DEFAULT_MOST, available_memory() // _SHARE)
    if isinstance(given, str):
        return parse_memory(given)
    if given <= 0:
        raise UsageError(f"The memory of an index must be above 0 bytes, not {given}.")
    return given


def _choices(rows: int, dimension: int) -> list[Choice]:
    """List all indices of these vectors, the largest first."""
    cells = min(_CELLS, max(1, isqrt(rows)))
    choices = [Choice(rows, dimension, cells, 0)]
    for code in _CODES:
        part = next((part for part in _PARTS if part * code >= dimension), None)
        if part is not None and (code == 1 or 2 * code <= dimension):
            choices.append(Choice(rows, part * code, cells, code))
    if len(choices) == 1:  # more dimensions than any byte here may stand for: FAISS searches these on the CPU alone
        choices.append(Choice(rows, -(-dimension // _CODES[0]) * _CODES[0], cells, _CODES[0]))
    return choices
