"""Measures posterior predictive checks: sound and damaged queries against held-out donors, and their cost.

usage: .venv/bin/python measurements/criticism.py queries DATA WORK [TYPE ...]
           donors 1039 and 107 of PBMC, and damaged copies of 107, onto half of the cells of six donors: differences
           from the training cells of the reference, their limits, and the range of held-out donors; by models of
           each TYPE (scvi, scanvi or drvi; default: scvi)
       .venv/bin/python measurements/criticism.py cost WORK N
           the checks of N cells of the reference of that run, and those of scvi.criticism, each in a process of its own
    DATA  folder of kang_ctrl_8donors_1287g.h5ad
    WORK  new folder to work in; of cost, one of `queries`
"""

import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from scipy import sparse

from overhead import timed, workflow
from refatlas.evaluate.criticism_notes import compared

SOUND = ("1039", "107")
N_SAMPLES = 5
CONFIG = {
    "reference": "reference.tsv",
    "queries": "queries.tsv",
    "label_key": "cell_type",
    "batch_key": "batch",
    "evaluation": {"folds": 3, "max_epochs": 30},
    "criticism": {"models": "all", "max_cells": 1500, "n_samples": N_SAMPLES},
}


def damaged(counts: ad.AnnData) -> dict[str, ad.AnnData]:
    """Return copies: a tenth of the counts, each gene's counts permuted across cells, and names of genes exchanged."""
    thinned, permuted = counts.copy(), counts.copy()
    thinned.X = sparse.csr_matrix(thinned.X)
    thinned.X.data = np.random.default_rng(0).binomial(thinned.X.data.astype(np.int64), 0.1).astype(np.float32)
    permuted.X = sparse.csr_matrix(np.random.default_rng(0).permuted(counts.X.toarray(), axis=0))
    order = np.random.default_rng(0).permutation(counts.n_vars)
    shuffled = ad.AnnData(counts.X, obs=counts.obs, var=counts.var.iloc[order])
    return {"thinned": thinned, "permuted": permuted, "shuffled": shuffled}


def measure_queries(data: Path, work: Path, kinds: list[str]) -> None:
    """Run the workflow on Kang's donors, and print what the report says of each query."""
    work.mkdir()
    cells = ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")
    donors = cells.obs["batch"].astype(str)
    cells[~donors.isin(SOUND).to_numpy()][::2].copy().write_h5ad(work / "kang.h5ad")
    queries = {donor: cells[(donors == donor).to_numpy()].copy() for donor in SOUND}
    queries = {f"donor{donor}": query for donor, query in queries.items()} | damaged(queries["107"])
    for name, query in queries.items():
        query.write_h5ad(work / f"{name}.h5ad")
    (work / "queries.tsv").write_text("query\tpath\n" + "".join(f"{name}\t{name}.h5ad\n" for name in queries))
    (work / "reference.tsv").write_text("dataset\tpath\nkang\tkang.h5ad\n")
    models = {kind: {"type": kind, "train": {"max_epochs": 60}, "surgery": {"max_epochs": 40}} for kind in kinds}
    (work / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "models": models}))
    wanted = {kind: [f"results/queries/{name}/models/{kind}/criticism.csv" for name in queries] for kind in kinds}
    paths = [path for of_kind in wanted.values() for path in of_kind]
    timed(workflow("--cores", "2", "--", *paths, "results/evaluation/criticism.csv"), work)
    usual = pd.read_csv(work / "results/evaluation/criticism.csv")
    usual = usual[usual["features"] == "rna"]
    for kind, of_kind in wanted.items():
        of_queries = {name: pd.read_csv(work / path) for name, path in zip(queries, of_kind, strict=True)}
        print(f"\n{kind}\n{differences(of_queries, usual[usual['model'] == kind]).to_string()}")


def differences(queries: dict[str, pd.DataFrame], usual: pd.DataFrame) -> pd.DataFrame:
    """Return what the report says of each query: a row a measure, beside held-out donors and their limit."""
    table = pd.DataFrame()
    for name, found in queries.items():
        for row in compared(found[found["features"] == "rna"], usual):
            held = row["held_out"]
            table.loc[row["words"], "held-out"] = f"{min(held):.3f} to {max(held):.3f}"
            table.loc[row["words"], "limit"] = f"{row['limit']:.3f}"
            table.loc[row["words"], name] = f"{row['difference']:.3f}{' beyond' if row['excess'] > 0 else ''}"
    return table


def measure_cost(work: Path, n_cells: int) -> None:
    """Print time and peak memory of the checks, by this workflow and by scvi.criticism."""
    for who in ("refatlas", "scvi.criticism"):
        process = multiprocessing.get_context("spawn").Process(target=checked, args=(work, n_cells, who))
        process.start()
        process.join()


def checked(work: Path, n_cells: int, who: str) -> None:
    """Check the reference's model on its cells, taken again if there are too few, and print what it cost."""
    from refatlas.evaluate.model_criticism import cells_of
    from refatlas.io.model_counts import read_counts
    from refatlas.models.model_files import load_model

    counts = read_counts(work / "results/reference/counts.h5ad", True)
    rows = np.arange(n_cells) % counts.n_obs
    labels = pd.factorize(counts.obs["label"])[0][rows]
    cells = cells_of(counts, rows)
    cells.obs_names = [f"c{i}" for i in range(n_cells)]
    model = load_model("scvi", str(work / "results/reference/models/scvi/model.pt"), cells)
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    correlation = (of_refatlas if who == "refatlas" else of_scvi)(model, cells, labels)
    seconds, of_cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{who}, {n_cells:,} cells: {seconds:.1f} s, {of_cpu:.1f} s of CPU, peak {peak_mb():,.0f} MB"
        f" ({before:,.0f} MB before); correlation of the variation of genes {correlation:.3f}",
        flush=True,
    )


def of_refatlas(model: Any, cells: ad.AnnData, labels: np.ndarray) -> float:
    """Return the correlation of coefficients of variation of genes, after all checks of this workflow."""
    from refatlas.evaluate.criticism import criticize
    from refatlas.models.replicates import feature_masks, replicated_blocks

    batches = cells.obs["batch"].astype(str).to_numpy()
    found = criticize(replicated_blocks(model, N_SAMPLES, 0), batches, labels, feature_masks(cells), N_SAMPLES, 0)
    return float(found.rows()[0]["cv_gene_correlation"])


def of_scvi(model: Any, cells: ad.AnnData, labels: np.ndarray) -> float:
    """Return the same after the checks of scvi.criticism."""
    import scvi
    from scvi.criticism import PosteriorPredictiveCheck

    scvi.settings.seed = 0
    data = model.model.adata
    data.obs["label"] = labels.astype(str)
    found = PosteriorPredictiveCheck(data, {"model1": model.model}, n_samples=N_SAMPLES)
    found.coefficient_of_variation("cells")
    found.coefficient_of_variation("features")
    found.zero_fraction()
    found.calibration_error()
    found.differential_expression("label")
    return float(found.metrics["cv_gene"].corr().iloc[0, 1])


def peak_mb() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("queries", "cost"):
        sys.exit(__doc__)
    if sys.argv[1] == "queries":
        measure_queries(Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve(), sys.argv[4:] or ["scvi"])
    else:
        measure_cost(Path(sys.argv[2]).resolve(), int(sys.argv[3]))
