"""Gives a query its first labels, by the matched baseline alone, and a verdict on them.

in:  the matched baseline's labels, measures and agreement on the query; calibration.json of
     calibrate_quick, if there are folds; cells.parquet of the query and the datasets; check.json of a query of
     another species than all datasets
out: labels.csv, as of deliver_labels without the columns of models; verdict.json, without checks
     that need a model
"""

import pandas as pd

from refatlas.evaluate.label_measures import label_measures
from refatlas.evaluate.species_note import with_species
from refatlas.evaluate.verdict import assess, report_verdict, why_labels_are_too_few, why_novelty_is_not_judged
from refatlas.io.atomic import read_json, write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.transfer.deliverable import deliverable, status_counts
from refatlas.transfer.delivery import combine
from refatlas.transfer.evidence import MATCHED


def main(smk) -> None:
    i, p, out, name = smk.input, smk.params, smk.output, smk.wildcards.name
    matched = {kind: i[f"matched_{kind}"] for kind in ("labels", "measures", "agreement")}
    learned = read_json(i.calibration) if i.get("calibration") else None
    reference, cells = read_cells(list(by_name(i, "dataset_cells").values()), named=False), pd.read_parquet(i.cells)
    sources = {MATCHED: {"labels": i.matched_labels}}
    delivery, _ = combine(sources, matched, cells, reference, learned, p.novel, MATCHED)
    measures = label_measures(cells, delivery.cells, list(delivery.shares.columns))
    doubts = why_novelty_is_not_judged(learned), why_labels_are_too_few(learned)
    found = assess(measures, [], delivery.facts()["accuracy"], *doubts)
    found = with_species(found, read_json(i.foreign) if i.get("foreign") else None)
    rows = deliverable(cells, delivery.cells, {}, p.min_confidence, p.alpha, found)
    write_table(rows, out.labels)
    write_json({"query": name, **found}, out.verdict)
    print(status_counts(rows))
    report_verdict(name, found)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
