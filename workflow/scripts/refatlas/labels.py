"""The table of labels that every source writes, and the coarser levels that follow from a label.

A table has one row a cell and source. Columns: cell, source ("knn", "logistic", "classifier", "tree"), label, confidence (the label's
probability), and one column `p:LABEL` for each label. Labels are of the finest level; coarser ones follow from `hierarchy`.
"""

import unicodedata

import numpy as np
import pandas as pd

# Between the labels of a prediction set.
SEPARATOR = " | "


def as_text(value) -> str:
    """Return a batch, label or symbol as text: whole numbers stored as floats lose their ".0", and é is one character, however it was typed (Unicode's NFC)."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else unicodedata.normalize("NFC", str(value))


def label_column(level: int) -> str:
    """Return the name of a label level's column: label, label_2, …; 1 is the finest."""
    return "label" if level == 1 else f"label_{level}"


def label_table(cells: pd.Index, source: str, names: list[str], probabilities: np.ndarray) -> pd.DataFrame:
    """Return one source's labels; `probabilities` has shape (n_cells, n_labels). The first of equally likely labels wins."""
    best = probabilities.argmax(axis=1)
    table = pd.DataFrame({"cell": np.asarray(cells, dtype=object), "source": source})
    table["label"] = np.asarray(names, dtype=object)[best]
    table["confidence"] = probabilities[np.arange(len(best)), best].astype(np.float64)
    shares = pd.DataFrame(probabilities.astype(np.float32), columns=[f"p:{name}" for name in names])
    return pd.concat([table, shares], axis=1)


def draw_evenly(groups: np.ndarray, max_cells: int, min_cells: int, seed: int) -> np.ndarray:
    """Return the places of cells drawn, in order: at most `max_cells`, as many of each group as long as it has any, but no fewer than `min_cells`.

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
    """Return one source's probabilities of the named labels, cells × labels; 0 for a label that it does not know."""
    rows = table[table["source"] == source].set_index("cell")
    return rows.reindex(columns=[f"p:{name}" for name in names]).fillna(0.0).astype(np.float64).set_axis(names, axis=1)


def names_of(table: pd.DataFrame) -> list[str]:
    """Return the labels that a table has probabilities of."""
    return [column.removeprefix("p:") for column in table.columns if column.startswith("p:")]


def hierarchy(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the coarser labels of each label, indexed by label: label_2, …; of several parents the one with most cells, and a note is printed.

    Args:
        cells: of the reference, with label columns.
    """
    columns = sorted((c for c in cells.columns if c.startswith("label_")), key=lambda c: int(c.removeprefix("label_")))
    known = cells[cells["label"].notna()] if "label" in cells else cells.iloc[:0].assign(label=[])
    parents = pd.DataFrame(index=pd.Index(sorted(known["label"].unique()), name="label"))
    for column in columns:
        sizes = known.groupby(["label", column]).size().sort_values(ascending=False, kind="stable").reset_index(name="n")
        for label, part in sizes.groupby("label"):
            if len(part) > 1:
                print(f"{column}: {label!r} stands under several: " + ", ".join(f"{p} ({n} cells)" for p, n in zip(part[column], part["n"], strict=True)) + "; the first counts")
        parents[column] = sizes.drop_duplicates("label").set_index("label")[column].reindex(parents.index)
    return parents


def coarser(shares: pd.DataFrame, labels: pd.Series, parents: pd.Series) -> pd.DataFrame:
    """Return label and confidence at a coarser level: the label's parent, and the sum of its children's probabilities, so that levels agree.

    Args:
        shares: probabilities, cells × labels. labels: of the same cells. parents: of each label.
    """
    sums = shares.T.groupby(parents.reindex(shares.columns)).sum().T
    found = labels.map(parents)
    places = sums.columns.get_indexer(found)
    confidence = np.where(places >= 0, sums.to_numpy()[np.arange(len(sums)), places], np.nan) if sums.shape[1] else np.nan
    return pd.DataFrame({"label": found, "confidence": confidence}, index=labels.index)
