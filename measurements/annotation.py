"""From counts without labels to a named atlas, on Kang's eight donors, whose labels are kept aside.

usage: .venv/bin/python measurements/annotation.py DATA WORK [EPOCHS]
    DATA    folder with kang_ctrl_8donors_1287g.h5ad
    WORK    folder to work in; it must not exist
    EPOCHS  most epochs of scvi and scanvi; by default as many as the workflow takes

Six donors make the reference, donors 1039 and 107 are the queries. Three runs of the workflow: without labels and
queries; with the clusters named as an expert would (by the label that most of a cluster's cells have); and with the
author's labels. Prints ARI and NMI of the clusters, ranks of known markers, how many suggested names are right, and the
accuracy of the queries' labels by both atlases, at the level of the types that the clusters tell apart.
"""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import yaml
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

REPO = Path(__file__).resolve().parents[1]
KANG, QUERIES = "kang_ctrl_8donors_1287g.h5ad", ("1039", "107")
# Marker genes that textbooks give for the author's labels.
KNOWN = {
    "CD14+ Monocytes": ["CD14", "S100A8", "S100A9", "LYZ"],
    "CD4 T cells": ["CD3D", "IL7R", "LTB"],
    "CD8 T cells": ["CD3D", "CD8A", "CD8B", "GZMK"],
    "B cells": ["MS4A1", "CD79A", "CD79B"],
    "NK cells": ["GNLY", "NKG7", "KLRD1"],
    "FCGR3A+ Monocytes": ["FCGR3A", "MS4A7", "LST1"],
    "Dendritic cells": ["FCER1A", "CST3", "CD1C", "HLA-DQA1"],
    "Megakaryocytes": ["PPBP", "PF4"],
}
# Words of a suggested name, in small letters, that mean an author's label.
MEANS = {
    "CD14+ Monocytes": ["cd14", "classical monocyte"],
    "CD4 T cells": ["cd4"],
    "CD8 T cells": ["cd8"],
    "B cells": ["b cell"],
    "NK cells": ["nk", "natural killer"],
    "FCGR3A+ Monocytes": ["fcgr3a", "cd16", "non-classical"],
    "Dendritic cells": ["dendritic", "cdc", "pdc"],
    "Megakaryocytes": ["megakaryocyte", "platelet"],
}


def write_inputs(data: str, work: Path) -> None:
    """Write the reference and the queries, with labels in a column that only scores use."""
    work.mkdir(parents=True)
    counts = ad.read_h5ad(f"{data}/{KANG}")
    donors = counts.obs["batch"].astype(str)
    counts[~donors.isin(QUERIES).to_numpy()].copy().write_h5ad(work / "reference.h5ad")
    for donor in QUERIES:
        counts[(donors == donor).to_numpy()].copy().write_h5ad(work / f"donor_{donor}.h5ad")


def write_config(folder: Path, data: Path, epochs: int | None, labelled: bool, **config) -> None:
    """Write sheets and configuration of one run.

    Args:
        folder: of the run. data: folder of the h5ad files.
        epochs: most epochs of a training.
        labelled: whether the reference has the author's labels.
    """
    folder.mkdir(exist_ok=True)
    rows = [{"dataset": "kang", "path": str(data / "reference.h5ad")}]
    pd.DataFrame(rows).to_csv(folder / "reference.tsv", sep="\t", index=False)
    train = {"train": {"max_epochs": epochs}} if epochs else {}
    settings = {
        "reference": "reference.tsv",
        "label_key": "cell_type" if labelled else "-",
        "models": {"scvi": {"type": "scvi", **train}, "scanvi": {"type": "scanvi", "init_from": "scvi", **train}},
        "evaluation": {"folds": 1},
        "integration": {"metrics": ["ilisi", "pcr_comparison"]},
        "suggestions": {"tissues": ["blood"]},
        "umap": {"n_epochs": 100},
        **config,
    }
    if config.get("queries"):
        queries = [{"query": f"d{q}", "path": str(data / f"donor_{q}.h5ad"), "label_key": "cell_type"} for q in QUERIES]
        pd.DataFrame(queries).to_csv(folder / "queries.tsv", sep="\t", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def run(folder: Path, *targets: str) -> str:
    """Run the workflow in a folder; return what it prints."""
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", REPO / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml", "--resources", "gpu=2"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-6000:])
    return done.stdout + done.stderr


def known_labels(data: Path) -> pd.Series:
    """Return the author's labels of the reference, by cell."""
    labels = ad.read_h5ad(data / "reference.h5ad", backed="r").obs["cell_type"].astype(str)
    return labels.set_axis("kang:" + labels.index)


def suggested_resolution(folder: Path, model: str) -> str:
    """Return the suggested resolution of a model's clusters."""
    table = pd.read_csv(folder / f"results/reference/models/{model}/cluster_stability.csv")
    return f"{table.loc[table['suggested'], 'resolution'].iloc[0]:g}"


