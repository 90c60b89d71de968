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


def parent_groups(labels: list[str], parents: pd.Series) -> tuple[list[str | None], np.ndarray]:
    """Return the names of the parents, and the position of each label's parent in them.

    A label without a parent is a group of its own, named None.

    Args:
        labels: the labels.
        parents: parent of each label; missing for a label without one.
    """
    found = parents.reindex(labels)
    known = sorted({str(parent) for parent in found.dropna()})
    names: list[str | None] = [*known]
    places = {name: i for i, name in enumerate(known)}
    codes = []
    for parent in found:
        if pd.isna(parent):
            names.append(None)
            codes.append(len(names) - 1)
        else:
            codes.append(places[str(parent)])
    return names, np.array(codes)


def parent_sums(p: np.ndarray, codes: np.ndarray, n_parents: int) -> np.ndarray:
    """Return the probability of each parent, the sum over its labels, shape (n_cells, n_parents)."""
    found = np.zeros((len(p), n_parents))
    for code in range(n_parents):
        found[:, code] = p[:, codes == code].sum(axis=1)
    return found


def coarser(shares: pd.DataFrame, parents: pd.Series) -> pd.DataFrame:
    """Return the likeliest parent of each cell and its probability; the label is missing for a group without a name,
    and for a cell without probabilities.

    Args:
        shares: probabilities, cells × labels.
        parents: parent of each label; missing for a label without one.
    """
    names, codes = parent_groups(list(shares.columns), parents)
    sums = parent_sums(shares.to_numpy(), codes, len(names))
    best = sums.argmax(axis=1)
    label = np.array(names, dtype=object)[best]
    # A label that was made elsewhere may be missing: then all probabilities are 0.
    label[sums.max(axis=1) == 0] = None
    confidence = np.where([name is not None for name in label], sums.max(axis=1), np.nan)
    return pd.DataFrame({"label": label, "confidence": confidence}, index=shares.index)
