"""What posterior predictive checks plan: nothing while they are off, and nothing trained again when switched on."""

import pytest

from conftest import finish, planned, small_counts, snakemake, write_sheets

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
