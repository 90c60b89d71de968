"""The table of labels that every source writes (a label table).

It has one row per cell and source. Columns: cell; source ("knn", "logistic", "classifier" or
"tree"); label; confidence, the label's probability; and `p:LABEL`, the probability of each label.
Labels are of the finest level; coarser ones follow from `hierarchy`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def label_table(cells: pd.Index, source: str, names: Sequence[str], probabilities: np.ndarray) -> pd.DataFrame:
    """Return the labels of one source; of equally probable labels, the first is taken.

    Args:
        cells: names of the cells.
        source: name of the source.
        names: labels.
        probabilities: shape (n_cells, n_labels).
    """
    best = probabilities.argmax(axis=1)
    table = pd.DataFrame({"cell": np.asarray(cells, dtype=object), "source": source})
    table["label"] = np.asarray(names, dtype=object)[best]
    table["confidence"] = probabilities[np.arange(len(best)), best].astype(np.float64)
    shares = pd.DataFrame(probabilities.astype(np.float32), columns=[f"p:{name}" for name in names])
    return pd.concat([table, shares], axis=1)


def draw_evenly(groups: np.ndarray, max_cells: int, min_cells: int, seed: int) -> np.ndarray:
    """Return the positions of drawn cells in order, equally many of each group as far as it has them.

    Args:
        groups: group of each cell, an integer; cells with a negative one are not drawn.
        max_cells: most cells to draw.
        min_cells: least cells of a group, even if more than `max_cells` are then drawn.
        seed: seed of the draw.
    """
    sizes = np.bincount(groups[groups >= 0])
    limit = max((n for n in range(1, max_cells + 1) if np.minimum(sizes, n).sum() <= max_cells), default=1)
    if limit < min_cells:
        print(f"{max_cells} cells would be only {limit} per label; {min_cells} per label are drawn instead")
        limit = min_cells
    shuffled = pd.Series(groups[groups >= 0], index=np.flatnonzero(groups >= 0)).sample(frac=1, random_state=seed)
    return np.sort(shuffled.groupby(shuffled).head(limit).index.to_numpy())


def empty_table() -> pd.DataFrame:
    """Return a label table without rows, of a model without a classifier."""
    columns = {"cell": object, "source": object, "label": object, "confidence": np.float64}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def pick(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return label and confidence of one source, indexed by cell."""
    return table[table["source"] == source].set_index("cell")[["label", "confidence"]]


def probabilities(table: pd.DataFrame, source: str, names: Sequence[str]) -> pd.DataFrame:
    """Return the probabilities of the named labels by one source, cells × labels; 0 for labels it lacks."""
    rows = table[table["source"] == source].set_index("cell")
    return (
        rows.reindex(columns=[f"p:{name}" for name in names])
        .fillna(0.0)
        .astype(np.float64)
        .set_axis(list(names), axis=1)
    )


def labels_of_table(table: pd.DataFrame) -> list[str]:
    """Return the labels for which a label table has probabilities."""
    return [column.removeprefix("p:") for column in table.columns if column.startswith("p:")]
