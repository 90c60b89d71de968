"""Former symbols of human genes, and the symbols that replaced them."""

from functools import cache
from pathlib import Path

import pandas as pd

from refatlas.errors import listed

TABLE = Path(__file__).with_name("hgnc_previous_symbols.tsv")


@cache
def previous_symbols() -> pd.Series:
    """Return today's symbol of each former one, indexed by it.

    Source: HGNC, see the head of the table. Left out are former symbols of two genes, and those
    that are another gene's symbol today.
    """
    table = pd.read_csv(TABLE, sep="\t", comment="#", dtype=str, keep_default_na=False)
    return table.drop_duplicates("previous").set_index("previous")["symbol"]


def current_symbols(symbols: pd.Series) -> pd.Series:
    """Return symbols with the former ones replaced, where a file has not got today's symbol itself.

    Args:
        symbols: of one file's genes, missing where there is none.
    """
    today = symbols.map(previous_symbols())
    fits = today.notna() & ~today.isin(symbols.dropna()) & ~today.duplicated(keep=False)
    return symbols.where(~fits, today)


def replacement_note(before: pd.Series, after: pd.Series) -> str | None:
    """Return a note on the symbols that `current_symbols` replaced, None if there are none."""
    changed = (before != after) & after.notna()
    if not changed.any():
        return None
    pairs = listed((f"{old} is {new}" for old, new in zip(before[changed], after[changed], strict=True)), 3)
    return f"genes: {int(changed.sum())} former symbols replaced by today's, by HGNC's table ({pairs})"
