"""Learns on held-out cells how far each source of labels is to be trusted, and how one label is
made of all.

in:  labels.parquet, distance.parquet and fit.parquet of each model, the baseline's latent.parquet, and cells.parquet (with the known labels), of every fold's held-out cells
out: calibration.json, and held_out.npz, the cells that it was learned on; of each fold,
delivered.parquet and combined.parquet as for a query, by what was learned on the other held-out
batches
"""

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.transfer.cross_fitting import SplitCells, cross_fit, deliver_parts, learn_all, seen_cells
from refatlas.transfer.hierarchy import hierarchy


def read_splits(smk, known: list[str]) -> list[SplitCells]:
    """Return the held-out cells of every split; the inputs stand split by split, one file a model."""
    n, files = len(smk.params.models), smk.input
    paths = [
        {key: list(files[key])[s * n : (s + 1) * n] for key in ("labels", "distance", "fit")}
        for s in range(len(smk.params.splits))
    ]
    return [
        SplitCells(*split, smk.params.models, known)
        for split in zip(smk.params.splits, paths, files.positions, files.cells, strict=True)
    ]


def main(smk) -> None:
    p, reference = smk.params, read_cells(smk.input.reference, named=False)
    splits = read_splits(smk, sorted(reference.loc[reference["keep"], "label"].dropna().unique()))
    evidence, cells = seen_cells([held for held in splits if held.split in p.folds])
    truth, batches = cells["label"], cells["batch"].to_numpy(dtype=str)
    wanted = list(evidence.sources) if p.wanted is None else [p.wanted]
    everything = learn_all(evidence, truth, batches, wanted, p.alpha)
    part_of, learned = cross_fit(evidence, truth, batches, wanted, p.alpha)
    parents = hierarchy(reference)
    for held, delivered_file, combined_file in zip(splits, smk.output.delivered, smk.output.combined, strict=True):
        delivered, combined = deliver_parts(held, part_of, learned, everything, parents, p.novel)
        write_table(delivered, delivered_file)
        write_table(combined, combined_file)
    everything.how["evidence"] = {
        "folds": p.folds,
        "n_cells": len(cells),
        "batches": sorted(set(batches)),
        "simulated": not set(batches) <= set(reference["batch"]),
        "labels": truth.value_counts().to_dict(),
    }
    everything.cells.save(smk.output.held_out)
    write_json(everything.how, smk.output.calibration)
    weights = zip(wanted, everything.how["weights"], strict=True)
    print(
        f"{len(cells)} held-out cells of {len(set(batches))} batches; weights: "
        + ", ".join(f"{name} {w:.2f}" for name, w in weights)
    )


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
