"""Writes the demo's data from a seed: three reference datasets and two queries, in the formats that
people have.

The generative model is the gamma-Poisson of Splatter (Zappia, Phipson & Oshlack 2017): gene means
from a gamma distribution, log-normal
factors of type, batch and gene, log-normal library sizes (one cell in a hundred has a twentieth of
its own), and Poisson counts around gamma-distributed expression.

out: atlas_blood.h5ad (counts in a layer, log values in X, Ensembl ids with versions),
atlas_marrow.h5 (10x h5, Ensembl ids with versions),
     atlas_spleen/ (10x mtx, symbols) with a table of cell columns for each 10x file;
     query_inflamed.h5ad (symbols; one type that the reference has not), query_panel.h5ad (Ensembl
     ids; a fifth of the genes missing)
"""

from pathlib import Path

import numpy as np

from refatlas.io.atomic import write_table
from refatlas.prepare.demo import DATASETS, N_GENES, Atlas, write_10x_h5, write_10x_mtx, write_h5ad


def main(smk) -> None:
    atlas = Atlas(smk.params.seed)
    made = {name: atlas.dataset(name) for name in DATASETS}
    genes, out = atlas.genes, smk.output
    by_id, by_symbol = genes.set_index("gene_id"), genes.set_index("symbol")[[]]
    write_h5ad(out.blood, *made["atlas_blood"], by_id, layer=True)
    counts, cells = made["atlas_marrow"]
    write_10x_h5(out.marrow, counts, list(cells.index), genes)
    write_table(cells.rename_axis("barcode").reset_index(), out.marrow_cells)
    counts, cells = made["atlas_spleen"]
    write_10x_mtx(Path(out.spleen).parent, counts, list(cells.index), genes)
    write_table(cells.rename_axis("barcode").reset_index(), out.spleen_cells)
    write_h5ad(out.inflamed, *made["query_inflamed"], by_symbol, layer=False)
    counts, cells = made["query_panel"]
    kept = np.sort(atlas.random.choice(N_GENES, int(0.8 * N_GENES), replace=False))
    write_h5ad(out.panel, counts[:, kept], cells, by_id.iloc[kept], layer=False)
    for name, (counts, cells) in made.items():
        print(
            f"{name}: {counts.shape[0]} cells, {np.median(np.asarray(counts.sum(axis=1))):.0f} counts a cell,"
            f" {cells['batch'].nunique()} batches"
        )


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
