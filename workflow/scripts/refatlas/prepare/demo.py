"""The demo's data, simulated from a seed: three reference datasets and two queries.

The generative model is the gamma-Poisson of Splatter (Zappia, Phipson & Oshlack 2017): gene means
from a gamma distribution; log-normal factors of type, batch and gene; log-normal library sizes, of
which one in a hundred is divided by 20; and Poisson counts around gamma-distributed expression.

The files are of different formats:

- atlas_blood.h5ad: counts in a layer, log values in X, Ensembl ids with versions;
- atlas_marrow.h5: 10x h5, Ensembl ids with versions, and a table of cell columns;
- atlas_spleen/: 10x mtx, symbols, and a table of cell columns;
- query_inflamed.h5ad: symbols; one cell type that the reference does not contain;
- query_panel.h5ad: Ensembl ids; a fifth of the genes missing.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import io, sparse

from refatlas.io.atomic import atomic_path, write_table
from refatlas.prepare.normalization import log_normalized

N_GENES = 3000
N_MITO = 13
POOR_CELLS = 0.01
SHARED_PROGRAM = 0.15
# Class, and share of the cells.
TYPES = {
    "helper T": ("T and NK", 0.28),
    "cytotoxic T": ("T and NK", 0.16),
    "NK": ("T and NK", 0.09),
    "B": ("B lineage", 0.15),
    "plasma": ("B lineage", 0.03),
    "monocyte": ("myeloid", 0.20),
    "dendritic": ("myeloid", 0.05),
    "platelet": ("myeloid", 0.04),
    # Only in one query.
    "mast": ("myeloid", 0.0),
}
# The type that a type is close to, and the share of genes in which they differ.
CLOSE = {"cytotoxic T": ("helper T", 0.12)}
# Batches, and cells of each.
DATASETS = {
    "atlas_blood": {"donor_1": 1000, "donor_2": 800},
    "atlas_marrow": {"donor_3": 900, "donor_4": 600},
    "atlas_spleen": {"donor_5": 700, "donor_6": 500},
    "query_inflamed": {"donor_7": 450, "donor_8": 350},
    "query_panel": {"donor_9": 700},
}


class Atlas:
    """Expression of cell types, from which all datasets are drawn."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.means = self.random.gamma(0.35, 1.0, N_GENES) + 0.01
        self.dispersion = self.random.gamma(4.0, 0.1, N_GENES)
        self.profiles = self._profiles()
        self.genes = self._genes()

    def _factors(self, share: float, spread: float) -> np.ndarray:
        changed = self.random.random(N_GENES) < share
        return np.where(changed, np.exp(self.random.normal(0, spread, N_GENES)), 1.0)

    def _profiles(self) -> dict[str, np.ndarray]:
        classes = {name: self._factors(SHARED_PROGRAM, 0.9) for name in sorted({c for c, _ in TYPES.values()})}
        profiles: dict[str, np.ndarray] = {}
        for name, (kind, _) in TYPES.items():
            base, share = CLOSE.get(name, (None, 0.0))
            start = profiles[base] if base else self.means * classes[kind]
            profile = start * (self._factors(share, 0.55) if base else self._factors(0.08, 1.0))
            profiles[name] = profile
        return profiles

    def _genes(self) -> pd.DataFrame:
        numbers = self.random.choice(400_000, N_GENES, replace=False)
        versions = self.random.integers(1, 20, N_GENES)
        symbols = [f"GENE{i + 1}" for i in range(N_GENES)]
        symbols[-N_MITO:] = [f"MT-{i + 1}" for i in range(N_MITO)]
        ids = [f"ENSG{number:011d}.{version}" for number, version in zip(numbers, versions, strict=True)]
        return pd.DataFrame({"gene_id": ids, "symbol": symbols})

    def dataset(self, name: str) -> tuple[sparse.csr_matrix, pd.DataFrame]:
        """Return counts and cells (batch, cell_type, cell_class) of one dataset."""
        counts, cells = [], []
        technology = self._factors(0.5, 0.25)
        for batch, n_cells in DATASETS[name].items():
            types = self._types(n_cells, name)
            effect = technology * self._factors(0.6, 0.35)
            size = np.exp(self.random.normal(self.random.normal(7.0, 0.3), 0.4, n_cells))
            size = np.where(self.random.random(n_cells) < POOR_CELLS, size / 20, size)
            mean = np.stack([self.profiles[t] for t in types]) * effect
            mean *= (size / mean.sum(axis=1))[:, None]
            gamma = self.random.gamma(1 / self.dispersion, mean * self.dispersion)
            counts.append(sparse.csr_matrix(self.random.poisson(gamma).astype(np.float32)))
            cells.append(pd.DataFrame({"batch": batch, "cell_type": types, "cell_class": [TYPES[t][0] for t in types]}))
        table = pd.concat(cells, ignore_index=True)
        table.index = self._barcodes(len(table))
        return sparse.vstack(counts, format="csr"), table

    def _types(self, n_cells: int, name: str) -> np.ndarray:
        shares = np.array([share for _, share in TYPES.values()]) * self.random.gamma(8, 1, len(TYPES))
        if name == "query_inflamed":
            shares[list(TYPES).index("mast")] = 0.08 * shares.sum()
        return self.random.choice(list(TYPES), n_cells, p=shares / shares.sum())

    def _barcodes(self, n: int) -> list[str]:
        letters = self.random.choice(list("ACGT"), (n, 16))
        return ["".join(row) + "-1" for row in letters]


