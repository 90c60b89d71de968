"""Measures what the chosen settings of a model gain over those of the configuration, on batches that took no part.

in:  best.json; fold.json of the split of tuning and of the fold that judges; unless the settings of the configuration
     were kept: labels of its held-out cells by a model with these (defaults), and by the model with the chosen ones
     (tuned), and their known labels
out: gain.json
"""

import pandas as pd

from refatlas.evaluate.tuning import gain_facts
from refatlas.io.atomic import read_json, write_json
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i = smk.input
    best, tuned_on, judged_on = (read_json(path) for path in (i.best, i.tuning, i.fold))
    tables = None
    if i.get("tuned"):
        tables = pd.read_parquet(i.defaults), pd.read_parquet(i.tuned), read_cells([i.cells], ["batch", "label"])
    found = gain_facts(best, tuned_on, judged_on, tables, smk.params.seed)
    write_json(found, smk.output.gain)
    print(found["verdict"])


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
