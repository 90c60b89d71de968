"""Evidence on query cells: probabilities of labels by each source, novelty measures, agreement of labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.io.atomic import read_json
from refatlas.transfer.label_agreement import Agreement
from refatlas.transfer.label_table import labels_of_table, probabilities
from refatlas.transfer.novelty_scales import good_cells

# Paths of each model's results, by the kind of file.
ModelFiles = Mapping[str, Mapping[str, str]]
# Paths of the matched baseline's results: "labels", "measures" and "agreement" (see `query_match`).
MatchedFiles = Mapping[str, str]
# Model name of the sources of the matched baseline.
MATCHED = "matched"
# Model name of the baseline as it is (models.registry has the same, one layer above).
BASELINE = "linear"


@dataclass
class Evidence:
    """Evidence on the cells of one or several queries.

    Attributes:
        cells: names of the cells.
        labels: the reference's labels.
        sources: probabilities of the labels by each source ("model:source"), shape (n_cells,
            n_labels).
        measures: novelty measures, with given (the label by the matched baseline), batch, and kept (whether the cell
            is of good quality; without that column, all are).
        groups: batch of each cell, together with its split.
        agreement: measures of agreement of the labels of each group that is large enough.
    """

    cells: pd.Index
    labels: list[str]
    sources: dict[str, np.ndarray]
    measures: pd.DataFrame
    groups: np.ndarray
    agreement: dict[str, Agreement]

    def good(self, mask: np.ndarray) -> np.ndarray:
        """Return the mask of those of some cells that are of good quality; of all of them if none is."""
        good = mask & good_cells(self.measures)
        return good if good.any() else mask

    def votes(self, name: str) -> np.ndarray:
        """Return the mask of the cells for which a source has a vote, shape (n_cells,).

        Labels that were made elsewhere may be missing.
        """
        found: np.ndarray = self.sources[name].any(axis=1)
        return found

    def take(self, mask: np.ndarray) -> "Evidence":
        """Return the evidence on the cells where `mask` is true."""
        return Evidence(
            self.cells[mask],
            self.labels,
            {name: p[mask] for name, p in self.sources.items()},
            self.measures[mask],
            self.groups[mask],
            self.agreement,
        )


def as_models(external: Mapping[str, str] | None) -> dict[str, dict[str, str]]:
    """Return the files of labels that were made elsewhere as those of models, which have nothing but labels.

    Args:
        external: path of labels.parquet of each such source; None if there are none.
    """
    return {name: {"labels": path} for name, path in (external or {}).items()}


def read_evidence(
    split: str, batches: pd.Series, models: ModelFiles, matched: MatchedFiles, known: list[str]
) -> Evidence:
    """Return the evidence on the cells of one query.

    Args:
        split: name of the split whose reference the query was mapped onto.
        batches: batch of each cell, indexed by the cells' names.
        models: of each model, path of labels.parquet ("labels"). Their order is that of the sources.
        matched: paths of the matched baseline's files.
        known: labels of the reference.
    """
    sources, cells = {}, batches.index
    for model, path in {MATCHED: matched["labels"], **{m: files["labels"] for m, files in models.items()}}.items():
        table = pd.read_parquet(path)
        for source in table["source"].unique():
            sources[f"{model}:{source}"] = probabilities(table, source, known).loc[cells].to_numpy()
    groups = (f"{split} " + batches.astype(str)).to_numpy(dtype=str)
    found: dict[str, Agreement] = read_json(matched["agreement"])["agreement"]
    measures = pd.read_parquet(matched["measures"]).loc[cells]
    agreement = {f"{split} {batch}": values for batch, values in found.items() if batch}
    # A batch that is too small is judged by the whole query.
    agreement |= {name: found[""] for name in np.unique(groups) if name not in agreement and "" in found}
    return Evidence(cells, known, sources, measures.assign(batch=groups), groups, agreement)


def stack_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence on several queries as one; all have the same sources and labels."""
    first = parts[0]
    return Evidence(
        pd.Index(np.concatenate([part.cells for part in parts])),
        first.labels,
        {name: np.vstack([part.sources[name] for part in parts]) for name in first.sources},
        pd.concat([part.measures for part in parts]),
        np.concatenate([part.groups for part in parts]),
        {name: values for part in parts for name, values in part.agreement.items()},
    )


def known_labels(paths: Iterable[str]) -> list[str]:
    """Return all labels for which any of these labels.parquet has probabilities, sorted."""
    import pyarrow.parquet as pq

    columns = [pd.DataFrame(columns=pq.read_schema(path).names) for path in paths]
    return sorted({label for table in columns for label in labels_of_table(table)})
