"""The cells that the report shows as an embedding to explore: of the reference, and of a query over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.io.cell_tables import label_columns
from refatlas.io.plain_columns import plain_names
from refatlas.prepare.normalization import log_normalized
from refatlas.report.explorer import Column, ExplorerData, stratified_sample

# Cells whose genes are in a page: they are most of its bytes.
GENE_CELLS = {"reference": 5_000, "query": 20_000}
# Steps from 0 to the largest value of a gene: a colour says no more, and a third of the bytes is saved.
STEPS = 32
# Text columns of the user's with more values than these say nothing as colours.
MAX_CATEGORIES = 200
# Whole numbers with no more values than these are names, such as those of clusters or donors.
MAX_CODES = 20
# The first of a file's columns that are shown, in this order.
FIRST = ("status", "confidence", "novelty", "batch_verdict", "set_label")


@dataclass(frozen=True)
class CellGenes:
    """Counts of some of the cells of a page.

    Attributes:
        counts: shape (n_cells, n_genes).
        cells: their names.
        names: of the genes.
    """

    counts: Any
    cells: pd.Index
    names: Sequence[str]


def read_genes(path: str, measured: bool = False) -> CellGenes:
    """Return the counts of a counts.h5ad.

    Args:
        path: of the counts.
        measured: whether to leave out genes that the file has not measured.
    """
    found = ad.read_h5ad(path)
    if measured:
        found = found[:, found.var["measured"].to_numpy()]
    symbols: pd.Series = found.var["symbol"]
    return CellGenes(found.X, found.obs_names, [str(name) for name in symbols])


def reference_explorer(cells: pd.DataFrame, models: Sequence[str], n_cells: int, genes: CellGenes) -> ExplorerData:
    """Return the explorer of the reference.

    Args:
        cells: shown.parquet.
        models: names of the models.
        n_cells: of the whole reference.
        genes: of some of its cells.
    """
    names = [*label_columns(cells), "dataset", "batch", *(name for name in cells if name.startswith("cluster "))]
    columns = [Column(name, "category", cells[name]) for name in names]
    return ExplorerData(
        cells=list(cells.index),
        is_query=np.zeros(len(cells), dtype=bool),
        places=places_of(cells, models),
        columns=columns,
        genes=expression(genes, cells.index, GENE_CELLS["reference"]),
        gene_names=genes.names,
        note=sample_note(len(cells), n_cells, "the reference"),
        file_name="reference_cells",
    )


def places_of(cells: pd.DataFrame, models: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the places of cells by model, from a table with columns "umap_1 {model}" and "umap_2 {model}"."""
    return {model: cells[[f"umap_1 {model}", f"umap_2 {model}"]].to_numpy() for model in models}


def sample_note(shown: int, total: int, whole: str) -> str:
    """Return a sentence that says that a page shows a sample; "" if it shows all."""
    if shown == total:
        return ""
    return f"{shown:,} of the {total:,} cells of {whole} are shown: a sample that keeps cells of every label."


def expression(genes: CellGenes, cells: pd.Index, most: int) -> sparse.csr_matrix:
    """Return log-normalised expression of a page's cells, shape (n_cells, n_genes); rows of others are empty.

    Args:
        genes: counts of some cells.
        cells: of the page.
        most: cells that have genes at most, drawn at random.
    """
    rows = cells.get_indexer(genes.cells)
    known = np.flatnonzero(rows >= 0)
    known = np.sort(np.random.default_rng(0).permutation(known)[:most])
    values = in_steps(log_normalized(sparse.csr_matrix(genes.counts)[known]))
    place = sparse.csr_matrix(
        (np.ones(len(known), dtype=np.float32), (rows[known], np.arange(len(known)))), (len(cells), len(known))
    )
    return sparse.csr_matrix(place @ values)


