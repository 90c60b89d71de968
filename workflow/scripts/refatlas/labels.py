"""The table of labels that every source writes: one row a cell, source and level, with the probability of each label.

Columns: cell, source ("knn", "classifier"), level (1 is the finest), label, confidence (the label's probability), and one column
`p:LABEL` for each label, missing where the label is of another level.
"""

import numpy as np
import pandas as pd

COLUMNS = ["cell", "source", "level", "label", "confidence"]


def label_table(cells: pd.Index, source: str, level: int, names: list[str], probabilities: np.ndarray) -> pd.DataFrame:
    """Return one source's labels at one level; `probabilities` has shape (n_cells, n_labels). The first of equally likely labels wins."""
    best = probabilities.argmax(axis=1)
    table = pd.DataFrame({"cell": np.asarray(cells, dtype=object), "source": source, "level": level})
    table["label"] = np.asarray(names, dtype=object)[best]
    table["confidence"] = probabilities[np.arange(len(best)), best].astype(np.float64)
    shares = pd.DataFrame(probabilities.astype(np.float32), columns=[f"p:{name}" for name in names])
    return pd.concat([table, shares], axis=1)


def empty_table() -> pd.DataFrame:
    """Return a table without rows, of a model without a classifier."""
    return pd.DataFrame(
        {
            "cell": pd.Series(dtype=object),
            "source": pd.Series(dtype=object),
            "level": pd.Series(dtype=np.int64),
            "label": pd.Series(dtype=object),
            "confidence": pd.Series(dtype=np.float64),
        }
    )


def pick(table: pd.DataFrame, source: str, level: int) -> pd.DataFrame:
    """Return label and confidence of one source at one level, indexed by cell."""
    rows = table[(table["source"] == source) & (table["level"] == level)]
    return rows.set_index("cell")[["label", "confidence"]]
