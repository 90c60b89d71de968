"""Small files of counts, 30 cells × 60 genes with a known truth, as tools and public bug reports have them.

Used by input_files.py. Nothing here uses the code that reads such files.
"""

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import io as scipy_io
from scipy import sparse

SYMBOLS = [
    "CD3D",
    "CD3E",
    "CD4",
    "CD8A",
    "MS4A1",
    "CD19",
    "NKG7",
    "GNLY",
    "LYZ",
    "CD14",
    "FCGR3A",
    "HBB",
    "PPBP",
    "CST3",
    "MT-CO1",
    "MT-ND1",
    "HLA-DRA",
    "HLA-A",
    "ACTB",
    "GAPDH",
    "B2M",
    "IL7R",
    "CCR7",
    "S100A8",
    "S100A9",
    "FOXP3",
    "CXCL8",
    "SEPTIN2",
    "MARCHF1",
    "TP53",
    "MYC",
    "KLF4",
    "SOX2",
    "PAX5",
    "GATA3",
    "RUNX3",
    "TBX21",
    "EOMES",
    "PRF1",
    "GZMB",
    "GZMK",
    "SELL",
    "CTLA4",
    "PDCD1",
    "LAG3",
    "TIGIT",
    "CD79A",
    "CD79B",
    "MZB1",
    "JCHAIN",
    "IGKC",
    "XBP1",
    "VIM",
    "ALB",
    "EPCAM",
    "KRT8",
    "KRT18",
    "COL1A1",
    "DCN",
    "PECAM1",
]
IDS = [f"ENSG{100_000 + 137 * i:011d}" for i in range(60)]
N_CELLS, N_GENES = 30, 60
REFUSED = "refused"


@dataclass
class World:
    """The truth: counts of cells × genes, names, batches and labels."""

    counts: np.ndarray
    cells: list[str]
    batches: list[str]
    labels: list[str]

    def obs(self) -> pd.DataFrame:
        """Return the columns of cells."""
        return pd.DataFrame({"batch": self.batches, "cell_type": self.labels}, index=self.cells)

    def var(self) -> pd.DataFrame:
        """Return the columns of genes."""
        return pd.DataFrame({"gene_ids": IDS}, index=SYMBOLS)

    def logged(self) -> np.ndarray:
        """Return the counts as they are normalised and log-transformed."""
        return np.log1p(self.counts / self.counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)


def make_world(seed: int = 0) -> World:
    """Return random counts, in which every cell and every gene has some."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.6, 4.0, size=(1, N_GENES)), size=(N_CELLS, N_GENES))
    counts += rng.random(counts.shape) < 0.1
    counts[np.arange(N_CELLS), 2 * np.arange(N_CELLS)] += 1 + np.arange(N_CELLS)
    cells = sorted({"".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(N_CELLS)})
    labels = [("T cell", "B cell", "Monocyte, CD14+")[i % 3] for i in range(N_CELLS)]
    return World(counts, cells, [f"donor{1 + i % 2}" for i in range(N_CELLS)], labels)


@dataclass
class Kind:
    """A file and what is to be read from it.

    Attributes:
        name: what it is.
        row: options of the sheet, with path.
        counts: to be read, cells × genes; None if the file must be refused.
        genes: id or symbol of each gene of `counts`, as the file has it.
        cells: names of the cells; batches, labels: to be read, None for none.
        reference: whether the genes are matched to a reference of SYMBOLS and IDS.
    """

    name: str
    row: dict[str, Any]
    counts: np.ndarray | None
    genes: list[str] = field(default_factory=lambda: list(SYMBOLS))
    cells: list[str] | None = None
    batches: list[str] | None = None
    labels: list[str] | None = None
    reference: bool = False


Writer = Callable[[Path, World], Kind]
WRITERS: dict[str, Writer] = {}


def kind(name: str) -> Callable[[Callable], Callable]:
    """Return a decorator that registers what writes a kind: a function of folder and world."""

    def register(write: Callable) -> Callable:
        """Keep a function of (path, columns of the sheet, changes of the truth) as the writer of the kind."""

        def written(folder: Path, world: World) -> Kind:
            path, row, changes = write(folder, world)
            return Kind(name, {"path": str(path), **row}, **({"counts": world.counts, "cells": world.cells} | changes))

        WRITERS[name] = written
        return write

    return register


def with_cells(world: World, **changes: Any) -> dict:
    """Return that batches and labels are to be read, too."""
    return {"batches": world.batches, "labels": world.labels} | changes


KEYS = {"batch_key": "batch", "label_keys": ["cell_type"]}
NOTHING: dict = {"counts": None}


def adata(world: World, x: Any = None, **others: Any) -> ad.AnnData:
    """Return an AnnData of the world; X is a CSR of float32 unless given."""
    x = sparse.csr_matrix(world.counts.astype(np.float32)) if x is None else x
    return ad.AnnData(x, obs=others.pop("obs", world.obs()), var=others.pop("var", world.var()), **others)


def h5ad(folder: Path, data: ad.AnnData) -> Path:
    """Write an AnnData and return the path."""
    path = folder / "file.h5ad"
    data.write_h5ad(path)
    return path


def text(path: Path, lines: list[str]) -> Path:
    """Write lines, gzipped by the name, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def mtx(path: Path, matrix: Any, kind_of_values: str = "integer") -> None:
    """Write a MatrixMarket file, gzipped by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(path.name.removesuffix(".gz"))
    values = sparse.coo_matrix(matrix, dtype=np.int64 if kind_of_values == "integer" else np.float64)
    scipy_io.mmwrite(plain, values, field=kind_of_values)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()


def features(ids: list[str] = IDS, symbols: list[str] = SYMBOLS, third: str | None = "Gene Expression") -> list[str]:
    """Return the lines of features.tsv."""
    tail = f"\t{third}" if third else ""
    return [f"{i}\t{s}{tail}" for i, s in zip(ids, symbols, strict=True)]


def tenx(folder: Path, world: World, genes: list[str] | None = None, counts: np.ndarray | None = None) -> Path:
    """Write a folder as Cell Ranger 3 does, and return it."""
    mtx(folder / "matrix.mtx.gz", (world.counts if counts is None else counts).T)
    text(folder / "features.tsv.gz", features() if genes is None else genes)
    text(folder / "barcodes.tsv.gz", world.cells)
    return folder


def tenx_h5(
    path: Path, world: World, counts: np.ndarray, ids: list[str], symbols: list[str], kinds: list[str], genomes: Any
) -> Path:
    """Write a 10x h5 of Cell Ranger 3, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["shape"] = np.array(stored.shape, dtype=np.int32)
        group["data"], group["indices"], group["indptr"] = stored.data.astype(np.int32), stored.indices, stored.indptr
        group["barcodes"] = np.array(world.cells, dtype="S")
        for name, values in {"id": ids, "name": symbols, "feature_type": kinds, "genome": genomes}.items():
            group[f"features/{name}"] = np.array(values, dtype="S")
        group["features/_all_tag_keys"] = np.array(["genome"], dtype="S")
    return path


def plain_h5(path: Path, world: World) -> Path:
    """Write a 10x h5 of genes alone, and return its path."""
    return tenx_h5(path, world, world.counts, IDS, SYMBOLS, ["Gene Expression"] * N_GENES, ["GRCh38"] * N_GENES)


def zipped(path: Path, folder: Path) -> Path:
    """Write all files of a folder into a zip without a level above, and return its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def tarred(path: Path, folder: Path) -> Path:
    """Write a folder into a tar.gz, and return its path."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    shutil.rmtree(folder)
    return path
