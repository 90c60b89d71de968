"""Tables of several models, queries or folds as one."""

from collections.abc import Iterable

import pandas as pd

from refatlas.io.atomic import read_csv


def stack_tables(paths: Iterable[str]) -> pd.DataFrame:
    """Return the rows of all csv tables, in order; a table without rows adds none.

    If no table has rows, the result has the columns of the first one.
    """
    tables = [read_csv(path) for path in paths]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
