"""The file of a query for people: the cells of the user's file with their labels and places."""

from collections.abc import Iterator, Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from refatlas import __version__
from refatlas.io.anndata_file import anndata_file, copy_counts, read_frame, write_facts, write_frame, write_spaces
from refatlas.io.atomic import read_json
from refatlas.io.count_file import CountFile
from refatlas.io.labels_csv import read_labels
from refatlas.io.model_counts import MatrixWriter
from refatlas.io.plain_columns import as_text_column, plain_table


def query_obs(own: pd.DataFrame, labels: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Return obs of a query, in the order of the user's file, and a note for each renamed column.

    The user's own columns come first; one that has the name of a column of labels.csv gets the
    prefix "original_".

    Args:
        own: the user's columns, indexed by barcode.
        labels: path of labels.csv; None where the reference has no labels.
    """
    if labels is None:
        return plain_table(own)
    found = read_labels(labels).reindex(own.index)
    for name in found.select_dtypes(object).columns:
        found[name] = as_text_column(found[name].replace("", None))
    obs, notes = plain_table(own, found.columns)
    return pd.concat([obs, found.set_axis(obs.index)], axis=1), notes


def query_facts(query: str, verdict: str | None, notes: list[str]) -> dict[str, str]:
    """Return what uns["refatlas"] says of a query.

    Args:
        verdict: path of verdict.json; None where the reference has no labels.
    """
    facts = {"version": __version__, "query": query, "notes": "; ".join(notes)}
    if verdict is None:
        return {**facts, "verdict": "not labelled"}
    found = read_json(verdict)
    return {**facts, "verdict": found["verdict"], "verdict_reason": found["reason"]}


def write_query_file(
    path: str,
    obs: pd.DataFrame,
    names: pd.Index,
    counts: str,
    genes_of: CountFile | None,
    spaces: Mapping[str, Any],
    facts: Mapping[str, str],
) -> int:
    """Write the h5ad of a query; return its number of genes.

    Args:
        path: of the h5ad.
        obs: of `query_obs`.
        names: of the cells in the models' tables, in the order of `obs`.
        counts: path of the query's counts.h5ad, of the selected genes.
        genes_of: the user's file, if all its genes are written.
        spaces: latents, umaps and shown, as of `write_spaces`.
        facts: of `query_facts`.
    """
    with anndata_file(path) as file:
        write_frame(file, "obs", obs)
        if genes_of is None:
            var = read_frame(counts, "var")
            copy_counts(file, counts)
        else:
            var = gene_table_of(genes_of)
            matrix = MatrixWriter(file, len(var), np.float32)
            for block in _whole_rows(genes_of):
                matrix.append(block)
            matrix.finish(len(obs))
        write_frame(file, "var", var)
        write_spaces(file, names, **spaces)
        write_facts(file, facts)
    return len(var)


def gene_table_of(file: CountFile) -> pd.DataFrame:
    """Return a file's genes with all their columns; names that occur twice get a number at their end."""
    var, _ = plain_table(file.genes)
    if var.index.has_duplicates:
        print("genes: names that occur twice have a number at their end")
        var.index = ad.utils.make_index_unique(var.index)
    return var


def _whole_rows(file: CountFile) -> Iterator[Any]:
    """Yield all counts of a file with the genes of each cell in order, and without stored zeros."""
    for _, block in file.blocks():
        block = block.astype(np.float32)
        block.sum_duplicates()
        block.eliminate_zeros()
        yield block
