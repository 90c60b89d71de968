"""The table of labels that every source writes.

A table has one row a cell and source. Columns: cell, source ("knn", "logistic", "classifier",
"tree"), label, confidence (the label's
probability), and one column `p:LABEL` for each label. Labels are of the finest level; coarser ones
follow from `hierarchy`.
"""

import numpy as np
import pandas as pd


def label_table(cells: pd.Index, source: str, names: list[str], probabilities: np.ndarray) -> pd.DataFrame:
    """Return one source's labels; `probabilities` has shape (n_cells, n_labels). The first of
    equally likely labels wins.
    """
    best = probabilities.argmax(axis=1)
    table = pd.DataFrame({"cell": np.asarray(cells, dtype=object), "source": source})
    table["label"] = np.asarray(names, dtype=object)[best]
    table["confidence"] = probabilities[np.arange(len(best)), best].astype(np.float64)
    shares = pd.DataFrame(probabilities.astype(np.float32), columns=[f"p:{name}" for name in names])
    return pd.concat([table, shares], axis=1)


def draw_evenly(groups: np.ndarray, max_cells: int, min_cells: int, seed: int) -> np.ndarray:
    """Return the places of cells drawn, in order: at most `max_cells`, as many of each group as
    long as it has any, but no fewer than `min_cells`.

    Args:
        groups: each cell's group, a whole number; cells of a negative one are not drawn.
    """
    sizes = np.bincount(groups[groups >= 0])
    limit = max((n for n in range(1, max_cells + 1) if np.minimum(sizes, n).sum() <= max_cells), default=1)
    if limit < min_cells:
        print(f"at most {max_cells} cells would leave {limit} of each label; {min_cells} are taken")
        limit = min_cells
    shuffled = pd.Series(groups[groups >= 0], index=np.flatnonzero(groups >= 0)).sample(frac=1, random_state=seed)
    return np.sort(shuffled.groupby(shuffled).head(limit).index.to_numpy())


def empty_table() -> pd.DataFrame:
    """Return a table without rows, of a model without a classifier."""
    columns = {"cell": object, "source": object, "label": object, "confidence": np.float64}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def pick(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return label and confidence of one source, indexed by cell."""
    return table[table["source"] == source].set_index("cell")[["label", "confidence"]]


def probabilities(table: pd.DataFrame, source: str, names: list[str]) -> pd.DataFrame:
    """Return one source's probabilities of the named labels, cells × labels; 0 for a label that it
    does not know.
    """
    rows = table[table["source"] == source].set_index("cell")
    return rows.reindex(columns=[f"p:{name}" for name in names]).fillna(0.0).astype(np.float64).set_axis(names, axis=1)


def names_of(table: pd.DataFrame) -> list[str]:
    """Return the labels that a table has probabilities of."""
    return [column.removeprefix("p:") for column in table.columns if column.startswith("p:")]
