"""Flags of clusters on damaged real data: doublets, ambient RNA and broken cells are planted among Kang's donors.

usage: .venv/bin/python measurements/cluster_flags.py DATA WORK
    DATA    folder with kang_ctrl_8donors_1287g.h5ad
    WORK    folder to work in; it must not exist

Planted: doublets, the sums of a B cell and a CD14+ monocyte of one donor; ambient RNA, draws from the mean profile with
a third of the usual counts; broken cells, CD4 T cells thinned to a tenth of their counts. The workflow clusters all
cells with the linear model. Prints, for each resolution, the clusters of which most cells are planted, and their flags;
then the flags of all other clusters.
"""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from scipy import sparse

REPO = Path(__file__).resolve().parents[1]
KANG, SEED = "kang_ctrl_8donors_1287g.h5ad", 0
N_PLANTED = {"doublet": 500, "ambient": 500, "broken": 500}


def planted(counts: ad.AnnData, generator: np.random.Generator) -> ad.AnnData:
    """Return planted cells with `batch`, and in `planted` what they are."""
    x, types = sparse.csr_matrix(counts.X), counts.obs["cell_type"].astype(str).to_numpy()
    donors = counts.obs["batch"].astype(str).to_numpy()
    totals = np.asarray(x.sum(axis=1)).ravel()
    firsts = generator.choice(np.flatnonzero(types == "B cells"), N_PLANTED["doublet"])
    seconds = [generator.choice(np.flatnonzero((types == "CD14+ Monocytes") & (donors == donors[i]))) for i in firsts]
    profile = np.asarray(x.sum(axis=0)).ravel()
    ambient_donors = generator.choice(donors, N_PLANTED["ambient"])
    depths = generator.choice(totals, N_PLANTED["ambient"]) // 3
    ambient = np.stack([generator.multinomial(int(n), profile / profile.sum()) for n in depths])
    whole = generator.choice(np.flatnonzero(types == "CD4 T cells"), N_PLANTED["broken"])
    broken = generator.binomial(x[whole].toarray().astype(int), 0.1)
    made = sparse.vstack([x[firsts] + x[seconds], sparse.csr_matrix(ambient), sparse.csr_matrix(broken)]).tocsr()
    kinds = np.repeat(list(N_PLANTED), list(N_PLANTED.values()))
    batches = np.concatenate([donors[firsts], ambient_donors, donors[whole]])
    obs = pd.DataFrame({"batch": batches, "planted": kinds}, index=[f"planted{i}" for i in range(len(kinds))])
    return ad.AnnData(made.astype(np.float32), obs=obs, var=counts.var[[]])


def main(data: str, work: str) -> None:
    """Plant, run, and print what the docstring says."""
    folder = Path(work).resolve()
    folder.mkdir(parents=True)
    counts = ad.read_h5ad(f"{data}/{KANG}")
    counts.obs = counts.obs[["batch", "cell_type"]].astype(str).assign(planted="")
    both = ad.concat([counts, planted(counts, np.random.default_rng(SEED))], join="inner")
    both.write_h5ad(folder / "reference.h5ad")
    (folder / "reference.tsv").write_text("dataset\tpath\nkang\treference.h5ad\n")
    limits = {"min_counts": 0, "min_genes": 0, "mads": None}
    settings = {"reference": "reference.tsv", "label_key": "-", "qc": limits, "models": {"linear": {"type": "linear"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "annotation",
        "--snakefile",
        REPO / "Snakefile",
        "--directory",
        folder,
    ]
    subprocess.run([*map(str, command), "--configfile", str(folder / "config.yaml")], check=True)
    model = folder / "results/reference/models/linear"
    clusters, described = pd.read_parquet(model / "clusters.parquet"), pd.read_csv(model / "clusters.csv")
    kinds = both.obs["planted"].astype(str).replace("", "real").set_axis("kang:" + both.obs_names).loc[clusters.index]
    rows = []
    for resolution in clusters:
        shares = pd.crosstab(clusters[resolution], kinds, normalize="index")
        own = described[described["resolution"] == float(resolution)].set_index("cluster")
        for cluster, share in shares.iterrows():
            row = {"resolution": resolution, "cluster": cluster, "cells": own.loc[cluster, "n_cells"]}
            rows.append({**row, "mostly": share.idxmax(), "share": share.max(), "flags": own.loc[cluster, "flags"]})
    table = pd.DataFrame(rows).fillna("")
    print(table[(table["mostly"] != "real") | (table["flags"] != "")].round(2).to_string(index=False))
    print(len(table[table["mostly"] == "real"]), "clusters of real cells in all")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
