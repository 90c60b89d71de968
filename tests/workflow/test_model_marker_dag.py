"""What markers by models plan: nothing without them, their own jobs with them, and no job of the rest."""

import pytest

from conftest import planned, small_counts, snakemake, write_sheets

RULES = {"find_model_markers", "write_model_marker_page"}


@pytest.fixture
def project(tmp_path):
    for i, name in enumerate("aq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


def write(folder, markers=None, **config):
    section = {} if markers is None else {"differential": {"markers": markers}}
    settings = {"models": {"scvi": {"type": "scvi"}}, "evaluation": {"folds": 0}, **config}
    reference, queries = [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "q.h5ad"}]
    write_sheets(folder, reference, queries, **settings, **section)


def test_markers_plan_their_own_jobs_alone(project):
    write(project)
    without = planned(snakemake(project, "--dry-run"))
    assert not RULES & set(without)
    write(project, {"models": ["scvi"], "groups": ["labels", "clusters"]})
    expected = without | {"find_model_markers": 2, "write_model_marker_page": 1}
    assert planned(snakemake(project, "--dry-run")) == expected


def test_clusters_of_a_reference_without_labels_can_be_compared(project):
    write(project, {"models": ["scvi"], "groups": ["clusters"]}, label_key="-")
    jobs = planned(snakemake(project, "--dry-run", "results/report/model_markers.html"))
    assert jobs["find_model_markers"] == 1
    write(project, {"models": ["scvi"]}, label_key="-")
    run = snakemake(project, "--dry-run", check=False)
    assert run.returncode != 0
    assert "config: differential: markers: groups: labels are compared" in run.stdout + run.stderr
