"""Makes one label per cell of all sources, measures how the query compares with the reference and
with held-out cells, and gives a verdict on the mapping: pass, warn or fail, with every reason,
its value, its limits and what to do.

in:  labels.parquet, distance.parquet, fit.parquet, mapping.json and latent.parquet of each model,
     and its latent.parquet of the reference; calibration.json and held_out.npz, if there are folds,
     and measures.json of their held-out cells; mapqc.json, if the query has controls; counts.h5ad
     of query and reference; the baseline's model.pt; cells.parquet of the query and the datasets
out: delivered.parquet (label, confidence, coarser levels, prediction set, novelty), sources.parquet
     (calibrated confidence of every source), sources.json (which sources were left out, and why),
     measures.json, verdict.json
"""

import pandas as pd

from refatlas.evaluate.query_measures import measure
from refatlas.evaluate.verdict import assess, report_verdict, with_mapqc
from refatlas.io.atomic import read_json, write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.models.registry import BASELINE
from refatlas.transfer.delivery import combine
from refatlas.transfer.evidence import HeldOut


def main(smk) -> None:
    i, p, name = smk.input, smk.params, smk.wildcards.name
    kinds = ("labels", "distance", "fit", "mapping", "latent", "reference_latent")
    models = by_name_and_kind(i, *kinds)
    learned = read_json(i.calibration) if i.get("calibration") else None
    held_out = HeldOut.load(i.held_out) if learned else None
    reference = read_cells(list(by_name(i, "dataset_cells").values()), named=False)
    cells, positions = pd.read_parquet(i.cells), models[BASELINE]["latent"]
    delivered, sources, left_out = combine(models, positions, cells, reference, learned, held_out, p.novel, p.source)
    measures = measure(i.counts, i.reference, cells, delivered, models, i.baseline, p.seed)
    folds = {fold: read_json(path) for fold, path in by_name(i, "measures").items()}
    judged = measures
    if i.get("mapqc"):
        shares = {fold: read_json(path) for fold, path in by_name(i, "mapqc").items()}
        judged, folds = with_mapqc(measures, folds, read_json(i.mapqc), shares)
    found = assess(judged, list(folds.values()))
    report_verdict(name, found)
    write_table(delivered, smk.output.delivered)
    write_table(sources, smk.output.sources)
    write_json({"left_out": left_out}, smk.output.left_out)
    write_json(measures, smk.output.measures)
    write_json({"query": name, **found}, smk.output.verdict)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
