"""Rows as a pandas data frame, where pandas is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embprobe.errors import EmbprobeError

if TYPE_CHECKING:
    import pandas as pd


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a data frame with these columns.

    Raises:
        EmbprobeError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise EmbprobeError("A data frame needs pandas: pip install pandas.") from None
    frame: pd.DataFrame = pd.DataFrame(list(rows), columns=list(columns))
    return frame