def write_h5ad(
    path: str | Path, counts: sparse.csr_matrix, cells: pd.DataFrame, var: pd.DataFrame, layer: bool
) -> None:
    """Write an h5ad with raw counts in X, or in a layer beside log-normalised values in X."""
    data = ad.AnnData(log_normalized(counts) if layer else counts, obs=cells.astype("category"), var=var)
    if layer:
        data.layers["counts"] = counts
    with atomic_path(path) as part:
        data.write_h5ad(part, compression="gzip")


def write_10x_h5(path: str | Path, counts: sparse.csr_matrix, barcodes: list[str], genes: pd.DataFrame) -> None:
    """Write a matrix in the format of Cell Ranger 3 and later."""
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(barcodes, dtype="S")
        matrix["data"], matrix["indices"], matrix["indptr"] = (
            counts.data.astype(np.int32),
            counts.indices.astype(np.int64),
            counts.indptr.astype(np.int64),
        )
        matrix["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
        features = matrix.create_group("features")
        columns = {
            "id": genes["gene_id"],
            "name": genes["symbol"],
            "feature_type": ["Gene Expression"] * len(genes),
            "genome": ["demo"] * len(genes),
        }
        for key, values in columns.items():
            features[key] = np.array(list(values), dtype="S")


@contextmanager
def gzipped(path: Path) -> Iterator[gzip.GzipFile]:
    """Yield a stream into a gzip file, which is written atomically.

    It holds no name and no time, so that equal contents are equal bytes.
    """
    with atomic_path(path) as part, part.open("wb") as file, gzip.GzipFile("", "wb", 1, file, mtime=0) as stream:
        yield stream


def write_10x_mtx(folder: Path, counts: sparse.csr_matrix, barcodes: list[str], genes: pd.DataFrame) -> None:
    """Write the three files of a 10x mtx folder, with symbols as ids."""
    with gzipped(folder / "matrix.mtx.gz") as file:
        io.mmwrite(file, counts.T.tocoo().astype(np.int64), field="integer")
    with gzipped(folder / "features.tsv.gz") as file:
        file.write("".join(f"{symbol}\t{symbol}\tGene Expression\n" for symbol in genes["symbol"]).encode())
    with gzipped(folder / "barcodes.tsv.gz") as file:
        file.write("".join(f"{barcode}\n" for barcode in barcodes).encode())


def write_demo(paths: dict[str, str], seed: int) -> None:
    """Write all files of the demo, and print their sizes.

    Args:
        paths: with the keys of `demo_files.DEMO`.
        seed: of all random numbers.
    """
    atlas = Atlas(seed)
    made = {name: atlas.dataset(name) for name in DATASETS}
    genes = atlas.genes
    by_id, by_symbol = genes.set_index("gene_id"), genes.set_index("symbol")[[]]
    write_h5ad(paths["blood"], *made["atlas_blood"], by_id, layer=True)
    counts, cells = made["atlas_marrow"]
    write_10x_h5(paths["marrow"], counts, list(cells.index), genes)
    write_table(cells.rename_axis("barcode").reset_index(), paths["marrow_cells"])
    counts, cells = made["atlas_spleen"]
    write_10x_mtx(Path(paths["spleen"]).parent, counts, list(cells.index), genes)
    write_table(cells.rename_axis("barcode").reset_index(), paths["spleen_cells"])
    write_h5ad(paths["inflamed"], *made["query_inflamed"], by_symbol, layer=False)
    counts, cells = made["query_panel"]
    kept = np.sort(atlas.random.choice(N_GENES, int(0.8 * N_GENES), replace=False))
    write_h5ad(paths["panel"], counts[:, kept], cells, by_id.iloc[kept], layer=False)
    for name, (counts, cells) in made.items():
        depth = np.median(np.asarray(counts.sum(axis=1)))
        print(f"{name}: {counts.shape[0]} cells, {depth:.0f} counts per cell, {cells['batch'].nunique()} batches")