def cluster_scores(folder: Path, labels: pd.Series) -> pd.DataFrame:
    """Return ARI and NMI of each model's clusters at each resolution."""
    rows = []
    for path in sorted(folder.glob("results/reference/models/*/clusters.parquet")):
        clusters, model = pd.read_parquet(path), path.parent.name
        truth, suggested = labels.loc[clusters.index], suggested_resolution(folder, model)
        for resolution in clusters:
            codes = clusters[resolution]
            scores = {"ARI": adjusted_rand_score(truth, codes), "NMI": normalized_mutual_info_score(truth, codes)}
            mark = {"suggested": "yes" if resolution == suggested else ""}
            rows.append({"model": model, "resolution": resolution, "clusters": codes.nunique(), **scores, **mark})
    return pd.DataFrame(rows)


def expert_annotation(folder: Path, model: str, resolution: str, labels: pd.Series) -> pd.DataFrame:
    """Return the template with each cluster named by the label that most of its cells have."""
    path = folder / f"results/reference/models/{model}/annotation/{resolution}.tsv"
    template = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    clusters = pd.read_parquet(folder / f"results/reference/models/{model}/clusters.parquet")[resolution]
    majority = labels.loc[clusters.index].groupby(clusters).agg(lambda names: names.value_counts().index[0])
    return template.assign(label=template["cluster"].astype(int).map(majority), by="expert")


def right_suggestions(annotation: pd.DataFrame) -> pd.DataFrame:
    """Return for each label whether the suggestion of any of its clusters means it, and how many do."""
    right = [
        any(word in suggestion.lower() for word in MEANS[label])
        for label, suggestion in zip(annotation["label"], annotation["suggestion"], strict=True)
    ]
    table = annotation.assign(right=right).groupby("label")["right"].agg(["any", "sum", "size"])
    return table.set_axis(["right", "right_clusters", "clusters"], axis=1)


def marker_ranks(folder: Path, annotation: pd.DataFrame) -> pd.DataFrame:
    """Return the rank of the best known marker, and of each known one, among the genes of a label's largest cluster."""
    model, resolution = annotation["model"].iloc[0], annotation["resolution"].iloc[0]
    markers = pd.read_parquet(folder / f"results/reference/models/{model}/markers.parquet")
    rows = []
    for label, part in annotation.groupby("label"):
        own = markers[(markers["grouping"] == resolution) & (markers["group"] == part["cluster"].iloc[0])]
        order = own.sort_values("batch_score", ascending=False)["symbol"].astype(str).tolist()
        ranks = {gene: order.index(gene) + 1 for gene in KNOWN[label] if gene in order}
        rows.append({"label": label, "cluster": part["cluster"].iloc[0], "ranks": ranks, "first": order[:6]})
    return pd.DataFrame(rows)


def told_apart(clusters: pd.Series, labels: pd.Series) -> dict[str, str]:
    """Return for each label the type that clusters can tell: itself, or that of the cluster with most of its cells."""
    majority = labels.loc[clusters.index].groupby(clusters).agg(lambda names: names.value_counts().index[0])
    home = clusters.groupby(labels.loc[clusters.index]).agg(lambda codes: codes.value_counts().index[0])
    named = set(majority)
    return {label: label if label in named else majority[home[label]] for label in labels.unique()}


def accuracies(folder: Path, data: Path, types: dict[str, str]) -> dict[str, float]:
    """Return the accuracy of each query's delivered labels, at the level of types."""
    found = {}
    for donor in QUERIES:
        labels = pd.read_csv(folder / f"results/queries/d{donor}/labels.csv")
        truth = ad.read_h5ad(data / f"donor_{donor}.h5ad", backed="r").obs["cell_type"].astype(str)
        delivered = labels.set_index("cell")["label"].loc[truth.index]
        found[donor] = float((delivered.map(types) == truth.map(types)).mean())
    return found


def main(data: str, work: str, epochs: str | None = None) -> None:
    """Run all three, and print what the docstring says."""
    files, most = Path(work).resolve() / "data", int(epochs) if epochs else None
    write_inputs(data, files)
    named, author = files.parent / "named", files.parent / "author"
    labels = known_labels(files)
    write_config(named, files, most, labelled=False)
    print(run(named).count("left out"), "lines say what is left out without labels")
    print(cluster_scores(named, labels).round(3).to_string(index=False), flush=True)
    resolution = suggested_resolution(named, "scvi")
    annotation = expert_annotation(named, "scvi", resolution, labels)
    print(marker_ranks(named, annotation).to_string(index=False))
    print(right_suggestions(annotation).to_string())
    print(annotation[["cluster", "cells", "label", "suggestion", "sure", "flags"]].to_string(index=False), flush=True)
    annotation.to_csv(named / "annotation.tsv", sep="\t", index=False)
    write_config(named, files, most, labelled=False, queries="queries.tsv", annotation="annotation.tsv")
    planned = run(named, "--dry-run")
    jobs = [line.split() for line in planned.splitlines() if line.startswith(("train_reference ", "map_query "))]
    print("plan of the second run:", dict(jobs))
    print("scvi of the atlas is trained again:", "train_reference/reference/scvi.log" in planned, flush=True)
    run(named)
    write_config(author, files, most, labelled=True, queries="queries.tsv")
    run(author)
    types = told_apart(pd.read_parquet(named / "results/reference/models/scvi/clusters.parquet")[resolution], labels)
    table = pd.DataFrame(
        {"named clusters": accuracies(named, files, types), "author": accuracies(author, files, types)}
    )
    print("types that clusters tell apart:", sorted(set(types.values())))
    print(table.round(4).to_string())


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
