"""Writes the cells that a fold holds out as if they were a query: counts without labels for the
models, and their labels apart.

Their proteins, if the config does not keep them, are left out as well: most queries have none, and
models that lean on them would look better than they are.

in:  each dataset's file, cells.parquet, genes.parquet and scan.json; fold.parquet and genes.parquet of the fold; where its reference has proteins, its counts.h5ad, for their names
out: counts.h5ad (obs has the batch alone, obsm the proteins), cells.parquet (with labels, for
scoring)
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.io.atomic import read_json, write_table
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.io.model_counts import counts_writer, protein_names
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.assemble import selected_counts
from refatlas.prepare.proteins import align, read_proteins
from refatlas.prepare.simulated_batches import simulate_batches


def held_out_counts(
    smk, tables: list[pd.DataFrame], held: pd.Index, genes: pd.DataFrame, proteins: list[pd.DataFrame]
) -> Iterator[sparse.csr_matrix]:
    """Yield the held-out cells' counts block by block, and put the proteins of each dataset's into
    a list.

    Args:
        tables: cells.parquet of each dataset.
    """
    known = protein_names(smk.input.get("reference"))
    for row, cells, path in zip(smk.params.rows, tables, smk.input.genes, strict=True):
        wanted = cells.index.isin(held)
        if wanted.any():
            file = open_counts(row["path"], row["layer"])
            yield from selected_counts(file, wanted, genes, pd.read_parquet(path))
            measured = (
                read_proteins(file, row, cells["batch"].to_numpy())
                if smk.params.proteins
                else pd.DataFrame(index=cells.index)
            )
            proteins.append(align(measured[wanted], known))


def main(smk) -> None:
    files = read_fingerprints(smk.input.scans)
    genes, roles = pd.read_parquet(smk.input.selected), pd.read_parquet(smk.input.fold)["role"]
    held, tables, proteins = roles.index[roles == "held_out"], [pd.read_parquet(path) for path in smk.input.cells], []
    cells, blocks = (
        pd.concat([table[kept] for table in tables if (kept := table.index.isin(held)).any()]),
        held_out_counts(smk, tables, held, genes, proteins),
    )
    if read_json(smk.input.plan)["simulated"]:
        matrix, batches = simulate_batches(
            sparse.vstack(list(blocks), format="csr").astype(np.float32), smk.params.seed
        )
        blocks = [matrix]
        cells["batch"] = (
            cells["batch"] + f":{smk.wildcards.split}_" + pd.Series(batches + 1, index=cells.index).astype(str)
        )
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
