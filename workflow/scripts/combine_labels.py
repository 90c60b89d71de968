"""Makes one label a cell of all sources, by what calibrate learned; without folds, of the one
source that the config names.

in:  labels.parquet, distance.parquet and fit.parquet of each model; the baseline's latent.parquet; calibration.json, if there are folds; labels of the reference's cells
out: delivered.parquet (label, confidence, coarser levels, prediction set, novelty),
combined.parquet (calibrated confidence of every source),
     sources.json (which sources were left out, and why)
"""

import pandas as pd

from refatlas.io.atomic import read_json, write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.run import run_job
from refatlas.transfer.delivery import combined_table, deliver, deliver_uncalibrated
from refatlas.transfer.evidence import HeldOut, known_labels, read_evidence
from refatlas.transfer.hierarchy import hierarchy


def main(smk) -> None:
    i, p = smk.input, smk.params
    learned = read_json(i.calibration) if i.get("calibration") else None
    parents = hierarchy(read_cells(i.reference, named=False))
    batches = pd.read_parquet(i.cells)["batch"]
    known = learned["labels"] if learned else known_labels(i.labels)
    evidence = read_evidence(
        "atlas", batches, p.models, list(i.labels), list(i.distance), list(i.fit), i.positions, known
    )
    if learned:
        delivered, shares, unsure = deliver(evidence, learned, HeldOut.load(i.held_out), parents, p.novel)
        print(f"{int(delivered['novel'].sum())} of {len(delivered)} cells are novel")
    else:
        unsure = {}
        delivered, shares = deliver_uncalibrated(evidence, p.source, parents)
        print(f"labels of {p.source} as they are: evaluation.folds is 0, so nothing is calibrated")
    for source, fall in unsure.items():
        print(
            f"left out: {source}, whose confidence in this query is {fall:.2f} below that in held-out cells of the same"
            " labels"
        )
    write_json({"left_out": unsure}, smk.output.sources)
    write_table(delivered, smk.output.delivered)
    write_table(combined_table(evidence, learned, shares), smk.output.combined)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
