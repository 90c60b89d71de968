"""What receptors plan: nothing without them, their own jobs with them, and no job of the rest."""

import pytest

from conftest import planned, small_counts, snakemake, write_sheets

RULES = {"read_receptors", "read_query_receptors", "find_clonotypes", "find_query_clonotypes", "write_clonotype_page"}


@pytest.fixture
def project(tmp_path):
    for i, name in enumerate("aq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "q.csv").write_text("barcode\n")
    return tmp_path


def write(folder, receptors=None, airr="", **config):
    section = {} if receptors is None else {"receptors": receptors}
    settings = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}, **config}
    reference, queries = [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "q.h5ad", "airr": airr}]
    write_sheets(folder, reference, queries, **settings, **section)


def test_receptors_plan_their_own_jobs_alone(project):
    write(project)
    without = planned(snakemake(project, "--dry-run"))
    assert not RULES & set(without)
    write(project, {"alpha": "a", "beta": "b"}, airr="q.csv")
    assert planned(snakemake(project, "--dry-run")) == without | dict.fromkeys(RULES, 1)


def test_clonotypes_need_no_labels(project):
    write(project, {}, label_key="-")
    jobs = planned(snakemake(project, "--dry-run", "results/report/clonotypes.html"))
    assert set(jobs) >= RULES
    assert "train_reference" not in jobs


def test_a_table_that_is_not_there_is_refused_at_planning(project):
    write(project, {}, airr="gone.csv")
    run = snakemake(project, "--dry-run", check=False)
    assert run.returncode != 0
    assert "airr 'gone.csv' does not exist" in run.stdout + run.stderr
