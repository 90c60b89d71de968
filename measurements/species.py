"""Labels across species by whole runs: with no table of orthologs, by capitals, by a gene column, and by the table.

usage: .venv/bin/python measurements/species.py PAIR DATA WORK [EPOCHS]
    PAIR    pancreas (human atlas, mouse query) or brain (mouse atlas, human query)
    DATA    folder of the baron and the brain files
    WORK    folder of the runs
    EPOCHS  of scvi, in training and surgery (default 30; 0 leaves the model out)

Prints for each road the genes found, accuracy, macro-F1 of types that the atlas has, ECE of the delivered confidence on
these cells, the estimated accuracy, the AUROC of 1 - confidence for types that it lacks, and the verdict. Labels that
the atlas lacks count as unseen; so does fetal_quiescent, which is left out.
"""

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import f1_score, roc_auc_score

REPO = Path(__file__).resolve().parents[1]
PAIRS = {
    "pancreas": ("baron_human_1021c_20125g", "human", "baron_mouse_988c_14877g", "mouse"),
    "brain": ("brain_zeisel_mouse_550c_19972g", "mouse", "brain_darmanis_human_329c_22085g", "human"),
}
LEFT_OUT = ("fetal_quiescent",)


def as_named(name: str, to: str) -> str:
    """Return a symbol in the capitals of a species."""
    return name.upper() if to == "human" else name.capitalize()


def prepared(pair: str, data: Path, folder: Path) -> dict[str, dict]:
    """Write the files of each road; return the cells of its sheets and its configuration.

    The one-to-one human ortholog stands in var['human'] of the mouse file alone, so by the column it is the mouse file
    that is named by human genes: the query of the pancreas, the atlas of the brain.
    """
    reference, own, query, other = PAIRS[pair]
    files = {kind: str(data.resolve() / f"{name}.h5ad") for kind, name in (("reference", reference), ("query", query))}
    capitals = ad.read_h5ad(files["query"])
    capitals.var_names = [as_named(name, own) for name in capitals.var_names]
    capitals.var_names_make_unique()
    capitals.var = capitals.var[[]]
    capitals.write_h5ad(folder / "capitals.h5ad")
    column = {"gene_key": "human"}
    mouse = "reference" if own == "mouse" else "query"
    return {
        "no table": {"query": {"path": files["query"]}, "reference": {"path": files["reference"]}},
        "capitals": {"query": {"path": str(folder / "capitals.h5ad")}, "reference": {"path": files["reference"]}},
        "column": {
            "query": {"path": files["query"], **(column if mouse == "query" else {})},
            "reference": {"path": files["reference"], **(column if mouse == "reference" else {})},
        },
        "table": {
            "query": {"path": files["query"], "species": other},
            "reference": {"path": files["reference"]},
            "config": {"species": own, "orthologs": "bundled"},
        },
    }


def run(folder: Path, road: dict, epochs: int) -> subprocess.CompletedProcess:
    """Run the workflow up to the labels of the query."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([{"dataset": "atlas", **road["reference"]}]).to_csv(folder / "reference.tsv", sep="\t", index=False)
    row = {"query": "q", "label_key": "cell_type", **road["query"]}
    pd.DataFrame([row]).to_csv(folder / "queries.tsv", sep="\t", index=False)
    settings = {"train": {"max_epochs": epochs}, "surgery": {"max_epochs": epochs}}
    models = {"scvi": {"type": "scvi", **settings}} if epochs else {"linear": {"type": "linear"}}
    config = {"reference": "reference.tsv", "queries": "queries.tsv", "batch_key": "batch", "label_key": "cell_type"}
    config |= {"models": models, "clusters": {"resolutions": []}, **road.get("config", {})}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPO / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "config.yaml"), "--cores", "2", "--resources", "gpu=2"]
    command += ["--", "results/queries/q/labels.csv"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error in ten bins of equal width."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    parts = [(bins == b) for b in range(10) if (bins == b).any()]
    return float(sum(part.mean() * abs(confidence[part].mean() - right[part].mean()) for part in parts))


def scores(folder: Path, road: dict) -> dict:
    """Return what the docs say of one road."""
    results = folder / "results/queries/q"
    labels = pd.read_csv(results / "labels.csv", index_col=0, keep_default_na=False)
    truth = ad.read_h5ad(road["query"]["path"], backed="r").obs["cell_type"].astype(str)
    atlas = set(ad.read_h5ad(road["reference"]["path"], backed="r").obs["cell_type"].astype(str))
    truth.index = [f"q:{cell}" if str(labels.index[0]).startswith("q:") else cell for cell in truth.index]
    truth = truth.reindex(labels.index)
    kept = ~truth.isin(LEFT_OUT)
    seen = kept & truth.isin(atlas)
    right = (labels["label"] == truth)[seen].to_numpy()
    check, verdict = (json.loads((results / f"{name}.json").read_text()) for name in ("check", "verdict"))
    confidence = labels["confidence"].astype(float)
    unseen = (kept & ~seen)[kept]
    return {
        "genes": check["n_selected"] - len(check["padded_genes"]),
        "of": check["n_selected"],
        "accuracy": right.mean(),
        "macro_f1": f1_score(truth[seen], labels["label"][seen], labels=sorted(set(truth[seen])), average="macro"),
        "ece": calibration_error(confidence[seen].to_numpy(), right),
        "confidence": confidence[seen].mean(),
        "estimated": verdict["estimated_accuracy"]["value"],
        "accuracy_of_all": (labels["label"] == truth)[kept].mean(),
        "auroc_unseen": roc_auc_score(unseen, 1 - confidence[kept]) if unseen.any() else np.nan,
        "verdict": verdict["verdict"],
    }


def main(pair: str, data: str, work: str, epochs: str = "30") -> None:
    """Run all roads of one pair, and print a table."""
    folder, rows = Path(work).resolve() / f"{pair}_{epochs}", {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, road in prepared(pair, Path(data), folder).items():
        place = folder / name.replace(" ", "_")
        found = run(place, road, int(epochs))
        if found.returncode:
            text = (found.stdout + found.stderr).splitlines()
            rows[name] = {"refused": next((line for line in text if "genes found" in line), "\n".join(text[-15:]))}
            print(rows[name]["refused"])
        else:
            rows[name] = scores(place, road)
        print(name, rows[name], flush=True)
    print(pd.DataFrame(rows).T.round(3).to_csv())


if __name__ == "__main__":
    main(*sys.argv[1:])
