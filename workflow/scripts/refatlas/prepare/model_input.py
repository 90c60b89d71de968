"""Writes the counts that models are trained on and mapped with.

They are cells × the selected genes, with proteins beside them.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.io.fingerprints import require_unchanged
from refatlas.io.model_counts import counts_writer
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_quality import Scan
from refatlas.prepare.genes import match_selected, reindex_genes
from refatlas.prepare.proteins import (
    align_proteins,
    describe_protein_match,
    merge_proteins,
    read_proteins,
    select_proteins,
)
from refatlas.prepare.simulated_batches import simulate_batches

Fingerprints = dict[str, list[int]]


def write_reference(
    path: str,
    rows: dict[str, dict],
    cells: dict[str, pd.DataFrame],
    tables: dict[str, str],
    genes: pd.DataFrame,
    pretrained: dict[str, list[str]],
    unchanged: Fingerprints,
) -> None:
    """Write the counts of a reference: the kept cells of all datasets, with dataset, batch and labels.

    Args:
        path: of the h5ad.
        rows: of the sheet, by dataset.
        cells: of each dataset, as `scan_file` found them.
        tables: path of each dataset's genes.parquet.
        genes: genes.parquet of the reference.
        pretrained: proteins of pretrained models, by model.
        unchanged: fingerprints of the datasets' files when they were scanned.

    Raises:
        InputError: no selected gene has counts, or a file has changed.
    """
    proteins = []
    with counts_writer(path, reference_obs(cells), genes) as out:
        for name, row in rows.items():
            file, keep, before = open_row(row), cells[name]["keep"].to_numpy(), out.n_values
            for block in selected_counts(file, keep, genes, pd.read_parquet(tables[name])):
                out.append(block)
            proteins.append(read_proteins(file, row, cells[name]["batch"].to_numpy())[keep])
            n_seen = (out.n_values - before) / max(keep.sum(), 1)
            print(f"{name}: {keep.sum()} cells, {n_seen:.0f} of {out.n_columns} genes detected per cell on average")
        if out.n_values == 0:
            raise InputError(
                "the selected genes have no counts in any kept cell; "
                "check genes.include, genes.exclude and the counts' layer"
            )
        wanted = select_proteins(merge_proteins(proteins), pretrained)
        print(f"proteins: {listed(wanted.columns, 30)}")
        out.add_proteins(wanted)
        require_unchanged(unchanged)


def write_query(
    path: str,
    file: CountFile,
    row: dict,
    found: Scan,
    genes: pd.DataFrame,
    proteins: list[str],
    unchanged: Fingerprints,
) -> None:
    """Write the counts of all cells of a query in the reference's genes and proteins.

    Of the cells' columns, only the batch is written: models cannot see the labels.

    Args:
        path: of the h5ad.
        file: of the query.
        row: of the sheet.
        found: the scan of the file.
        genes: genes.parquet of the reference.
        proteins: names of the reference's proteins.
        unchanged: fingerprints of the query's files when they were scanned.

    Raises:
        InputError: the proteins cannot be used, or a file has changed.
    """
    measured = measured_by_all([found.genes], genes)
    own = read_proteins(file, row, found.cells["batch"].to_numpy())
    if proteins:
        print(f"proteins: {describe_protein_match(list(own.columns), proteins)}")
    with counts_writer(path, found.cells[["batch"]], genes, measured) as out:
        for block in selected_counts(file, np.ones(len(found.cells), dtype=bool), genes, found.genes):
            out.append(block)
        out.add_proteins(align_proteins(own, proteins))
        require_unchanged(unchanged)


def write_held_out(
    path: str,
    rows: dict[str, dict],
    cells: dict[str, pd.DataFrame],
    tables: dict[str, str],
    held: pd.Index,
    genes: pd.DataFrame,
    proteins: list[str],
    keep_proteins: bool,
    simulate: list[int] | None,
    fold: str,
    unchanged: Fingerprints,
) -> pd.DataFrame:
    """Write the counts of held-out cells as those of a query; return the cells with their labels.

    As measured count the genes that all datasets with held-out cells have: elsewhere, zeros would pass for expression.

    Args:
        path, rows, cells, tables, genes, unchanged: as of `write_reference`.
        held: names of the held-out cells.
        proteins: names of the proteins in the fold's reference.
        keep_proteins: whether held-out cells keep their proteins.
        simulate: seed for thinning the cells into simulated batches; None to leave them unchanged.
        fold: its name, which becomes part of the names of simulated batches.

    Raises:
        InputError: a file has changed.
    """
    kept_proteins: list[pd.DataFrame] = []
    taken = [table[mask] for table in cells.values() if (mask := table.index.isin(held)).any()]
    held_out = pd.concat(taken)
    blocks = _held_out_blocks(rows, cells, tables, held, genes, proteins, keep_proteins, kept_proteins)
    if simulate is not None:
        matrix = sparse.vstack(list(blocks), format="csr").astype(np.float32)
        matrix, batches = simulate_batches(matrix, simulate)
        blocks = iter([matrix])
        numbers = pd.Series(batches + 1, index=held_out.index).astype(str)
        held_out["batch"] = held_out["batch"] + f":{fold}_" + numbers
        print("the reference has a single batch: the counts of held-out cells are thinned, to differ from it")
    with_cells = [name for name, table in cells.items() if table.index.isin(held).any()]
    measured = measured_by_all([pd.read_parquet(tables[name]) for name in with_cells], genes)
    if not measured.all():
        print(f"{(~measured).sum()} of {len(measured)} genes are not in all of {listed(with_cells)}: not compared")
    with counts_writer(path, held_out[["batch"]], genes, measured) as out:
        for block in blocks:
            out.append(block)
        out.add_proteins(pd.concat(kept_proteins))
        require_unchanged(unchanged)
        print(f"{len(held_out)} cells of {held_out['batch'].nunique()} batches × {out.n_columns} genes")
    return held_out if "label" in held_out else held_out.assign(label=None)


def measured_by_all(tables: list[pd.DataFrame], genes: pd.DataFrame) -> np.ndarray:
    """Return whether all of some files have each selected gene, shape (n_selected,).

    Args:
        tables: genes of each file, of `gene_table`.
        genes: genes.parquet of the reference.
    """
    places = np.arange(int(genes["selected"].sum()))
    return np.all([np.isin(places, match_selected(genes, table)) for table in tables], axis=0)


def _held_out_blocks(
    rows: dict[str, dict],
    cells: dict[str, pd.DataFrame],
    tables: dict[str, str],
    held: pd.Index,
    genes: pd.DataFrame,
    proteins: list[str],
    keep_proteins: bool,
    kept_proteins: list[pd.DataFrame],
) -> Iterator[sparse.csr_matrix]:
    """Yield the held-out cells' counts block by block; append each dataset's proteins to a list."""
    for name, row in rows.items():
        wanted = cells[name].index.isin(held)
        if not wanted.any():
            continue
        file = open_row(row)
        yield from selected_counts(file, wanted, genes, pd.read_parquet(tables[name]))
        measured = pd.DataFrame(index=cells[name].index)
        if keep_proteins:
            measured = read_proteins(file, row, cells[name]["batch"].to_numpy())
        kept_proteins.append(align_proteins(measured[wanted], proteins))


def selected_counts(
    file: CountFile, keep: np.ndarray, genes: pd.DataFrame, table: pd.DataFrame
) -> Iterator[sparse.csr_matrix]:
    """Yield the kept cells × selected genes of a file, block by block.

    Genes that the file lacks are empty columns.

    Args:
        keep: whether to take each cell, shape (n_cells,).
        genes: genes.parquet of the reference.
        table: the file's genes, of `gene_table`.
    """
    rows, n_genes = match_selected(genes, table), int(genes["selected"].sum())
    for start, block in file.blocks():
        wanted = keep[start : start + block.shape[0]]
        if wanted.any():
            yield reindex_genes(block[wanted], rows, n_genes)


def reference_obs(cells: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return dataset, batch and labels of the kept cells of all datasets.

    Cells of datasets without labels have missing labels.
    """
    kept = pd.concat([c[c["keep"]].assign(dataset=name) for name, c in cells.items()])
    labels = sorted((column for column in kept.columns if column.startswith("label")), key=lambda c: (len(c), c))
    for column in labels:
        kept[column] = kept[column].astype(object).where(kept[column].notna(), None)
    return kept[["dataset", "batch", *labels]]
