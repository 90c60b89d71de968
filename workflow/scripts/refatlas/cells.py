"""Tables of cells, cells.parquet, as other jobs wrote them: light to import."""

import pandas as pd


def read_cells(paths: list[str]) -> pd.DataFrame:
    """Return the cells of several datasets as one table; a label level that a dataset lacks is missing there."""
    return pd.concat([pd.read_parquet(path) for path in paths])


def training_cells(cells: pd.DataFrame, fold: str | None) -> pd.DataFrame:
    """Return a dataset's cells with only those kept that a fold trains on (fold.parquet); without a fold, as they are."""
    if fold is None:
        return cells
    roles = pd.read_parquet(fold)["role"]
    return cells.assign(keep=cells["keep"] & cells.index.isin(roles.index[roles == "train"]))
