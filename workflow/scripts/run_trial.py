"""Trains a model with the settings of one trial, maps held-out cells, and scores their labels by weighted kNN.

in:  counts.h5ad of a fold; counts and labels of the cells that it holds out; labels of the reference's cells
out: trial.json (settings, scores, or why it failed), labels.parquet (of the scored cells), training.csv
"""

from pathlib import Path

from refatlas.evaluate.tuning_trial import TrialJob, repeated_trial, run_trial, settings_of_trial
from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.io.model_counts import read_counts
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.training import require_labels, require_proteins
from refatlas.resources import stays_on_disk


def main(smk) -> None:
    i, p, out, name = smk.input, smk.params, smk.output, smk.wildcards.model
    number, kind = int(smk.wildcards.get("trial", 0)), p.settings["type"]
    chosen, first = settings_of_trial(number, p.settings, p.space, p.sampler, p.seed)
    job = TrialJob(p.settings, p.seed, smk.threads, Path(out.trial).parent, list(i), smk.resources.checkpoint_seconds)
    if first is not None:
        found = repeated_trial(p.settings, chosen, first)
    else:
        counts = read_counts(i.counts, stays_on_disk(name, kind, i.counts, p.from_disk, smk.resources.mem_mb))
        require_labels(name, kind, counts)
        require_proteins(name, kind, counts)
        labels = read_cells(list(by_name(i, "dataset_cells").values()), ["label"])["label"]
        cells = read_cells([i.cells], ["batch", "label"])
        found = run_trial(number, chosen, counts, i.counts, read_counts(i.query), cells, labels, p.k, job)
    write_table(found.cells, out.labels)
    write_table(found.training.history, out.training)
    write_json(found.facts, out.trial)
    print(f"{name}, trial {number}: {chosen or 'the settings of the configuration'}: {found.facts['status']}")
    print(found.facts["scores"] or found.facts["reason"])


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
