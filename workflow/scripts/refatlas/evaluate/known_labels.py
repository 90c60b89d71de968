"""Whether the known labels of a query and the labels of the reference are the same words."""

import pandas as pd

from refatlas.errors import InputError, listed


def compare_labels(query: str, labels: pd.Series, reference: pd.DataFrame, files: list[str]) -> dict[str, list[str]]:
    """Return which labels of a query the reference has ("known"), and which it has not ("unknown").

    Args:
        query: its name. labels: known labels of its cells.
        reference: cells of the reference, with label and keep.
        files: that give the reference's labels, for the message.

    Raises:
        InputError: it has none of them, so that every label would count as wrong.
    """
    own = sorted(labels.dropna().unique())
    names = set(reference.loc[reference["keep"], "label"].dropna().unique())
    known = [label for label in own if label in names]
    if not known:
        raise InputError(
            f"query {query!r}: its known labels ({listed(own, 10)}) have no name in common with the labels of the"
            f" reference ({listed(sorted(names), 10)}), which {listed(files)} give; use the same names, or leave"
            " label_key of the query empty"
        )
    return {"known": known, "unknown": [label for label in own if label not in names]}
