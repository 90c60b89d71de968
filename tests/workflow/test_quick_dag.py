"""The first answer plans no training, and the whole run goes on from it; by dry runs on small files."""

import pytest

from conftest import finish, planned, small_counts, snakemake, write_sheets

FIRST_RULES = {
    "scan_dataset",
    "select_genes",
    "build_reference",
    "prepare_query",
    "plan_fold",
    "hold_out",
    "match_query",
    "calibrate_quick",
    "deliver_quick",
    "sample_reference",
}
QUICK = {"calibrate_quick", "deliver_quick"}
TRAINING = {"train_reference", "map_query", "index_reference", "transfer_labels"}
MODELS = {"scvi": {"type": "scvi"}, "scanvi": {"type": "scanvi", "init_from": "scvi"}}


def write(folder, **config):
    write_sheets(
        folder,
        [{"dataset": "a", "path": "a.h5ad", **({} if config.pop("labelled", True) else {"label_key": "-"})}],
        [{"query": name, "path": f"{name}.h5ad"} for name in "qr"],
        **{"models": MODELS, "evaluation": {"folds": 2}, **config},
    )


@pytest.fixture
def project(tmp_path):
    for i, name in enumerate("aqr"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    write(tmp_path)
    return tmp_path


def plan(folder, *targets) -> dict[str, int]:
    jobs = planned(snakemake(folder, "--dry-run", *targets))
    return {rule: n for rule, n in jobs.items() if rule not in ("quick", "labels")}


def test_the_first_answer_trains_nothing(project):
    jobs = plan(project, "quick")
    assert set(jobs) == FIRST_RULES
    assert (jobs["deliver_quick"], jobs["match_query"], jobs["plan_fold"]) == (2, 2 + 2, 2)


def test_the_whole_run_plans_no_first_answer_by_itself(project):
    jobs = plan(project)
    assert not (QUICK | {"compare_quick"}) & set(jobs)
    assert set(jobs) >= TRAINING


def test_the_whole_run_goes_on_from_the_first_answer(project):
    whole = plan(project)
    first = finish_target(project, "quick")
    rest = plan(project)
    assert rest.pop("compare_quick") == 2
    # Every job but those of the first answer alone is one of the whole run's.
    assert {rule: rest.get(rule, 0) + (first.get(rule, 0) if rule not in QUICK else 0) for rule in whole} == whole
    assert not QUICK & set(rest)
    assert not {"match_query", "select_genes", "scan_dataset"} & set(rest)


def finish_target(project, target) -> dict[str, int]:
    """Mark what a target makes as done; return the jobs that it planned."""
    jobs = plan(project, target)
    for line in snakemake(project, "--dry-run", "--quiet", "--detailed-summary", target).stdout.splitlines()[1:]:
        file = project / line.split("\t")[0]
        if line.startswith("results"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("placeholder")
    snakemake(project, "--touch", "--cores", "1", target)
    assert plan(project, target) == {}
    return jobs


def test_only_queries_with_a_first_answer_are_compared(project):
    finish(project)
    for name in ("evaluation/quick/calibration.json", "queries/q/quick/labels.csv", "queries/q/quick/verdict.json"):
        file = project / "results" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("placeholder")
    assert plan(project) == {"compare_quick": 1}


def test_without_folds_first_labels_are_not_calibrated(project):
    write(project, evaluation={"folds": 0})
    jobs = plan(project, "quick")
    assert set(jobs) == {
        "scan_dataset",
        "select_genes",
        "build_reference",
        "sample_reference",
        "prepare_query",
        "match_query",
        "deliver_quick",
    }


def test_a_reference_without_labels_has_no_first_answer(project):
    write(project, labelled=False)
    run = snakemake(project, "--dry-run", "quick", check=False)
    assert run.returncode
    assert "queries get the labels of the reference, and it has none" in run.stdout + run.stderr
    assert not QUICK & set(plan(project))
