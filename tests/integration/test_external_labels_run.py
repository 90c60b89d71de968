"""Labels that were made elsewhere in a run on real cells: scored, calibrated, pooled if they help, and delivered.

Elsewhere is a logistic regression on a donor who is not in the atlas. Another source has its labels permuted.
"""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from sklearn.linear_model import LogisticRegression

from conftest import snakemake, write_sheets
from refatlas.transfer.cross_fitting import HeldOut, calibrate, read_splits

DONORS, QUERY, TEACHER = ("1015", "1256", "1488", "1244"), "107", "1016"
CONFIG = {
    "models": {"linear": {"type": "linear"}},
    "evaluation": {"folds": 2},
    "genes": {"n_top": 500},
    "clusters": {"resolutions": []},
    "integration": {"metrics": ["ilisi"]},
    "umap": {"n_epochs": 20},
}
# The names of the tool are not those of the reference.
EXTERNAL = {
    "external_labels": {"tool": {"probabilities": "obsm/tool", "map": "names.tsv"}, "permuted": {"key": "permuted"}}
}
SHEETS = (
    [{"dataset": "kang", "path": "kang.h5ad"}],
    [{"query": "q", "path": "q.h5ad", "label_key": "cell_type"}],
)


def log_normalized(cells: ad.AnnData) -> np.ndarray:
    normal = cells.copy()
    sc.pp.normalize_total(normal, target_sum=1e4)
    sc.pp.log1p(normal)
    return normal.X.toarray()


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """The folder of a finished run with labels that were made elsewhere."""
    folder = tmp_path_factory.mktemp("external")
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    teacher = data[data.obs["batch"] == TEACHER][::2]
    model = LogisticRegression(max_iter=60, tol=1e-2).fit(log_normalized(teacher), teacher.obs["cell_type"])
    data = data[data.obs["batch"].isin([*DONORS, QUERY])][::3].copy()
    names = [f"tool: {name}" for name in model.classes_]
    data.obsm["tool"] = pd.DataFrame(model.predict_proba(log_normalized(data)), index=data.obs_names, columns=names)
    rows = [f"{name}\t{own}" for name, own in zip(names, model.classes_, strict=True)]
    (folder / "names.tsv").write_text("label\tname\n" + "\n".join(rows) + "\n")
    data.obs["permuted"] = np.random.default_rng(0).permutation(data.obs["cell_type"].astype(str))
    is_query = (data.obs["batch"] == QUERY).to_numpy()
    data[~is_query].copy().write_h5ad(folder / "kang.h5ad")
    query = data[is_query].copy()
    query.obs.loc[query.obs_names[:7], "permuted"] = None
    query.write_h5ad(folder / "q.h5ad")
    write_sheets(folder, *SHEETS, **CONFIG | EXTERNAL)
    snakemake(folder, "--cores", "2", "--", "labels", "results/evaluation/transfer.csv")
    return folder


def splits_of(folder, *external: str) -> tuple[list[HeldOut], pd.DataFrame]:
    """Return the held-out cells of a run with some of the labels made elsewhere, and the reference's cells."""
    reference = pd.read_parquet(folder / "results/reference/datasets/kang/cells.parquet")
    labels, files, made = {}, {}, {}
    for fold in ("fold_1", "fold_2"):
        held = folder / f"results/evaluation/{fold}/heldout"
        labels[fold] = {"linear": str(held / "models/linear/labels.parquet")}
        names = {"labels": "labels.parquet", "measures": "measures.parquet", "agreement": "agreement.json"}
        files[fold] = {f"matched_{kind}": str(held / "matched" / name) for kind, name in names.items()}
        files[fold] |= {"cells": str(held / "cells.parquet"), "hidden": str(held / "hidden.parquet")}
        made[fold] = {name: str(held / f"external/{name}/labels.parquet") for name in external}
    return read_splits(labels, files, reference, made), reference


