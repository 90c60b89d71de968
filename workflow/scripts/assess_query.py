"""Makes one label per cell of all sources, estimates how many labels are right, measures how the
query compares with the reference and with held-out cells, and gives a verdict on the labels: pass,
warn or fail, for the query and for each of its batches, with everything unusual that may explain it.

in:  labels.parquet, fit.parquet, mapping.json and latent.parquet of each model, and its
     latent.parquet of the reference; the matched baseline's labels, measures and agreement;
     calibration.json, if there are folds, and measures.json of their held-out cells; mapqc.json, if
     the query has controls; counts.h5ad of query and reference; the baseline's model.pt;
     cells.parquet of the query and the datasets; check.json of a query of another species than all
     datasets; criticism.csv of the query and of the evaluation, if models are criticized
out: delivered.parquet (label, confidence, coarser levels, prediction set, novelty), sources.parquet
     (calibrated confidence of every source), sources.json (estimated accuracy, and weight of each
     source, by batch), measures.json, verdict.json
"""

import pandas as pd

from refatlas.evaluate.criticism_notes import with_criticism
from refatlas.evaluate.query_measures import measure
from refatlas.evaluate.species_note import with_species
from refatlas.evaluate.verdict import (
    assess,
    report_verdict,
    why_novelty_is_not_judged,
    why_novelty_is_not_tested,
    with_mapqc,
)
from refatlas.io.atomic import read_json, write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.transfer.delivery import combine


def main(smk) -> None:
    i, p, out, name = smk.input, smk.params, smk.output, smk.wildcards.name
    models = by_name_and_kind(i, "labels", "fit", "mapping", "latent", "reference_latent")
    matched = {kind: i[f"matched_{kind}"] for kind in ("labels", "measures", "agreement")}
    learned = read_json(i.calibration) if i.get("calibration") else None
    reference, cells = read_cells(list(by_name(i, "dataset_cells").values()), named=False), pd.read_parquet(i.cells)
    delivery, sources = combine(models, matched, cells, reference, learned, p.novel, p.source, by_name(i, "external"))
    measures = measure(i.counts, i.reference, cells, delivery.cells, models, i.baseline, p.seed)
    folds, judged = {fold: read_json(path) for fold, path in by_name(i, "measures").items()}, measures
    if i.get("mapqc"):
        shares = {fold: read_json(path) for fold, path in by_name(i, "mapqc").items()}
        judged, folds = with_mapqc(measures, folds, read_json(i.mapqc), shares)
    facts = delivery.facts()
    doubts = why_novelty_is_not_judged(learned), why_novelty_is_not_tested(learned)
    found = assess(judged, list(folds.values()), facts["accuracy"], *doubts)
    found = with_species(found, read_json(i.foreign) if i.get("foreign") else None)
    found = with_criticism(found, by_name(i, "criticism"), i.get("usual_criticism"))
    report_verdict(name, found)
    write_table(delivery.cells, out.delivered)
    write_table(sources, out.sources)
    write_json(facts, out.facts)
    write_json(measures, out.measures)
    write_json({"query": name, **found}, out.verdict)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
