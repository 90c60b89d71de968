"""Marker genes of groups of cells, over all genes of the users' files, streamed.

Wilcoxon's rank-sum test of each group against all other cells, as in scanpy's
rank_genes_groups(method="wilcoxon", tie_correct=True) on log-normalised counts. Beside it the same
test within batches, combined with the weights of van Elteren (1960), so that a gene that only
differs between batches is no marker.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import NamedTuple

import numpy as np
import pandas as pd

from refatlas.annotate.cell_parts import Grouping, Parts, split_cells
from refatlas.annotate.gene_values import GeneValues, gene_ranges
from refatlas.annotate.marker_table import marker_table
from refatlas.annotate.rank_sums import STATISTICS, compare_groups, rank_values
from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text, read_cells
from refatlas.prepare.genes import match_genes, merge_genes
from refatlas.prepare.variable_genes import DatasetStream

TARGET_SUM = 1e4
# Memory beside the counts of genes: packages and blocks, and per cell its names and groups.
FIXED_MB, BYTES_PER_CELL = 600, 500
# With less memory for counts, files would be read too often.
LEAST_VALUES_MB = 64
# Genes that a thread takes at once.
GENES_AT_ONCE = 16
CELL_COLUMNS = ["batch", "keep", "total_counts"]
REST = ""


class MarkerDataset(NamedTuple):
    """A dataset whose cells take part.

    Attributes:
        row: of the sheet, with path and layer.
        cells: one row per cell of the file, indexed by cell, with CELL_COLUMNS.
        genes: its genes.parquet: one row per column of the counts, with n_cells.
    """

    row: dict
    cells: pd.DataFrame
    genes: pd.DataFrame


class Participants(NamedTuple):
    """The cells that have a group in any grouping, numbered over all datasets.

    Attributes:
        numbers: number of each cell of each dataset, -1 for one that takes no part.
        scales: counts per cell in units of TARGET_SUM, float32, shape (n_participants,).
        splits: of `split_cells`.
        names: of the groups of each grouping, which has at least one.
        datasets: number of the dataset of each batch.
    """

    numbers: list[np.ndarray]
    scales: np.ndarray
    splits: list[tuple[Parts, dict[str, Grouping]]]
    names: dict[str, list[str]]
    datasets: np.ndarray


def find_markers(
    datasets: Sequence[MarkerDataset], genes: pd.DataFrame, groups: pd.DataFrame, memory_mb: float, n_threads: int = 1
) -> pd.DataFrame:
    """Return the statistics of all genes for every group of every grouping.

    The cells of a dataset that did not measure a gene take no part in the gene's test. In tests
    within batches, a batch takes part if it has MIN_CELLS of the group and of the rest. Without any
    such batch, batch_score, batch_log2_fold_change and fdr are missing: then group and batch cannot
    be told apart.

    Args:
        datasets: whose files are read, once per range of genes that fits in memory.
        genes: of the reference, indexed by gene, with gene_id and symbol.
        groups: indexed by cell; each column is a grouping, and a cell without a value has no group.
        memory_mb: memory of the whole process.
        n_threads: does not change results.

    Returns:
        The table of `marker_table`, over all groupings.

    Raises:
        InputError: no kept cell has a group.
    """
    cells = number_cells(datasets, groups)
    matches = [match_genes(genes, dataset.genes) for dataset in datasets]
    streams = [
        _stream(dataset, numbers, rows, len(genes))
        for dataset, numbers, rows in zip(datasets, cells.numbers, matches, strict=True)
    ]
    capacities = most_values(datasets, cells.numbers, matches, len(genes))
    # Genes × batches: whether the batch's dataset has a column of the gene.
    measured = np.stack([np.isin(np.arange(len(genes)), rows) for rows in matches], axis=1)[:, cells.datasets]
    found = {
        name: np.full((len(genes), len(groups), len(STATISTICS)), np.nan, dtype=np.float32)
        for name, groups in cells.names.items()
    }
    detected = {name: np.zeros(len(genes), dtype=np.int64) for name in cells.names}
    ranges = list(gene_ranges(capacities, _values_mb(memory_mb, datasets, found)))
    print(f"{len(cells.scales)} cells, {len(genes)} genes; the files are read {len(ranges)} times", flush=True)
    with ThreadPoolExecutor(n_threads) as pool:
        for first, last in ranges:
            # No name is kept for the values: they must be gone before the table is made.
            _compare(
                _filled(GeneValues(first, last, capacities, cells.scales), streams, pool, n_threads),
                *(cells, measured, found, detected, pool),
            )
    return marker_table(genes, cells.names, found, detected)


def query_markers(
    row: dict, cells: pd.DataFrame, genes: pd.DataFrame, groups: pd.Series, memory_mb: float, n_threads: int = 1
) -> pd.DataFrame:
    """Return the statistics of all genes of a query for groups of its cells, each against all its other cells.

    Args:
        row: of the sheet.
        cells: cells.parquet of the query, indexed by cell. All cells take part.
        genes: genes.parquet of the query.
        groups: indexed by cell; a cell that is missing has no group of its own, but is one of the others.
        memory_mb, n_threads: as of `find_markers`.

    Returns:
        As of `find_markers`; the grouping is named as the series.

    Raises:
        InputError: no cell has a group.
    """
    named = groups.dropna().map(as_text)
    if not cells.index.isin(named.index).any():
        raise InputError(f"{row['path']}: none of its {len(cells)} cells has a group")
    grouped = named.reindex(cells.index, fill_value=REST).to_frame(groups.name or "group")
    dataset = MarkerDataset(row, cells.assign(keep=True), genes)
    found = find_markers([dataset], merge_genes([genes]), grouped, memory_mb, n_threads)
    found = found[found["group"] != REST].reset_index(drop=True)
    return found.assign(group=found["group"].cat.remove_unused_categories())


def number_cells(datasets: Sequence[MarkerDataset], groups: pd.DataFrame) -> Participants:
    """Return the kept cells that have a group, with their groups and batches.

    Raises:
        InputError: there is none.
    """
    # The last is of cells that are not in the table, whose place is -1.
    known = np.append(groups.notna().any(axis=1).to_numpy(), False)
    places, numbers, totals, batches, n = [], [], [], [], 0
    owners: list[int] = []
    for i, (_, cells, _) in enumerate(datasets):
        place = groups.index.get_indexer(cells.index)
        takes_part = cells["keep"].to_numpy() & known[place]
        numbers.append(np.where(takes_part, np.cumsum(takes_part) - 1 + n, -1))
        places.append(place[takes_part])
        totals.append(cells["total_counts"].to_numpy()[takes_part])
        codes, names = pd.factorize(cells["batch"].to_numpy()[takes_part])
        batches.append(codes + len(owners))
        owners += [i] * len(names)
        n += int(takes_part.sum())
    if n == 0:
        raise InputError(
            f"no cell of the datasets has a group; the table of groups ({listed(groups.columns)}) has {len(groups)}"
            f" cells, such as {listed(groups.index[:3])}, and the datasets {listed(datasets[0].cells.index[:3])}"
        )
    columns = {str(name): group_codes(column) for name, column in groups.iloc[np.concatenate(places)].items()}
    columns = {name: (codes, groups) for name, (codes, groups) in columns.items() if groups}
    scales = np.concatenate(totals).astype(np.float32) / np.float32(TARGET_SUM)
    codes = {name: codes for name, (codes, _) in columns.items()}
    splits = split_cells(codes, np.concatenate(batches), len(owners))
    return Participants(
        numbers, scales, splits, {name: groups for name, (_, groups) in columns.items()}, np.array(owners)
    )


def group_codes(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the code of each value, -1 where it is missing, and the values in order, as text."""
    codes, values = pd.factorize(column, sort=True)
    return codes, [as_text(value) for value in values]


