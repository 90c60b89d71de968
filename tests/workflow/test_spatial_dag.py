"""What a spatial reference plans: nothing without it, its own jobs with it, and no job of the rest."""

import pytest

from conftest import planned, small_counts, snakemake, write_sheets

RULES = {"read_spots", "learn_regions", "place_query", "write_spatial_page"}


@pytest.fixture
def project(tmp_path):
    for i, name in enumerate("aqt"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


def write(folder, spatial=None, **config):
    section = {} if spatial is None else {"spatial": spatial}
    settings = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}, **config}
    write_sheets(
        folder, [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "q.h5ad"}], **settings, **section
    )


def test_a_spatial_reference_plans_its_own_jobs_alone(project):
    write(project)
    without = planned(snakemake(project, "--dry-run"))
    assert not RULES & set(without)
    write(project, {"path": "t.h5ad"})
    assert planned(snakemake(project, "--dry-run")) == without | dict.fromkeys(RULES, 1)


def test_a_query_without_labels_is_placed_without_any_model(project):
    write(project, {"path": "t.h5ad", "region_key": "layer", "grids": []}, label_key="-")
    jobs = planned(snakemake(project, "--dry-run", "results/report/spatial.html"))
    assert {rule: n for rule, n in jobs.items() if rule in RULES} == dict.fromkeys(RULES, 1)
    assert "train_reference" not in jobs
