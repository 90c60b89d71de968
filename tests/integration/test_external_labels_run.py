"""Labels that were made elsewhere join a run: scored, calibrated and pooled, and nothing else is computed again.

Elsewhere is a logistic regression on a donor who is not in the atlas. Another source has its labels permuted.
"""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from sklearn.linear_model import LogisticRegression

from conftest import planned, snakemake, write_sheets

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
    """The folder of a finished run by the baseline alone; the files have labels that were made elsewhere."""
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
    write_sheets(folder, *SHEETS, **CONFIG)
    snakemake(folder, "--cores", "2", "--", "labels", "results/evaluation/transfer.csv")
    for name in ("q.csv", "transfer.csv"):
        source = "queries/q/labels.csv" if name == "q.csv" else "evaluation/transfer.csv"
        (folder / f"before_{name}").write_bytes((folder / "results" / source).read_bytes())
    write_sheets(folder, *SHEETS, **CONFIG | EXTERNAL)
    return folder


@pytest.fixture(scope="module")
def finished(run):
    """The same folder after a run with these labels, all of it."""
    snakemake(run, "--cores", "2")
    return run


def scores_of(path) -> pd.DataFrame:
    table = pd.read_csv(path)
    table = table[(table["split"] == "folds") & (table["level"] == 1)]
    return table.set_index(table["model"] + " " + table["source"])


def test_they_train_map_and_transfer_nothing_again(run):
    jobs = planned(snakemake(run, "--dry-run", "--", "labels", "results/evaluation/transfer.csv"))
    reading = {"read_external_labels": 2, "read_query_external_labels": 2, "match_external_labels": 6}
    assert {rule: n for rule, n in jobs.items() if rule in reading} == reading
    follow = {"calibrate", "assess_query", "deliver_labels", "score_transfer", "collect_transfer"}
    assert set(jobs) - set(reading) - {"labels", "total"} == follow


def test_they_are_scored_and_calibrated_on_held_out_batches(finished):
    scores = scores_of(finished / "results/evaluation/transfer.csv")
    tool, permuted = scores.loc["tool external"], scores.loc["permuted external"]
    assert tool["accuracy"] > 0.85
    assert tool["ece_calibrated"] < 0.06
    # Before calibration each of its labels is certain.
    assert permuted["ece"] == pytest.approx(1 - permuted["accuracy"], abs=1e-6)
    assert permuted["ece_calibrated"] < 0.06
    assert permuted["accuracy"] < 0.4


def test_permuted_labels_have_little_confidence_and_do_not_hurt(finished):
    before = scores_of(finished / "before_transfer.csv").loc["delivered all sources"]
    after = scores_of(finished / "results/evaluation/transfer.csv").loc["delivered all sources"]
    assert after["accuracy"] > before["accuracy"] - 0.005
    sources = pd.read_parquet(finished / "results/queries/q/sources.parquet")
    confidence = sources.groupby("source")["confidence"].mean()
    assert confidence["permuted:external"] < 0.4
    assert confidence["tool:external"] > 0.75


def test_the_query_has_their_labels_and_says_how_many_vote(finished):
    folder = finished / "results/queries/q"
    labels, truth = pd.read_csv(folder / "labels.csv"), ad.read_h5ad(finished / "q.h5ad").obs["cell_type"].to_numpy()
    assert (labels["tool_label"] == truth).mean() > 0.85
    assert labels["permuted_label"].isna().sum() == 7
    assert (labels["label"] == truth).mean() > (pd.read_csv(finished / "before_q.csv")["label"] == truth).mean() - 0.005
    votes = json.loads((folder / "external/permuted/votes.json").read_text())
    assert votes["n_missing"] == 7
    assert votes["n_votes"] == len(labels) - 7
    assert {"tool_label", "permuted_confidence"} <= set(ad.read_h5ad(folder / "q.h5ad").obs)


def test_the_report_shows_them(finished):
    page = (finished / "results/report/queries/q.html").read_text()
    assert "votes of the labels made elsewhere" in page
    index = (finished / "results/report/index.html").read_text()
    assert "tool external" in index
    assert "Suspicion" not in index


def test_labels_that_the_reference_lacks_are_refused_by_name(finished):
    (finished / "names.tsv").write_text("label\tname\nother\t-\n")
    found = snakemake(finished, "--cores", "2", "--", "results/queries/q/external/tool/labels.parquet", check=False)
    text = found.stdout + found.stderr
    assert "have labels that the reference lacks and the map does not name: 'tool: " in text
    assert "set unmapped: no_vote" in text
