"""Chooses the settings of a model by the labels of held-out cells in all trials.

in:  trial.json and labels.parquet of each trial
out: best.json (the chosen trial and the settings that it changes), trials.csv, trials.png
"""

import pandas as pd

from refatlas.evaluate.tuning import DONE, Trial, choose
from refatlas.io.atomic import read_json, write_json, write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.tuning_figure import plot_trials


def main(smk) -> None:
    p, facts, labels = smk.params, by_name(smk.input, "trial"), by_name(smk.input, "labels")
    trials = [
        Trial(int(number), found, pd.read_parquet(labels[number]) if found["status"] == DONE else None)
        for number, found in ((number, read_json(path)) for number, path in facts.items())
    ]
    best, table = choose(trials, p.names, p.seed)
    chosen = trials[best].facts["chosen"]
    write_table(table, smk.output.trials)
    save_figure(plot_trials(smk.wildcards.model, table, p.names), smk.output.figure)
    # Nothing but what training reads: what else changes with a further trial must not train again.
    write_json({"trial": best, "settings": chosen}, smk.output.best)
    print(f"trial {best}: {chosen or 'the settings of the configuration are kept'}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
