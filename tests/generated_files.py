"""Files of counts with a known truth, in random layouts, for tests of the reader.

    python tests/generated_files.py SEED FOLDER        writes the file of a seed, and prints what is in it

Nothing here uses the code that reads such files: what is written comes from h5py, anndata, scipy and
plain text alone.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

N_CELLS, N_GENES = 20, 15
HUMAN = (
    *("CD3D", "CD3E", "CD4", "CD8A", "MS4A1", "CD19", "NKG7", "GNLY", "LYZ", "CD14", "FCGR3A", "HBB", "PPBP", "CST3"),
    *("MT-CO1", "MT-ND1", "HLA-DRA", "HLA-A", "ACTB", "GAPDH", "B2M", "IL7R", "CCR7", "S100A8", "S100A9", "FOXP3"),
)
LABELS = ("T cell", "B cell", "NK", "Monocyte, CD14+", "dendritic cell", "Tα", "CD4+ αβ; naive")
PROTEINS = ("CD3", "CD19-PROT", "IgG1", "CD45RA")
BATCH_KEYS = ("batch", "donor_id", "Sample", "orig.ident", "patient")
LABEL_KEYS = ("cell_type", "celltype", "CellType", "annotation", "Cell Ontology")


@dataclass
class World:
    """What is to be read.

    Attributes:
        counts: cells × genes.
        cells: names of the cells.
        ids: Ensembl ids without version; symbols: of the same genes.
        batches: of each cell; labels: of each cell, None without one.
        proteins: counts, cells × proteins.
        batch_key, label_key: names of their columns.
    """

    counts: np.ndarray
    cells: list[str]
    ids: list[str]
    symbols: list[str]
    batches: list[str]
    labels: list[str | None]
    proteins: np.ndarray
    batch_key: str
    label_key: str


@dataclass
class Written:
    """A file of counts.

    Attributes:
        path: of the file or folder.
        row: of the sheet: the options that it is opened with.
        counts, ids, symbols: to be read; ids or symbols are None if the file does not have them.
        plain: whether it is an ordinary file, which must not be refused.
        traits: what is special about it.
        has_cells: whether batches and labels are in it.
        unlisted: cells that are not to be read.
    """

    path: str
    row: dict[str, Any]
    counts: np.ndarray
    ids: list[str] | None
    symbols: list[str] | None
    plain: bool = True
    traits: list[str] = field(default_factory=list)
    has_cells: bool = True
    unlisted: list[str] = field(default_factory=list)


def make_world(rng: np.random.Generator) -> World:
    """Return random cells and genes: small numbers, in which every cell and every gene has counts."""
    counts = rng.poisson(rng.gamma(0.6, 4.0, size=(1, N_GENES)), size=(N_CELLS, N_GENES))
    counts[rng.random(counts.shape) < 0.3] = 0
    counts[np.arange(N_CELLS), rng.integers(0, N_GENES, N_CELLS)] += rng.integers(2, 9, N_CELLS)
    counts[rng.integers(0, N_CELLS, N_GENES), np.arange(N_GENES)] += rng.integers(2, 9, N_GENES)
    is_mouse = rng.random() < 0.2
    symbols = list(rng.choice(HUMAN, N_GENES, replace=False))
    symbols = (
        [s.replace("MT-", "mt-") if s.startswith("MT-") else s.capitalize() for s in symbols] if is_mouse else symbols
    )
    numbers = rng.choice(10**6, N_GENES, replace=False)
    ids = [f"{'ENSMUSG' if is_mouse else 'ENSG'}{100000 + n:011d}" for n in numbers]
    batches, labels = cell_values(rng)
    return World(
        counts=counts,
        cells=cell_names(rng),
        ids=ids,
        symbols=[str(symbol) for symbol in symbols],
        batches=batches,
        labels=labels,
        proteins=rng.poisson(300, size=(N_CELLS, int(rng.integers(1, 5)))),
        batch_key=str(rng.choice(BATCH_KEYS)),
        label_key=str(rng.choice(LABEL_KEYS)),
    )


def cell_names(rng: np.random.Generator) -> list[str]:
    """Return unique names in one of the usual forms."""
    barcodes: list[str] = []
    while len(barcodes) < N_CELLS:
        barcode = "".join(rng.choice(list("ACGT"), 16))
        barcodes += [barcode] if barcode not in barcodes else []
    form = rng.choice(["{}-1", "{}-1", "{}", "s1_{}-1", "{}-1-donor2", "run3#{}"])
    return [form.format(barcode) for barcode in barcodes]


def cell_values(rng: np.random.Generator) -> tuple[list[str], list[str | None]]:
    """Return batches and labels of the cells: each batch and label has at least one."""
    names = [("d1", "d2"), ("01", "02", "10"), ("1", "2"), ("lung A", "lung B"), ("P-1", "P-2", "P-3")][rng.integers(5)]
    batches = [str(names[i % len(names)]) for i in rng.permutation(N_CELLS)]
    used = list(rng.choice(LABELS, int(rng.integers(2, 5)), replace=False))
    labels: list[str | None] = [str(used[i % len(used)]) for i in rng.permutation(N_CELLS)]
    if rng.random() < 0.3:
        labels[int(rng.integers(N_CELLS))] = None
    return batches, labels


def cell_table(world: World, rng: np.random.Generator) -> pd.DataFrame:
    """Return the columns of the cells in random types and order, with others beside them."""
    batch, label = pd.Series(world.batches, dtype=object), pd.Series(world.labels, dtype=object)
    if all(b.isdigit() and not b.startswith("0") for b in world.batches) and rng.random() < 0.7:
        batch = batch.astype(str(rng.choice(["int64", "int32", "float64", "uint8"])))
    elif rng.random() < 0.5:
        values = [str(v) for v in rng.permutation(pd.unique(batch))]
        batch = pd.Series(pd.Categorical(batch, categories=[*values, "unused"]))
    if label.isna().any() or rng.random() < 0.6:
        label = pd.Series(
            pd.Categorical(label, categories=[str(v) for v in rng.permutation(pd.unique(label.dropna()))])
        )
    columns = {
        world.batch_key: batch,
        world.label_key: label,
        "n_counts": pd.Series(world.counts.sum(axis=1).astype(float)),
        "pct mito": pd.Series(rng.random(N_CELLS)),
        "leiden": pd.Series(pd.Categorical([str(i % 3) for i in range(N_CELLS)])),
        "is_doublet": pd.Series(rng.random(N_CELLS) < 0.1),
    }
    kept = [name for name in columns if name in (world.batch_key, world.label_key) or rng.random() < 0.3]
    table = pd.DataFrame(
        {
            name: columns[name].to_numpy() if columns[name].dtype == object else columns[name]
            for name in rng.permutation(kept)
        }
    )
    return table.set_index(pd.Index(world.cells, name=[None, "cell", "index", "barcode"][rng.integers(4)]))


@dataclass
class GeneNames:
    """How a file names its genes: the index, further columns, and what a reader must find."""

    index: list[str]
    columns: dict[str, Any]
    ids: list[str] | None
    symbols: list[str] | None


def gene_names(world: World, rng: np.random.Generator) -> GeneNames:
    """Return names of the genes: ids or symbols as index, the others in a column of a random name, or left out."""
    ids = [f"{i}.{rng.integers(1, 20)}" for i in world.ids] if rng.random() < 0.25 else list(world.ids)
    symbol_column = str(rng.choice(["gene_symbols", "gene_name", "feature_name", "symbol", "gene_symbol", "Symbol"]))
    id_column = str(rng.choice(["gene_ids", "gene_id", "ensembl_id", "feature_id", "ENSEMBL", "id"]))
    form = rng.integers(4)
    index, columns = (ids, {}) if form in (0, 1) else (list(world.symbols), {})
    columns = {symbol_column: world.symbols} if form == 0 else {id_column: ids} if form == 2 else {}
    extra = {
        "n_cells": (world.counts > 0).sum(axis=0),
        "highly_variable": rng.random(N_GENES) < 0.5,
        "chromosome": [str(i % 22 + 1) for i in range(N_GENES)],
        "gene_biotype": ["protein_coding"] * N_GENES,
        "genome": ["GRCh38"] * N_GENES,
    }
    columns = {**columns, **{name: values for name, values in extra.items() if rng.random() < 0.3}}
    ordered = {str(name): columns[str(name)] for name in rng.permutation(list(columns))} if columns else {}
    return GeneNames(index, ordered, world.ids if form != 3 else None, world.symbols if form != 1 else None)


def write_file(seed: int, folder: Path) -> tuple[World, Written]:
    """Write the file of a seed into an empty folder, and return what is in it."""
    from generated_programs import WRITERS

    rng = np.random.default_rng(seed)
    world = make_world(rng)
    kinds, weights = list(WRITERS), np.array([weight for _, weight in WRITERS.values()], dtype=float)
    kind = str(rng.choice(kinds, p=weights / weights.sum()))
    folder.mkdir(parents=True, exist_ok=True)
    written = WRITERS[kind][0](world, rng, folder)
    written.traits.insert(0, kind)
    if written.has_cells is False or rng.random() < 0.15:
        add_table(world, written, rng, folder)
    written.row = {"batch_key": world.batch_key, "label_keys": [world.label_key], **written.row}
    return world, written


def add_table(world: World, written: Written, rng: np.random.Generator, folder: Path) -> None:
    """Write batches and labels as a table beside the file, in the dialect of one of many programs."""
    from generated_tables import write_table

    table = pd.DataFrame(
        {world.batch_key: world.batches, world.label_key: pd.Series(world.labels, dtype=object), "QC": "1"}
    ).set_index(pd.Index(world.cells))
    others = pd.DataFrame(
        "other", index=[f"TTTT{i}" for i in range(3 if rng.random() < 0.3 else 0)], columns=table.columns
    )
    table = pd.concat([table, others]) if len(others) else table
    table = table.iloc[rng.permutation(len(table))][[str(name) for name in rng.permutation(list(table))]]
    if rng.random() < 0.2:
        written.unlisted = [str(cell) for cell in rng.choice(world.cells, int(rng.integers(1, 12)), replace=False)]
        written.row["listed_cells"] = True
        table = table.drop(written.unlisted)
    path, dialect = write_table(table, rng, folder)
    written.row["metadata"] = path
    written.traits.append(dialect)


if __name__ == "__main__":
    _world, _written = write_file(int(sys.argv[1]), Path(sys.argv[2]))
    print(_written)
    print(pd.DataFrame(_world.counts, index=_world.cells, columns=_world.symbols).to_string())
    print(pd.DataFrame({_world.batch_key: _world.batches, _world.label_key: _world.labels}).to_string())
