"""What all kinds of evidence for names of clusters have in common: their table, and how sure they are."""

from collections.abc import Iterable, Mapping

import pandas as pd

HIGH, MODERATE, LOW = "high", "moderate", "low"
# Candidates of a cluster that are named, of each kind of evidence.
MAX_CANDIDATES = 5
COLUMNS = [
    *("resolution", "cluster", "evidence", "label", "score", "rank", "support", "against", "n", "margin", "sure"),
]


def suggestion_table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return suggestions as a table with COLUMNS, which may be empty.

    label is the candidate's name, score 0 to 1, rank 1 for the best of a kind of evidence, support
    and against are texts, n is the number of genes or cells that it is based on, margin how far its
    score is above the best other candidate's, and sure of the best candidate is HIGH, MODERATE or LOW.
    """
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"score": float, "rank": int, "n": int, "margin": float})
