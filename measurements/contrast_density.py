"""Densities in a latent space on real cells: without an effect, with cells of one label taken away, time and memory.

usage: .venv/bin/python measurements/contrast_density.py DATA WORK EPOCHS
    DATA    folder of kang_ctrl_8donors_1287g.h5ad
    WORK    new folder to work in
    EPOCHS  of the training of scVI

Runs the workflow up to the densities of four control donors against four. Then takes 70 % of the cells of each label in
turn away from one half of the donors, and compares again in the latent space of the same model. With and without the
components of the cells themselves.
"""

import json
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from contrasts import HALVES, REMOVED, halves
from overhead import timed, workflow
from refatlas.config.contrasts import complete_contrasts
from refatlas.differential.abundance import reference_categories
from refatlas.differential.density import compare_density, density_cells
from refatlas.differential.density_inputs import read_log_densities
from refatlas.differential.results import read_planned

CONTRAST = {**HALVES, "sample": "batch", "density": "scvi"}
FOLDER = Path("results/differential/c")


def run(data: Path, work: Path, epochs: int) -> None:
    """Run the workflow on the donors."""
    work.mkdir(parents=True)
    halves(ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")).write_h5ad(work / "cells.h5ad")
    (work / "reference.tsv").write_text("dataset\tpath\nkang\tcells.h5ad\n")
    config = {
        "reference": "reference.tsv",
        "label_key": "cell_type",
        "batch_key": "batch",
        "models": {"scvi": {"type": "scvi", "train": {"max_epochs": epochs}}},
        "evaluation": {"folds": 0},
        "differential": {"contrasts": {"c": CONTRAST}},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    target = FOLDER / "models/scvi/density.png"
    seconds = timed(workflow("--cores", "2", "--resources", "gpu=2", "--", target), work)
    record = json.loads((work / "logs/compare_density/c/scvi.json").read_text())
    print(f"the whole run: {seconds:.0f} s; compare_density: {record['seconds']:.0f} s, {record['peak_mb']:,.0f} MB")


def densities(work: Path, removed: str | None = None, leave_out_own: bool = True) -> pd.DataFrame:
    """Return the labels' densities, without REMOVED of the cells of one label in the control group."""
    contrast = complete_contrasts({"contrasts": {"c": CONTRAST}, "gene_sets": None})["contrasts"]["c"]
    planned, samples = read_planned(str(work / FOLDER / "cells.parquet"), str(work / FOLDER / "design.csv"), contrast)
    known = pd.read_parquet(work / "results/reference/datasets/kang/cells.parquet")
    categories = reference_categories(known)
    taken = (categories == removed) & (planned["half"].reindex(categories.index) == "odd")
    taken &= np.random.default_rng(0).random(len(taken)) < REMOVED
    cells = density_cells(planned, categories[~taken], samples, contrast)
    folder = work / "results/reference"
    paths = {name: str(folder / f"models/scvi/{file}") for name, file in FILES.items()}
    models = {"reference": {**paths, "counts": str(folder / "counts.h5ad")}}
    logs = read_log_densities(cells, models, ["kang"], 0, leave_out_own)
    found = compare_density(logs, cells, contrast, ["kang"], 0)
    is_test = (cells.samples["half"] == "even").to_numpy()[cells.table["number"]]
    ratios = found.cells["log2_ratio"]
    own = f"{ratios[is_test].median():.2f} and {ratios[~is_test].median():.2f}"
    print(f"median log2 ratio of the cells of the test and of the control group: {own}")
    return found.labels.drop(columns="left_out").round(3)


FILES = {"model": "model.pt", "latent": "latent.parquet"}


def main() -> None:
    """Print the tables."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    data, work, epochs = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), int(sys.argv[3])
    run(data, work, epochs)
    for leave_out_own in (True, False):
        print("\nfour donors against four", "" if leave_out_own else "with own components")
        null = densities(work, leave_out_own=leave_out_own)
        print(null.to_string(index=False))
    rows = []
    for label in null["label"]:
        started = time.monotonic()
        found = densities(work, label).set_index("label")
        others = found.drop(index=label)
        farthest = others["median_log2_ratio"].abs().idxmax()
        own = found.loc[label, ["n_cells", "median_log2_ratio", "p_value", "fdr"]]
        rows.append([label, *own, others["median_log2_ratio"].abs().median(), farthest])
        rows[-1] += [others.loc[farthest, "median_log2_ratio"], others["p_value"].min(), time.monotonic() - started]
    columns = ["label", "cells", "median", "p", "fdr", "others_median_abs", "farthest", "its_median", "others_least_p"]
    print("\nwith cells taken away in the control group")
    print(pd.DataFrame(rows, columns=[*columns, "seconds"]).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
