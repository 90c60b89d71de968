"""Coarser levels that follow from a label."""

import numpy as np
import pandas as pd


def hierarchy(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the coarser labels of each label, indexed by label: label_2, …; of several parents the
    one with most cells, and a note is printed.

    Args:
        cells: of the reference, with label columns.
    """
    columns = sorted((c for c in cells.columns if c.startswith("label_")), key=lambda c: int(c.removeprefix("label_")))
    known = cells[cells["label"].notna()] if "label" in cells else cells.iloc[:0].assign(label=[])
    parents = pd.DataFrame(index=pd.Index(sorted(known["label"].unique()), name="label"))
    for column in columns:
        sizes = (
            known.groupby(["label", column]).size().sort_values(ascending=False, kind="stable").reset_index(name="n")
        )
        for label, part in sizes.groupby("label"):
            if len(part) > 1:
                print(
                    f"{column}: {label!r} stands under several: "
                    + ", ".join(f"{p} ({n} cells)" for p, n in zip(part[column], part["n"], strict=True))
                    + "; the first counts"
                )
        parents[column] = sizes.drop_duplicates("label").set_index("label")[column].reindex(parents.index)
    return parents


def coarser(shares: pd.DataFrame, labels: pd.Series, parents: pd.Series) -> pd.DataFrame:
    """Return label and confidence at a coarser level: the label's parent, and the sum of its
    children's probabilities, so that levels agree.

    Args:
        shares: probabilities, cells × labels. labels: of the same cells. parents: of each label.
    """
    sums = shares.T.groupby(parents.reindex(shares.columns)).sum().T
    found = labels.map(parents)
    places = sums.columns.get_indexer(found)
    confidence = (
        np.where(places >= 0, sums.to_numpy()[np.arange(len(sums)), places], np.nan) if sums.shape[1] else np.nan
    )
    return pd.DataFrame({"label": found, "confidence": confidence}, index=labels.index)
