"""A contrast from the files of a run to its tables."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.differential.comparison import (
    Comparison,
    compare_labels,
    label_samples,
    query_labels,
    reference_labels,
)
from refatlas.differential.deseq import ALPHA, MIN_COUNTS
from refatlas.differential.gene_sets import MIN_GENES, gene_set_table
from refatlas.differential.participants import groups_of
from refatlas.differential.plan import of_contrast
from refatlas.differential.pseudobulk import CountedFile


class LabelledFile(NamedTuple):
    """A file of the sheets with the labels of its cells.

    Attributes:
        row: of the sheet.
        cells: indexed by cell, in the order of the file, with batch and keep.
        genes: its genes.parquet.
        labels: of the cells that may take part, indexed by cell; missing for others.
    """

    row: Mapping[str, Any]
    cells: pd.DataFrame
    genes: pd.DataFrame
    labels: pd.Series


def read_inputs(
    rows: Mapping[str, Mapping[str, Any]],
    datasets: Mapping[str, Mapping[str, str]],
    queries: Mapping[str, Mapping[str, str]],
    contrast: Mapping[str, Any],
) -> list[LabelledFile]:
    """Return the files of a contrast.

    Args:
        rows: of the sheets, of "datasets" and "queries".
        datasets: by name, paths of dataset_cells and dataset_genes.
        queries: by name, paths of query_cells, query_genes and query_labels.
        contrast: its settings.
    """
    found = []
    for name, paths in datasets.items():
        cells = pd.read_parquet(paths["dataset_cells"])
        genes = pd.read_parquet(paths["dataset_genes"])
        found.append(LabelledFile(rows["datasets"][name], cells, genes, reference_labels(cells)))
    for name, paths in queries.items():
        cells = pd.read_parquet(paths["query_cells"])
        labels = query_labels(paths["query_labels"], cells, contrast["status"])
        found.append(LabelledFile(rows["queries"][name], cells, pd.read_parquet(paths["query_genes"]), labels))
    return found


def read_planned(cells: str, design: str, contrast: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells and the samples of a contrast.

    Args:
        cells, design: paths of what plan_contrast wrote.
        contrast: its settings.
    """
    samples = pd.read_csv(design, dtype=str, keep_default_na=False)
    return pd.read_parquet(cells), samples.astype(dict.fromkeys(contrast["continuous"], float))


def compare(
    name: str,
    files: list[LabelledFile],
    cells: str,
    design: str,
    contrast: Mapping[str, Any],
    gene_sets: str | None,
    n_threads: int = 1,
) -> Comparison:
    """Return the results of a contrast.

    Args:
        name: of the contrast.
        files: of `read_inputs`.
        cells, design: paths of what plan_contrast wrote.
        contrast: its settings.
        gene_sets: path of a GMT file; None for no enrichment.
        n_threads: does not change results.

    Raises:
        InputError: see `label_samples` and `compare_labels`.
    """
    planned, samples = read_planned(cells, design, contrast)
    sets = gene_set_table(gene_sets) if gene_sets else None
    with of_contrast(name):
        table, numbers = label_samples(planned, pd.concat([file.labels for file in files]), samples, contrast)
        used = numbers.where(table["used"].to_numpy()[numbers], -1)
        counted = [
            CountedFile(f.row, f.cells, f.genes, used.reindex(f.cells.index, fill_value=-1).to_numpy(np.int64))
            for f in files
        ]
        taking_part = [file for file in counted if (file.samples >= 0).any()]
        return compare_labels(taking_part, table, contrast, sets, n_threads)


def summarize(name: str, contrast: Mapping[str, Any], notes: Mapping[str, Any], labels: pd.DataFrame) -> dict[str, Any]:
    """Return what summary.json says of a contrast.

    Args:
        notes: design.json. labels: of the comparison.
    """
    test, control = groups_of(contrast)
    return {
        "contrast": name,
        "condition": contrast["condition"],
        "test": test,
        "control": control,
        "sample": contrast["sample"],
        **notes,
        "limits": {"fdr": ALPHA, "min_counts": MIN_COUNTS, "min_cells": contrast["min_cells"], "min_set": MIN_GENES},
        "labels": labels.to_dict("records"),
    }
