"""What the section expression plans, and what is refused at planning."""

import pytest

from conftest import planned, small_counts, snakemake, write_sheets

RULES = {"check_expression", "normalize_expression"}
RULES |= {"predict_counterfactual", "check_counterfactual", "write_expression_page"}


@pytest.fixture
def write(tmp_path):
    """A function that configures two datasets and a query with this section, or without it."""
    for i, name in enumerate("abq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")

    def configure(**section):
        reference = [{"dataset": n, "path": f"{n}.h5ad"} for n in "ab"]
        further = {"expression": section} if section else {}
        config = {"label_key": "cell_type", "models": {"scvi": {"type": "scvi"}}, "evaluation": {"folds": 0}, **further}
        write_sheets(tmp_path, reference, [{"query": "q", "path": "q.h5ad"}], **config)
        return tmp_path

    return configure


def test_the_section_adds_its_own_jobs_alone(write):
    without = planned(snakemake(write(), "--dry-run"))
    pairs = [{"from": "a:b1", "to": "b:b2"}, {"from": "q:b1", "to": "a:b1"}]
    jobs = planned(snakemake(write(normalized=True, counterfactual=pairs), "--dry-run"))
    assert set(jobs) - set(without) == RULES
    assert {rule: n for rule, n in jobs.items() if rule not in RULES} == without
    assert (jobs["predict_counterfactual"], jobs["check_counterfactual"], jobs["normalize_expression"]) == (2, 2, 2)


def test_a_batch_of_no_dataset_is_refused_at_planning(write):
    run = snakemake(write(counterfactual=[{"from": "a:b1", "to": "z:b1"}]), "--dry-run", check=False)
    assert run.returncode != 0
    assert "'z:b1' is no batch of a dataset or a query" in run.stdout + run.stderr
