"""What receptors plan: nothing without them, their own jobs with them, and no job of the rest."""

import pytest

from conftest import planned, small_counts, snakemake, write_sheets
from refatlas.config.settings import complete_config
from refatlas.errors import InputError

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


MODELS = {"linear": {"type": "linear"}, "tcr": {"type": "mvtcr"}}


def test_a_model_of_pairs_plans_its_own_jobs_and_what_pools_its_labels(project):
    write(project, {}, evaluation={"folds": 2})
    without = planned(snakemake(project, "--dry-run"))
    write(project, {}, evaluation={"folds": 2}, models=MODELS)
    own = dict.fromkeys(("train_receptor_model", "map_receptor_model", "label_by_receptor_model"), 3)
    assert planned(snakemake(project, "--dry-run")) == without | own | {"compare_receptor_models": 1}


def test_a_model_of_pairs_is_refused_where_all_cells_need_a_place():
    for config, message in (
        ({"receptors": None}, "models: tcr: type mvtcr reads paired T-cell receptors, and the config has none"),
        ({"receptors": {}, "deliver": {"model": "tcr"}}, "deliver: model 'tcr' places only cells with paired"),
        ({"receptors": {}, "tree": {"models": ["tcr"]}}, "tree: models: 'tcr' places only cells with paired"),
        ({"receptors": {}, "tune": {"tcr": {}}, "evaluation": {"folds": 2}}, "tune: tcr"),
        ({"receptors": {}, "external_labels": {"tcr": {"key": "x"}}}, "external_labels: tcr: the name is that of a"),
    ):
        with pytest.raises(InputError, match=message):
            complete_config({"reference": "reference.tsv", "models": MODELS, **config})


def test_a_table_that_is_not_there_is_refused_at_planning(project):
    write(project, {}, airr="gone.csv")
    run = snakemake(project, "--dry-run", check=False)
    assert run.returncode != 0
    assert "airr 'gone.csv' does not exist" in run.stdout + run.stderr
