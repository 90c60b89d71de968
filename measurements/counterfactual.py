"""Measures counterfactual expression: stimulated PBMC decoded from control cells, with labels hidden from a training.

usage: .venv/bin/python measurements/counterfactual.py DATA WORK
    DATA  folder of kang_ctrl_stim_1975c_6998g.h5ad
    WORK  new folder to work in

A fifth of the cells is left out, as a query is in a usual run. Prints support.csv and error.csv.
"""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from overhead import timed, workflow

CONFIG = {
    "reference": "reference.tsv",
    "label_key": "cell_type",
    "batch_key": "batch",
    "models": {"scvi": {"type": "scvi"}},
    "evaluation": {"folds": 0},
    "expression": {
        "model": "scvi",
        "counterfactual": [{"from": "kang:control", "to": "kang:stimulated"}],
    },
}
FOLDER = "results/counterfactual/kang_control_to_kang_stimulated"
SHOWN = ["about", "reason"]


def main() -> None:
    """Run the workflow to the tables of one pair of batches, and print them."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, work = (Path(argument).resolve() for argument in sys.argv[1:])
    work.mkdir()
    cells = ad.read_h5ad(data / "kang_ctrl_stim_1975c_6998g.h5ad")
    random = np.random.default_rng(0)
    # The draw of parts, which other measurements use, comes first.
    random.integers(0, 4, cells.n_obs)
    cells[random.random(cells.n_obs) >= 0.2].write_h5ad(work / "kang.h5ad")
    (work / "reference.tsv").write_text("dataset\tpath\nkang\tkang.h5ad\n")
    (work / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    timed(workflow("--cores", "2", "--", f"{FOLDER}/error.csv"), work)
    for name in ("support", "error"):
        table = pd.read_csv(work / FOLDER / f"{name}.csv")
        print(table.drop(columns=SHOWN, errors="ignore").round(3).to_string(index=False))


if __name__ == "__main__":
    main()
