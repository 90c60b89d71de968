"""Writes the counts that models train on: the kept cells of all datasets × the selected genes.

in:  each dataset's file, cells.parquet, genes.parquet and scan.json; the split's genes.parquet; of a fold, which cells it trains on; facts.json of models made elsewhere that know proteins
out: counts.h5ad; obs has dataset, batch, label (label_2 … for coarser levels); obsm the proteins of
all datasets, where any has some
"""

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.atomic import read_json
from refatlas.io.cell_tables import training_cells
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.io.model_counts import counts_writer
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.assemble import describe_cells, selected_counts
from refatlas.prepare.proteins import read_proteins, unite, wanted_proteins


def main(smk) -> None:
    files = read_fingerprints(smk.input.scans)
    genes = pd.read_parquet(smk.input.selected)
    cells = {
        name: training_cells(pd.read_parquet(path), smk.input.get("fold"))
        for name, path in zip(smk.params.rows, smk.input.cells, strict=True)
    }
    made = {
        name: read_json(path)["proteins"]
        for name, path in zip(smk.params.pretrained, smk.input.pretrained, strict=True)
    }
    proteins = []
    with counts_writer(smk.output.counts, describe_cells(cells), genes) as out:
        for (name, row), table in zip(smk.params.rows.items(), smk.input.genes, strict=True):
            file, keep, before = open_counts(row["path"], row["layer"]), cells[name]["keep"].to_numpy(), out.n_values
            for block in selected_counts(file, keep, genes, pd.read_parquet(table)):
                out.append(block)
            proteins.append(read_proteins(file, row, cells[name]["batch"].to_numpy())[keep])
            print(
                f"{name}: {keep.sum()} cells, {(out.n_values - before) / max(keep.sum(), 1):.0f} of {out.n_columns}"
                " genes seen in a cell on average"
            )
        if out.n_values == 0:
            raise InputError(
                "the selected genes have no counts in any kept cell; check genes.include, genes.exclude and the counts'"
                " layer"
            )
        wanted = wanted_proteins(unite(proteins), made)
        print(f"proteins: {listed(wanted.columns, 30)}")
        out.add_proteins(wanted)
        require_unchanged(files)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
