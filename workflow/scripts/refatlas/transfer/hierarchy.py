"""Coarser labels that follow from the finest label."""

import numpy as np
import pandas as pd


def hierarchy(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the coarser labels of each label, with columns label_2, label_3, …, indexed by label.

    Of several parents, the one with most cells is taken, and a note is printed.

    Args:
        cells: of the reference, with label columns.
    """
    columns = sorted((c for c in cells.columns if c.startswith("label_")), key=lambda c: int(c.removeprefix("label_")))
    known = cells[cells["label"].notna()] if "label" in cells else cells.iloc[:0].assign(label=[])
    parents = pd.DataFrame(index=pd.Index(sorted(known["label"].unique()), name="label"))
    for column in columns:
        pairs = known.groupby(["label", column]).size().sort_values(ascending=False, kind="stable")
        sizes = pairs.reset_index(name="n")
        for label, part in sizes.groupby("label"):
            if len(part) > 1:
                found = ", ".join(f"{p} ({n} cells)" for p, n in zip(part[column], part["n"], strict=True))
                print(f"{column}: {label!r} has several parents: {found}; the first is taken")
        parents[column] = sizes.drop_duplicates("label").set_index("label")[column].reindex(parents.index)
    return parents


def coarser(shares: pd.DataFrame, labels: pd.Series, parents: pd.Series) -> pd.DataFrame:
    """Return label and confidence of each cell at a coarser level.

    The label is the parent of the cell's label, so that levels agree. Its confidence is the sum of
    the probabilities of the parent's children.

    Args:
        shares: probabilities, cells × labels.
        labels: label of each cell.
        parents: parent of each label; missing for a label without one.
    """
    sums = shares.T.groupby(parents.reindex(shares.columns)).sum().T
    found = labels.map(parents)
    columns = sums.columns.get_indexer(pd.Index(found))
    has_parent = columns >= 0
    confidence = np.full(len(labels), np.nan)
    confidence[has_parent] = sums.to_numpy()[has_parent, columns[has_parent]]
    return pd.DataFrame({"label": found, "confidence": confidence}, index=labels.index)
