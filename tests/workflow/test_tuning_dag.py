"""What tuning plans: nothing while it is off; when it is switched on, trials and trainings of the tuned model alone."""

import pytest

from conftest import finish, planned, small_counts, snakemake, write_sheets

MODELS = {"scvi": {"type": "scvi"}, "other": {"type": "trvae"}}
REFERENCE, QUERIES = [{"dataset": n, "path": f"{n}.h5ad"} for n in "ab"], [{"query": "q", "path": "q.h5ad"}]
TUNE = {"scvi": {"space": {"model.n_latent": [5, 10]}, "trials": 3}}


@pytest.fixture
def project(tmp_path):
    """A folder with two datasets and a query, and a function that writes the configuration."""
    for i, name in enumerate("abq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")

    def write(**config):
        evaluation = {"folds": 3, "unit": "batch"}
        write_sheets(tmp_path, REFERENCE, QUERIES, **{"models": MODELS, "evaluation": evaluation, **config})
        return tmp_path

    return write


def test_switching_on_plans_trials_and_trains_the_tuned_model_alone(project):
    folder = finish(project())
    project(tune={})
    assert planned(snakemake(folder, "--dry-run")) == {}
    project(tune=TUNE)
    run = snakemake(folder, "--dry-run", "--quiet", "host")
    jobs = planned(run)
    assert (jobs["run_trial"], jobs["choose_setting"], jobs["write_tuning_page"]) == (3, 1, 1)
    # The reference and three folds; the split of trials is prepared, and no model is trained on it but in trials.
    assert (jobs["train_reference"], jobs["plan_fold"], jobs["build_reference"], jobs["hold_out"]) == (4, 1, 1, 1)
    text = run.stdout + run.stderr
    assert "models/other/model.pt" not in "\n".join(line for line in text.splitlines() if "output:" in line)


def test_a_value_that_the_model_would_refuse_is_refused_at_planning(project):
    tune = {"scvi": {"space": {"model.n_latent": [1, 10]}, "trials": 3}}
    run = snakemake(project(tune=tune), "--dry-run", check=False)
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert "config: tune: scvi: space: model.n_latent: model: n_latent: 1 is less than the minimum of 2" in text
    assert "Job stats" not in text