def accuracy(delivered: dict[str, pd.DataFrame], splits: list[HeldOut]) -> float:
    right = [(delivered[held.split]["label"] == held.cells["label"])[held.seen] for held in splits]
    return float(pd.concat(right).mean())


def test_they_are_scored_and_calibrated_on_held_out_batches(run):
    scores = pd.read_csv(run / "results/evaluation/transfer.csv")
    scores = scores[(scores["split"] == "folds") & (scores["level"] == 1)].set_index("model")
    scores = scores[scores["source"] == "external"]
    assert scores.loc["tool", "accuracy"] > 0.85
    assert scores.loc["tool", "ece_calibrated"] < 0.06
    # Before calibration, each of these labels is certain.
    permuted = scores.loc["permuted"]
    assert permuted["ece"] == pytest.approx(1 - permuted["accuracy"], abs=1e-6)
    assert permuted["accuracy"] < 0.4
    found = pd.concat(pd.read_parquet(run / f"results/evaluation/fold_{i}/heldout/sources.parquet") for i in (1, 2))
    confidence = found[found["source"] == "permuted:external"]["confidence"].mean()
    assert confidence == pytest.approx(permuted["accuracy"], abs=0.05)


def test_permuted_labels_get_no_weight_and_change_no_label(run):
    without, reference = splits_of(run)
    plain = calibrate(without, ["fold_1", "fold_2"], reference, None, 0.1, 0.9)
    with_permuted, _ = splits_of(run, "permuted")
    found = calibrate(with_permuted, ["fold_1", "fold_2"], reference, None, 0.1, 0.9)
    weights = dict(zip(found.parameters["wanted"], found.parameters["weights"], strict=True))
    assert weights["permuted:external"] == 0
    for fold, table in plain.delivered.items():
        assert (found.delivered[fold]["label"] == table["label"]).all()


def test_labels_that_know_more_get_weight_and_help(run, tmp_path):
    splits, reference = splits_of(run, "tool")
    folds = ["fold_1", "fold_2"]
    plain = accuracy(calibrate(splits_of(run)[0], folds, reference, None, 0.1, 0.9).delivered, splits)
    random = np.random.default_rng(0)
    for held in splits:
        # The true label in 97 of 100 cells, any other in the rest.
        codes = pd.Index(held.evidence.labels).get_indexer(held.cells["label"])
        codes = np.where(
            random.random(len(codes)) < 0.97, codes, random.integers(0, len(held.evidence.labels), len(codes))
        )
        held.evidence.sources["tool:external"] = np.eye(len(held.evidence.labels))[codes]
    found = calibrate(splits, folds, reference, None, 0.1, 0.9)
    weights = dict(zip(found.parameters["wanted"], found.parameters["weights"], strict=True))
    assert weights["tool:external"] == 0.5
    assert accuracy(found.delivered, splits) > plain + 0.01


def test_the_query_has_their_labels_and_says_how_many_vote(run):
    folder = run / "results/queries/q"
    labels, truth = pd.read_csv(folder / "labels.csv"), ad.read_h5ad(run / "q.h5ad").obs["cell_type"].to_numpy()
    assert (labels["tool_label"] == truth).mean() > 0.8
    assert labels["permuted_label"].isna().sum() == 7
    votes = json.loads((folder / "external/permuted/votes.json").read_text())
    assert votes == {"n_cells": len(labels), "n_votes": len(labels) - 7, "n_missing": 7, "left_out": {}, "unknown": {}}


def test_labels_that_the_reference_lacks_are_refused_by_name(run):
    (run / "names.tsv").write_text("label\tname\nother\t-\n")
    found = snakemake(run, "--cores", "2", "--", "results/queries/q/external/tool/labels.parquet", check=False)
    text = found.stdout + found.stderr
    assert "have labels that the reference lacks and the map does not name: 'tool: " in text
    assert "set unmapped: no_vote" in text