def group_sizes(column: pd.Series, datasets: Sequence[MarkerDataset]) -> pd.Series:
    """Return the number of kept cells of each group, by its text, in the order of the groups."""
    kept = [dataset.cells.index[dataset.cells["keep"].to_numpy()] for dataset in datasets]
    places = np.concatenate([column.index.get_indexer(cells) for cells in kept])
    codes, names = group_codes(column.iloc[places[places >= 0]])
    return pd.Series(np.bincount(codes[codes >= 0], minlength=len(names)), index=names, name=str(column.name))


def read_groups(path: str | None, labelled: dict[str, str], columns: list[str] | None) -> pd.DataFrame:
    """Return groupings of cells, one per column, indexed by cell.

    Args:
        path: of a table of groups; None to read them from the datasets' cells.
        labelled: path of the cells of each dataset.
        columns: that are read; None for all.
    """
    return read_cells(labelled.values(), columns) if path is None else pd.read_parquet(path, columns=columns)


def most_values(
    datasets: Sequence[MarkerDataset], numbers: list[np.ndarray], matches: list[np.ndarray], n_genes: int
) -> np.ndarray:
    """Return how many values each gene has at most, shape (n_genes,).

    Args:
        numbers: of `Participants`.
        matches: gene of each column of each dataset, -1 for none.
    """
    most = np.zeros(n_genes, dtype=np.int64)
    for dataset, own, rows in zip(datasets, numbers, matches, strict=True):
        n_cells = dataset.genes["n_cells"].to_numpy()
        found = np.bincount(rows[rows >= 0], weights=n_cells[rows >= 0], minlength=n_genes).astype(np.int64)
        most += np.minimum(found, int((own >= 0).sum()))
    return most


