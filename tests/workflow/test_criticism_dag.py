"""What posterior predictive checks plan: nothing while they are off, and nothing trained again when switched on."""

import json
import re

import pytest
import yaml

from conftest import finish, planned, small_counts, snakemake, write_sheets
from refatlas.bundle.manifest import settings_to_keep
from refatlas.config.settings import complete_config

MODELS = {"scvi": {"type": "scvi"}, "other": {"type": "trvae"}}
REFERENCE, QUERIES = [{"dataset": n, "path": f"{n}.h5ad"} for n in "ab"], [{"query": "q", "path": "q.h5ad"}]
NEW = {"criticize_reference": 3, "criticize_query": 3, "collect_criticism": 1, "write_criticism_page": 1}


@pytest.fixture
def project(tmp_path):
    """A folder with two datasets and a query, and a function that writes the configuration."""
    for i, name in enumerate("abq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")

    def write(**config):
        write_sheets(tmp_path, REFERENCE, QUERIES, models=MODELS, evaluation={"folds": 2}, **config)
        return tmp_path

    return write


def test_switching_on_computes_only_what_shows_it(project):
    folder = finish(project())
    project(criticism={"models": [], "max_cells": 300})
    assert planned(snakemake(folder, "--dry-run")) == {}
    project(criticism={"models": "all"})
    jobs = planned(snakemake(folder, "--dry-run"))
    assert {rule: jobs.get(rule) for rule in NEW} == NEW
    # The verdict has notes, which pages show; nothing is trained, mapped or calibrated again.
    follow = {"assess_query", "deliver_labels", "export_query", "write_query_page", "group_novel", "score_transfer"}
    follow |= {"collect_transfer", "record_provenance", "write_report", "write_project_log"}
    assert set(jobs) - set(NEW) <= follow


def test_a_model_that_cannot_be_checked_is_refused_at_planning(project):
    run = snakemake(project(criticism={"models": ["other"]}), "--dry-run", check=False)
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert "config: criticism: models: 'other' is of type trvae, from which counts are not drawn" in text
    assert "Job stats" not in text


def test_queries_of_a_bundle_are_checked_where_its_atlas_was(project, tmp_path_factory, monkeypatch):
    folder = project(criticism={"models": ["scvi"]})
    run = snakemake(folder, "--dry-run", "--quiet", "host", "--", "bundle")
    (files,) = re.findall(r"rule write_bundle:\n    input: (.*)\n", run.stdout + run.stderr)
    names = [name.removeprefix("results/") for name in files.split(", ")]
    assert "evaluation/criticism.csv" in names
    monkeypatch.chdir(folder)
    kept = settings_to_keep(complete_config(yaml.safe_load((folder / "config.yaml").read_text())))
    assert kept["criticism"]["models"] == ["scvi"]
    manifest = {
        "format": 1,
        "refatlas": "0.7.0",
        "name": "small",
        "version": "1",
        "title": None,
        "settings": kept,
        "counts": "sample",
    }
    manifest["datasets"] = {name: {"label_keys": ["cell_type"], "protein_key": None} for name in "ab"}
    manifest["labels"] = {"labelled": True, "relabelled": False, "levels": 1, "terms": False}
    other = tmp_path_factory.mktemp("from_bundle")

    def write(**files):
        (other / "bundle").mkdir(exist_ok=True)
        (other / "bundle/bundle.json").write_text(json.dumps(manifest | {"files": files}))

    small_counts(seed=2).write_h5ad(other / "q.h5ad")
    (other / "queries.tsv").write_text("query\tpath\nq\tq.h5ad\n")
    (other / "config.yaml").write_text(yaml.safe_dump({"atlas": "bundle", "queries": "queries.tsv"}))
    write(**{name: {"sha256": "0" * 64, "bytes": 1} for name in names})
    jobs = planned(snakemake(other, "--dry-run"))
    assert {rule: jobs.get(rule, 0) for rule in NEW} == {
        **dict.fromkeys(NEW, 0),
        "criticize_query": 1,
        "write_criticism_page": 1,
    }
    write(**{name: {"sha256": "0" * 64, "bytes": 1} for name in names if name != "evaluation/criticism.csv"})
    run = snakemake(other, "--dry-run", check=False)
    assert "lacks evaluation/criticism.csv, which its settings ask for" in run.stdout + run.stderr
