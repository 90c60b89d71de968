"""Gene programs in contrasts on real cells: without an effect, and of stimulated against control cells.

usage: .venv/bin/python measurements/contrast_features.py DATA WORK EPOCHS
    DATA    folder of kang_ctrl_8donors_1287g.h5ad and kang_ctrl_stim_1975c_6998g.h5ad
    WORK    new folder to work in
    EPOCHS  of the training of expiMap

Runs the workflow up to features.csv three times: four control donors against four; and stimulated against control cells
of random parts, once with the condition as the batch of the model and once with one batch for all cells.
"""

import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import yaml

from contrasts import HALVES, halves, split_samples
from overhead import timed, workflow

STIMULATED = {"condition": "condition", "groups": ["stimulated", "control"], "sample": "part", "allow_confounded": True}
CASES = {
    "four donors against four": ("kang_ctrl_8donors_1287g.h5ad", halves, {**HALVES, "sample": "batch"}, "batch"),
    "stimulated, the condition is the batch": (
        "kang_ctrl_stim_1975c_6998g.h5ad",
        split_samples,
        STIMULATED,
        "condition",
    ),
    "stimulated, one batch": ("kang_ctrl_stim_1975c_6998g.h5ad", split_samples, STIMULATED, "-"),
}
FEATURES = "results/differential/c/models/programs/features.csv"


def measure(data: Path, work: Path, case: str, epochs: int) -> pd.DataFrame:
    """Return the features of one case."""
    file, change, contrast, batch_key = CASES[case]
    work.mkdir(parents=True)
    change(ad.read_h5ad(data / file)).write_h5ad(work / "cells.h5ad")
    (work / "reference.tsv").write_text("dataset\tpath\nkang\tcells.h5ad\n")
    config = {
        "reference": "reference.tsv",
        "label_key": "cell_type",
        "batch_key": batch_key,
        "models": {"programs": {"type": "expimap", "train": {"max_epochs": epochs}}},
        "evaluation": {"folds": 0},
        "differential": {"contrasts": {"c": {**contrast, "features": ["programs"]}}},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    seconds = timed(workflow("--cores", "2", "--resources", "gpu=2", "--", FEATURES), work)
    print(f"{case}: {seconds:.0f} s")
    return pd.read_csv(work / FEATURES)


def main() -> None:
    """Print how many programs differ by label, and the first ones of monocytes."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    data, work, epochs = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), int(sys.argv[3])
    for i, case in enumerate(CASES):
        found = measure(data, work / str(i), case, epochs)
        called = (found["fdr"] < 0.05).groupby(found["label"]).agg(["sum", "size"])
        print(called.to_string(), "\n")
        interferon = found["feature"].str.contains("INTERFERON").to_numpy()
        for label in called.index:
            own = found[found["label"] == label].sort_values("p_value")
            print(f"{label}: {', '.join(own['feature'].head(3))}")
            if interferon.any():
                places = own["feature"].str.contains("INTERFERON").to_numpy().nonzero()[0] + 1
                print(f"    interferon programs at places {places.tolist()}")


if __name__ == "__main__":
    main()
