"""Densities in a latent space on real cells: without an effect, with cells of one label taken away, time and memory.

usage: .venv/bin/python measurements/contrast_density.py DATA WORK EPOCHS
    DATA    folder of kang_ctrl_8donors_1287g.h5ad
    WORK    new folder to work in
    EPOCHS  of the training of scVI
       .venv/bin/python measurements/contrast_density.py cost N_CELLS


Runs the workflow up to the densities of four control donors against four. Then takes 70 % of the cells of each label in
turn away from one half of the donors, and compares again in the latent space of the same model. With and without the
components of the cells themselves. `cost` prints seconds and peak memory of the densities and p-values of N_CELLS
places at random in 10 dimensions, of eight samples and eight labels: all but what the models do.
"""

import json
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from contrasts import HALVES, REMOVED, halves, report
from overhead import timed, workflow
from refatlas.config.contrasts import complete_contrasts
from refatlas.differential.abundance import reference_categories
from refatlas.differential.density import DensityCells, compare_density, density_cells, draw_components
from refatlas.differential.density_inputs import read_log_densities
from refatlas.differential.participants import FILE
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


def show_cost(n_cells: int) -> None:
    """Print time and memory of the densities and p-values of so many cells, without a model."""
    from refatlas.models.density import Components, log_densities

    random = np.random.default_rng(0)
    places, numbers = random.normal(size=(n_cells, 10)), np.arange(n_cells) % 8
    drawn = draw_components(numbers, 0)
    components = Components(numbers[drawn], drawn, places[drawn], random.uniform(0.01, 0.1, (len(drawn), 10)))
    labels = random.integers(8, size=n_cells).astype(str)
    table = pd.DataFrame({FILE: "r", "batch": "r:b", "label": labels, "number": numbers})
    samples = pd.DataFrame({"batch": [f"b{i}" for i in range(8)], "half": ["even", "odd"] * 4})
    contrast = complete_contrasts({"contrasts": {"c": CONTRAST}, "gene_sets": None})["contrasts"]["c"]
    wall, cpu = time.perf_counter(), time.process_time()
    logs = log_densities(places, components)
    report(f"densities of {n_cells:,} cells", wall, cpu)
    wall, cpu = time.perf_counter(), time.process_time()
    compare_density(logs, DensityCells(table, samples, []), contrast, ["r"], 0)
    report("p-values of eight labels", wall, cpu)


FILES = {"model": "model.pt", "latent": "latent.parquet"}


def main() -> None:
    """Print the tables."""
    if sys.argv[1:2] == ["cost"] and len(sys.argv) == 3:
        show_cost(int(sys.argv[2]))
        return
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
