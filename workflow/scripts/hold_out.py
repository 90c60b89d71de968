"""Writes the cells that a fold holds out as if they were a query: counts without labels for the models, and their labels apart.

Their proteins, if the config does not keep them, are left out as well: most queries have none, and models that lean on them would look better than they are.

in:  each dataset's file, cells.parquet, genes.parquet and scan.json; fold.parquet and genes.parquet of the fold; where its reference has proteins, its counts.h5ad, for their names
out: counts.h5ad (obs has the batch alone, obsm the proteins), cells.parquet (with labels, for scoring)
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.counts import open_counts
from refatlas.files import read_files, require_unchanged
from refatlas.jobs import read_json, run_job, write_table
from refatlas.proteins import align, read_proteins
from refatlas.store import counts_writer, gather, log_normalized, protein_names

# Of a reference with one batch: two batches of half the depth, whose genes' detection differs from the reference's by log-normal factors of this spread,
# between what donors (0.2) and technologies (1) differ by.
DEPTH = 0.5
SPREAD = 0.5
PROGRAMS = 20
# Of more cells, so many tell how genes vary together.
MAX_CELLS = 20_000


def technical_factors(counts: sparse.csr_matrix, random: np.random.Generator) -> np.ndarray:
    """Return a factor for each gene, independent of the others': another technology."""
    return np.exp(random.normal(0, SPREAD, counts.shape[1]))


def program_factors(counts: sparse.csr_matrix, random: np.random.Generator) -> np.ndarray:
    """Return a factor for each gene, where genes that vary together in the cells change together: another state of the cells."""
    from sklearn.utils.extmath import randomized_svd

    if counts.shape[0] > MAX_CELLS:
        counts = counts[np.sort(random.permutation(counts.shape[0])[:MAX_CELLS])]
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


def held_out_counts(smk, tables: list[pd.DataFrame], held: pd.Index, genes: pd.DataFrame, proteins: list[pd.DataFrame]) -> Iterator[sparse.csr_matrix]:
    """Yield the held-out cells' counts block by block, and put the proteins of each dataset's into a list.

    Args:
        tables: cells.parquet of each dataset.
    """
    known = protein_names(smk.input.get("reference"))
    for row, cells, path in zip(smk.params.rows, tables, smk.input.genes, strict=True):
        wanted = cells.index.isin(held)
        if wanted.any():
            file = open_counts(row["path"], row["layer"])
            yield from gather(file, wanted, genes, pd.read_parquet(path))
            measured = read_proteins(file, row, cells["batch"].to_numpy()) if smk.params.proteins else pd.DataFrame(index=cells.index)
            proteins.append(align(measured[wanted], known))


def main(smk) -> None:
    files = read_files(smk.input.scans)
    genes, roles = pd.read_parquet(smk.input.selected), pd.read_parquet(smk.input.fold)["role"]
    held, tables, proteins = roles.index[roles == "held_out"], [pd.read_parquet(path) for path in smk.input.cells], []
    cells, blocks = pd.concat([table[kept] for table in tables if (kept := table.index.isin(held)).any()]), held_out_counts(smk, tables, held, genes, proteins)
    if read_json(smk.input.plan)["simulated"]:
        matrix, batches = simulate_batches(sparse.vstack(list(blocks), format="csr").astype(np.float32), smk.params.seed)
        blocks = [matrix]
        cells["batch"] = cells["batch"] + f":{smk.wildcards.split}_" + pd.Series(batches + 1, index=cells.index).astype(str)
        print("the reference has a single batch: the held-out cells are thinned to differ from it")
    with counts_writer(smk.output.counts, cells[["batch"]], genes) as out:
        for block in blocks:
            out.append(block)
        out.add_proteins(pd.concat(proteins))
        require_unchanged(files)
        print(f"{len(cells)} cells of {cells['batch'].nunique()} batches × {out.n_columns} genes")
    write_table(cells if "label" in cells else cells.assign(label=None), smk.output.cells)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