def _stream(dataset: MarkerDataset, numbers: np.ndarray, rows: np.ndarray, n_genes: int) -> DatasetStream:
    """Return a dataset as a stream whose cells have numbers in place of the codes of their batches."""
    stream = DatasetStream(dataset.row, dataset.cells, rows, n_genes, [])
    stream.codes = numbers
    return stream


def _values_mb(memory_mb: float, datasets: Sequence[MarkerDataset], found: dict[str, np.ndarray]) -> float:
    """Return the memory that is left for counts of genes, at least LEAST_VALUES_MB."""
    n_cells = sum(len(dataset.cells) for dataset in datasets)
    n_bytes = BYTES_PER_CELL * n_cells + sum(statistics.nbytes for statistics in found.values())
    return max(memory_mb - FIXED_MB - n_bytes / 2**20, LEAST_VALUES_MB)


def _filled(values: GeneValues, streams: list[DatasetStream], pool: ThreadPoolExecutor, n_threads: int) -> GeneValues:
    """Return the values with those of all datasets added."""
    for stream in streams:
        if ((stream.rows >= values.first) & (stream.rows < values.last)).any():
            for block, numbers, genes in stream.blocks():
                values.add(block, numbers, genes, pool, n_threads)
    return values


def _compare(
    values: GeneValues,
    cells: Participants,
    measured: np.ndarray,
    found: dict[str, np.ndarray],
    detected: dict[str, np.ndarray],
    pool: ThreadPoolExecutor,
) -> None:
    """Fill in the statistics of all genes of a range.

    Args:
        measured: shape (n_genes, n_batches).
        found, detected: of each grouping, as of `marker_table`.
    """
    large = values.large_counts()

    def compare(genes: tuple[int, ...]) -> None:
        for gene in genes:
            own, numbers = values.sorted_values(gene, large)
            for parts, groupings in cells.splits if len(own) else ():
                ranks = rank_values(own, numbers, parts, measured[gene])
                for name, grouping in groupings.items():
                    detected[name][gene] = ranks.n_values
                    compare_groups(ranks, grouping, measured[gene], found[name][gene])

    for _ in pool.map(compare, batched(range(values.first, values.last), GENES_AT_ONCE)):
        pass
