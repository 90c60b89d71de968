"""Hides the proteins of a CITE-seq query, imputes them by totalVI and by kNN means, and prints correlations with the
measured counts.

usage: .venv/bin/python measurements/proteins.py DATA WORK [EPOCHS]
    DATA    folder of pbmc10k_6434c_698g_14p.h5ad (reference), citeseq_1400c_3batches_14p.h5ad and
            malt_rna_only_1100c_33538g.h5ad (queries)
    WORK    folder to work in; it must not exist
    EPOCHS  most epochs of training; of surgery too (default: those of the type)

The query's batch pbmc10k_v3 is left out: its cells are in the reference. Correlations are computed within each batch:
Pearson's of log1p counts, and Spearman's. The baselines are means over the 50 nearest reference cells, by 30 principal
components and in the latent space of totalVI: of counts, because the values of totalVI are expected counts, and of
log1p counts, which favours Pearson's correlation.
"""

import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from scipy.stats import spearmanr

from refatlas.io.model_counts import read_counts
from refatlas.neighbors.exact_index import nearest_neighbors

REPO = Path(__file__).resolve().parents[1]

REFERENCE, QUERY, RNA_ONLY = (
    "pbmc10k_6434c_698g_14p.h5ad",
    "citeseq_1400c_3batches_14p.h5ad",
    "malt_rna_only_1100c_33538g.h5ad",
)
KEY = "protein_expression"
NEIGHBORS = 50


def prepare(data: Path, work: Path, epochs: int | None) -> pd.DataFrame:
    """Write query, sheets and configuration; return the query's measured proteins, with the batch
    as index.
    """
    work.mkdir(parents=True)
    query = ad.read_h5ad(data / QUERY)
    query = query[(query.obs["batch"] != "pbmc10k_v3").to_numpy()].copy()
    truth = query.obsm.pop(KEY).set_axis(query.obs["batch"].astype(str))
    query.write_h5ad(work / "hidden.h5ad")
    (work / "reference.tsv").write_text(f"dataset\tpath\tprotein_key\npbmc10k\t{data / REFERENCE}\t{KEY}\n")
    (work / "queries.tsv").write_text(f"query\tpath\nhidden\thidden.h5ad\nmalt\t{data / RNA_ONLY}\n")
    limit = {section: {"max_epochs": epochs} for section in ("train", "surgery") if epochs}
    config = {
        "reference": "reference.tsv",
        "queries": "queries.tsv",
        "evaluation": {"folds": 0},
        "models": {"totalvi": {"type": "totalvi", "outputs": {"background": True}, **limit}},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    return truth


def run(work: Path) -> float:
    """Map both queries by both models; return the seconds it took."""
    targets = [f"results/queries/{query}/models/linear/latent.parquet" for query in ("hidden", "malt")]
    targets += [f"results/queries/{query}/models/totalvi/tables" for query in ("hidden", "malt")]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *targets,
        "--snakefile",
        REPO / "Snakefile",
        "--directory",
        work,
        "--configfile",
        work / "config.yaml",
    ]
    started = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def knn_means(results: Path, model: str, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log1p of the mean counts, and the mean of log1p counts, over each query cell's nearest
    reference cells in a model's latent space.
    """
    latents = [
        pd.read_parquet(results / cells / f"models/{model}/latent.parquet").to_numpy()
        for cells in ("reference", "queries/hidden")
    ]
    neighbors, _ = nearest_neighbors(*latents, NEIGHBORS)
    return np.log1p(reference[neighbors].mean(axis=1)), np.log1p(reference)[neighbors].mean(axis=1)


def correlations(values: np.ndarray, truth: np.ndarray) -> dict[str, list[float]]:
    """Return Pearson's and Spearman's correlation of each protein, of log1p values, in one batch's
    cells.
    """
    pairs = list(zip(values.T, np.log1p(truth).T, strict=True))
    return {
        "pearson": [np.corrcoef(a, b)[0, 1] for a, b in pairs],
        "spearman": [spearmanr(a, b).statistic for a, b in pairs],
    }


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    data, work = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    truth = prepare(data, work, int(sys.argv[3]) if len(sys.argv) == 4 else None)
    print(f"{run(work):.0f} s")
    results = work / "results"
    reference = read_counts(results / "reference/counts.h5ad")
    names = list(reference.uns["protein_names"])
    sources = {
        "totalvi": np.log1p(
            pd.read_parquet(results / "queries/hidden/models/totalvi/tables/proteins.parquet")[names].to_numpy()
        )
    }
    for model in ("linear", "totalvi"):
        sources[f"knn {model}"], sources[f"knn {model}, of logs"] = knn_means(
            results, model, reference.obsm["proteins"]
        )
    for batch in truth.index.unique():
        rows, measured = truth.index == batch, truth.loc[batch, names].to_numpy()
        found = {name: correlations(values[rows], measured) for name, values in sources.items()}
        table = pd.DataFrame(
            {f"{name} {kind}": found[name][kind] for kind in ("pearson", "spearman") for name in sources}, index=names
        )
        table.loc["mean"] = table.mean()
        print(f"{batch}: {rows.sum()} cells\n{table.round(3).to_markdown()}\n")
    malt = pd.read_parquet(results / "queries/malt/models/totalvi/tables/proteins.parquet")
    print(
        f"RNA-only query: {len(malt)} cells; imputed proteins,"
        f" quartiles\n{malt.quantile([0.25, 0.5, 0.75]).round(1).to_markdown()}"
    )


if __name__ == "__main__":
    main()
