"""What the models changed of a query's first labels, which come from the matched baseline alone."""

import pandas as pd

COMPARED = ["label", "status"]
FIRST = "first_"


def changed_cells(first: pd.DataFrame, final: pd.DataFrame) -> pd.DataFrame:
    """Return the cells whose label or status changed, in the order of `final`.

    Args:
        first: labels.csv of the first answer, indexed by cell.
        final: labels.csv of the whole run, indexed by cell.

    Returns:
        One row per cell: cell; first_label, first_status and first_confidence; label, status and
        confidence.

    Raises:
        ValueError: the two tables are not of the same cells.
    """
    if not first.index.equals(final.index):
        raise ValueError("the first labels and the final ones are not of the same cells in the same order")
    columns = [*COMPARED, "confidence"]
    changed = (first[COMPARED] != final[COMPARED]).any(axis=1)
    found = first.loc[changed, columns].add_prefix(FIRST).join(final.loc[changed, columns])
    return found.rename_axis("cell").reset_index()


def count_changes(cells: pd.DataFrame) -> pd.DataFrame:
    """Return how many cells changed from which label and status to which, the most frequent first.

    Args:
        cells: from `changed_cells`.

    Returns:
        Columns first_label, label, first_status, status, n_cells, and the mean first_confidence and
        confidence of these cells.
    """
    keys = [f"{FIRST}label", "label", f"{FIRST}status", "status"]
    means = {name: (name, "mean") for name in (f"{FIRST}confidence", "confidence")}
    found = cells.groupby(keys, as_index=False).agg(n_cells=("cell", "size"), **means)
    return found.sort_values(["n_cells", *keys], ascending=[False, *[True] * len(keys)]).round(6)


def summarize_changes(cells: pd.DataFrame, n_cells: int, n_shown: int = 3) -> str:
    """Return a line: how many labels the models changed, and the most frequent changes.

    Args:
        cells: from `changed_cells`.
        n_cells: number of the query's cells.
        n_shown: most changes to name.
    """
    labels = cells[cells[f"{FIRST}label"] != cells["label"]]
    counts = labels.groupby([f"{FIRST}label", "label"]).size().sort_values(ascending=False, kind="stable")
    text = f"the models changed the label of {len(labels)} of {n_cells} cells ({len(labels) / max(n_cells, 1):.1%})"
    shown = [f"{n} from {before} to {after}" for (before, after), n in counts.head(n_shown).items()]
    more = len(counts) - len(shown)
    listed = ", ".join(shown) + (f", and {more} other kinds of change" if more else "")
    status = f"; the status alone of {len(cells) - len(labels)} more" if len(cells) > len(labels) else ""
    return text + (f": {listed}" if shown else "") + status
