"""Writes the cells that a fold holds out as if they were a query: counts without labels for the models, and their labels apart.

Their proteins, if the config does not keep them, are left out as well: most queries have none, and models that lean on them would look better than they are.

in:  each dataset's file, cells.parquet, genes.parquet and scan.json; fold.parquet and genes.parquet of the fold; where its reference has proteins, its counts.h5ad, for their names
out: counts.h5ad (obs has the batch alone, obsm the proteins), cells.parquet (with labels, for scoring)
"""

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.counts import open_counts
from refatlas.files import read_files, require_unchanged
from refatlas.jobs import read_json, run_job, write_table
from refatlas.proteins import align, read_proteins
from refatlas.store import gather, log_normalized, protein_names, write_counts

# Of a reference with one batch: two batches of half the depth, whose genes' detection differs from the reference's by log-normal factors of this spread,
# between what donors (0.2) and technologies (1) differ by.
DEPTH = 0.5
SPREAD = 0.5
PROGRAMS = 20


def technical_factors(counts: sparse.csr_matrix, random: np.random.Generator) -> np.ndarray:
    """Return a factor for each gene, independent of the others': another technology."""
    return np.exp(random.normal(0, SPREAD, counts.shape[1]))


def program_factors(counts: sparse.csr_matrix, random: np.random.Generator) -> np.ndarray:
    """Return a factor for each gene, where genes that vary together in the cells change together: another state of the cells."""
    from sklearn.utils.extmath import randomized_svd

    x = log_normalized(counts)
    _, strength, programs = randomized_svd(x.toarray() - np.asarray(x.mean(axis=0)), min(PROGRAMS, min(x.shape) - 1), random_state=int(random.integers(2**31)))
    change = (random.normal(0, 1, len(strength)) * strength) @ programs
    return np.exp(SPREAD * change / change.std())


def simulate_batches(counts: sparse.csr_matrix, seed: list[int]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return thinned counts and a batch number for each cell: counts are drawn anew with a batch's own detection rate for each gene."""
    random = np.random.default_rng(seed)
    factors = np.stack([technical_factors(counts, random), program_factors(counts, random)])
    batches = random.integers(0, len(factors), counts.shape[0])
    rates, rows = np.minimum(DEPTH * factors, 1), np.repeat(batches, np.diff(counts.indptr))
    thinned = counts.copy()
    thinned.data = random.binomial(counts.data.astype(np.int64), rates[rows, counts.indices]).astype(np.float32)
    thinned.eliminate_zeros()
    return thinned, batches


def main(smk) -> None:
    files = read_files(smk.input.scans)
    genes, roles = pd.read_parquet(smk.input.selected), pd.read_parquet(smk.input.fold)["role"]
    held, known = roles.index[roles == "held_out"], protein_names(smk.input.get("reference"))
    parts, kept, proteins = [], [], []
    for row, cells, table in zip(smk.params.rows, map(pd.read_parquet, smk.input.cells), map(pd.read_parquet, smk.input.genes), strict=True):
        wanted = cells.index.isin(held)
        if wanted.any():
            file = open_counts(row["path"], row["layer"])
            parts.append(gather(file, wanted, genes, table))
            kept.append(cells[wanted])
            measured = read_proteins(file, row, cells["batch"].to_numpy()) if smk.params.proteins else pd.DataFrame(index=cells.index)
            proteins.append(align(measured[wanted], known))
    matrix, cells = sparse.vstack(parts, format="csr"), pd.concat(kept)
    if read_json(smk.input.plan)["simulated"]:
        matrix, batches = simulate_batches(matrix, smk.params.seed)
        cells["batch"] = cells["batch"] + f":{smk.wildcards.split}_" + pd.Series(batches + 1, index=cells.index).astype(str)
        print("the reference has a single batch: the held-out cells are thinned to differ from it")
    print(f"{matrix.shape[0]} cells of {cells['batch'].nunique()} batches × {matrix.shape[1]} genes")
    require_unchanged(files)
    write_counts(smk.output.counts, matrix, cells[["batch"]], genes, proteins=pd.concat(proteins))
    write_table(cells if "label" in cells else cells.assign(label=None), smk.output.cells)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