def in_steps(values: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return expression rounded to STEPS equal steps of each gene's largest value; what is not zero stays so."""
    if not values.nnz:
        return values
    largest = values.max(axis=0).toarray().ravel()[values.indices]
    rounded = np.maximum(np.rint(values.data / largest * STEPS), 1) * largest / STEPS
    return sparse.csr_matrix((rounded.astype(np.float32), values.indices, values.indptr), shape=values.shape)


@dataclass(frozen=True)
class QueryCells:
    """The cells of a query's file.

    Attributes:
        obs: its columns, in the order of the user's file.
        names: of the cells in the workflow, in the same order.
        places: UMAP by model, shape (n_cells, 2), NaN where there is none.
        own: the columns that are the user's.
    """

    obs: pd.DataFrame
    names: pd.Index
    places: dict[str, np.ndarray]
    own: list[str]


def read_query_cells(path: str, names: pd.Index, models: Sequence[str], ours: Sequence[str]) -> QueryCells:
    """Return the cells of a query's h5ad.

    Args:
        path: of the h5ad.
        names: of its cells in the workflow, in its order.
        models: names of the models.
        ours: names of the columns that are not the user's.
    """
    with h5py.File(path, "r") as file:
        obs: Any = ad.io.read_elem(file["obs"])
        places = {model: np.asarray(file[f"obsm/X_umap_{model}"][:]) for model in models}
    return QueryCells(obs, names, places, [str(name) for name in obs if name not in ours])


def query_explorer(
    query: QueryCells,
    background: pd.DataFrame,
    presence: np.ndarray | None,
    genes: CellGenes,
    settings: Mapping[str, Any],
    name: str,
) -> ExplorerData:
    """Return the explorer of a query over the reference.

    Args:
        query: its cells.
        background: background.parquet, the cells of the reference that are shown.
        presence: of these, shape (n_background,).
        genes: counts of the query.
        settings: the config's `report`.
        name: of the query.
    """
    models, n = list(query.places), len(background)
    labels = query.obs["label"] if "label" in query.obs else pd.Series("", index=query.obs.index)
    rows = stratified_sample(labels.reset_index(drop=True), settings["max_cells"], 0)
    obs, names = query.obs.iloc[rows], query.names[rows]
    under = places_of(background, models)
    wanted, missing = wanted_columns(settings["columns"], query)
    columns, left_out = query_columns(obs, query.own, wanted)
    columns = [_under(column, n) for column in columns]
    levels = [name for name in label_columns(background) if name in obs and name not in query.own]
    columns = [*(label_column_of(name, background[name], obs[name]) for name in levels), *columns]
    if presence is not None:
        columns.append(_over("presence", presence, len(obs)))
    return ExplorerData(
        cells=[*background.index, *obs.index],
        is_query=np.arange(n + len(obs)) >= n,
        places={model: np.vstack([under[model], query.places[model][rows]]) for model in models},
        columns=columns,
        genes=expression(genes, background.index.append(names), GENE_CELLS["query"]),
        gene_names=genes.names,
        note=" ".join(
            filter(None, [sample_note(len(obs), len(query.obs), "the query"), columns_note(left_out, missing)])
        ),
        file_name=f"{name}_cells",
    )


def wanted_columns(wanted: str | Sequence[str], query: QueryCells) -> tuple[list[str], list[str]]:
    """Return the user's columns that are to be colours, as the query's file names them, and those that it lacks.

    A user knows a column by its name in the file that was given, such as "label", which is "original_label" now.

    Args:
        wanted: the config's `report.columns`: "all", or names of the user's columns.
    """
    if isinstance(wanted, str):
        return list(query.own), []
    ours = [str(name) for name in query.obs if name not in query.own]
    names = {name: name if name in query.own else plain_names([name], ours)[name] for name in wanted}
    found = [new for new in names.values() if new in query.own]
    return found, [name for name, new in names.items() if new not in query.own]


def label_column_of(name: str, reference: pd.Series, query: pd.Series) -> Column:
    """Return a label level of the reference's cells and then of the query's.

    Labels of the reference come first, all of them and in its order, so that a label has the same colour in every page.
    """
    labels = pd.Index(reference.astype("category").cat.categories)
    given = pd.Index(sorted(set(query.dropna().astype(str)) - set(labels)))
    values = [*reference.astype(object), *query.astype(object)]
    return Column(name, "category", pd.Series(pd.Categorical(values, labels.append(given))))


def columns_note(left_out: Sequence[str], missing: Sequence[str]) -> str:
    """Return sentences on columns that are no colours; "" if all are.

    Args:
        left_out: columns of the file. missing: columns that `report.columns` names and the file lacks.
    """
    found = []
    if left_out:
        unfit = f"no values, or more than {MAX_CATEGORIES} different ones"
        found.append(f"Cannot be used for colouring: {', '.join(left_out)} ({unfit}).")
    if missing:
        found.append(f"The file has no column {', '.join(missing)}, which report.columns names.")
    return " ".join(found)


def query_columns(obs: pd.DataFrame, own: Sequence[str], wanted: Sequence[str]) -> tuple[list[Column], list[str]]:
    """Return the columns of a query's file that are colours beside its labels, ours first, and those that cannot be.

    Args:
        obs: of the file.
        own: names of the user's columns.
        wanted: those of the user's columns that are to be colours.
    """
    ours = [name for name in FIRST if name in obs and name not in own]
    theirs = [name for name in own if name in wanted]
    found = {name: as_column(name, obs[name]) for name in [*ours, *theirs]}
    return [column for column in found.values() if column], [name for name in theirs if found[name] is None]


def as_column(name: str, values: pd.Series) -> Column | None:
    """Return a column of a table as a colour; None if it has too many values, or none."""
    if values.isna().all():
        return None
    codes = pd.api.types.is_integer_dtype(values) and values.nunique() <= MAX_CODES
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and not codes:
        return Column(name, "number", values.astype(float))
    text = values.astype(object).where(values.notna(), None).map(lambda x: None if x is None else str(x))
    return Column(name, "category", text) if text.nunique() <= MAX_CATEGORIES else None


def _under(column: Column, n: int) -> Column:
    """Return a column of the query with missing values for the reference's cells, which come first."""
    missing = pd.Series([None] * n, dtype=object) if column.kind == "category" else pd.Series(np.full(n, np.nan))
    values = pd.concat([missing, pd.Series(column.values)], ignore_index=True)
    return Column(column.name, column.kind, values, column.group)


def _over(name: str, values: np.ndarray, n: int) -> Column:
    """Return numbers of the reference's cells with missing values for the query's."""
    return Column(name, "number", pd.Series(np.append(values, np.full(n, np.nan))), "reference")
