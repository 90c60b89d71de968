"""Measures tuning on the eight donors of PBMC: what is chosen, what is gained on donors that took no part, its cost.

usage: .venv/bin/python measurements/tuning.py DATA WORK [TRIALS] [EVERY] [EPOCHS]
    DATA    folder of kang_ctrl_8donors_1287g.h5ad
    WORK    new folder to work in
    TRIALS  with the settings of the configuration (default: 9)
    EVERY   takes every so many cells (default: 1, all)
    EPOCHS  of a training at most (default: 60)

Settings are chosen on donors 101 and 1256, and judged on 1039, 107 and 1488. The others train the trials.
"""

import json
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import yaml

from overhead import timed, workflow

CHOOSE, CALIBRATE, JUDGE = ["101", "1256"], ["1016"], ["1039", "107", "1488"]
SPACE = {
    "model.n_latent": [5, 10, 20, 30],
    "model.n_layers": [1, 2],
    "train.lr": {"low": 3e-4, "high": 1e-2, "log": True},
    "model.dropout_rate": [0.0, 0.1, 0.2],
}


def measure(data: Path, work: Path, trials: int, every: int, epochs: int) -> None:
    """Run the workflow up to the gain, and print trials, choice, gain and cost."""
    work.mkdir()
    ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")[::every].copy().write_h5ad(work / "kang.h5ad")
    (work / "queries.tsv").write_text("query\tpath\n")
    (work / "reference.tsv").write_text("dataset\tpath\nkang\tkang.h5ad\n")
    folds = {"choose": CHOOSE, "calibrate": CALIBRATE, "judge": JUDGE}
    config = {
        "reference": "reference.tsv",
        "queries": "queries.tsv",
        "label_key": "cell_type",
        "batch_key": "batch",
        "models": {"scvi": {"type": "scvi", "train": {"max_epochs": epochs}, "surgery": {"max_epochs": epochs}}},
        "evaluation": {"folds": folds, "max_epochs": epochs},
        "tune": {"scvi": {"space": SPACE, "trials": trials}},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    seconds = timed(workflow("--cores", "2", "--", "results/tuning/scvi/gain.json"), work)
    table = pd.read_csv(work / "results/tuning/scvi/trials.csv")
    print(table.drop(columns="reason").round(4).to_string(index=False))
    gain = json.loads((work / "results/tuning/scvi/gain.json").read_text())
    print(json.dumps({key: gain[key] for key in ("trial", "settings", "scores", "verdict")}, indent=1))
    peaks = [json.loads(path.read_text())["peak_mb"] for path in (work / "logs/run_trial/scvi").glob("*.json")]
    print(f"{seconds:.0f} s in all; a trial {table['seconds'].mean():.0f} s on average, peak {max(peaks):,} MB")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 6:
        sys.exit(__doc__)
    numbers = [int(value) for value in sys.argv[3:]]
    measure(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), *[*numbers, *(9, 1, 60)[len(numbers) :]])
