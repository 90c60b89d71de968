"""Measures what the chosen settings of a model gain over those of the configuration, on batches that took no part.

in:  best.json; fold.json of the split of tuning and of the fold that judges; unless the settings of the configuration
     were kept: labels of its held-out cells by a model with these (defaults) and its trial.json, labels by the model
     with the chosen ones (tuned), and the known labels
out: gain.json
"""

import pandas as pd

from refatlas.evaluate.tuning import FAILED, gain_facts
from refatlas.io.atomic import read_json, write_json
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i = smk.input
    best, tuned_on, judged_on = (read_json(path) for path in (i.best, i.tuning, i.fold))
    tables, failed = None, ""
    if i.get("tuned"):
        trial = read_json(i.defaults_trial)
        failed = trial["reason"] if trial["status"] == FAILED else ""
    if i.get("tuned") and not failed:
        tables = pd.read_parquet(i.defaults), pd.read_parquet(i.tuned), read_cells([i.cells], ["batch", "label"])
    found = gain_facts(best, tuned_on, judged_on, tables, smk.params.seed, failed)
    write_json(found, smk.output.gain)
    print(found["verdict"])


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
