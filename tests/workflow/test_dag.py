"""Which jobs are planned, and which mistakes stop the workflow before any job; by dry runs on small files."""

import json
import os
import re
import shutil
import time

import anndata as ad
import pytest
import yaml

from conftest import REPO, finish, planned, small_counts, snakemake, write_sheets
from refatlas.bundle.manifest import settings_to_keep
from refatlas.config.settings import complete_config

QUERY_RULES = {
    "prepare_query",
    "map_query",
    "transfer_labels",
    "match_query",
    "assess_query",
    "deliver_labels",
    "embed_query",
}
# Its file of cells, which labels do not wait for.
EXPORTED = {"export_query"}
# Groups of its novel cells, which labels do not wait for.
NOVEL = {"group_novel"}
SCORED = {"score_transfer", "collect_transfer"}
SUMMARIES = {"record_provenance", "write_report", "write_project_log", "write_query_page"}
FOLD_RULES = {"plan_fold", "hold_out", "hide_labels", "calibrate", "measure_held_out"}
DATASETS = [{"dataset": name, "path": f"{name}.h5ad"} for name in "ab"]
QUERY = {"query": "q", "path": "q.h5ad"}


def write(folder, reference=DATASETS, queries=(QUERY,), **config):
    """Write sheets, and a configuration that has a single fold if it says nothing of folds."""
    write_sheets(folder, reference, list(queries), **{"evaluation": {"folds": 1}, **config})


def make_project(folder):
    for i, name in enumerate(("a", "b", "q", "r")):
        small_counts(seed=i).write_h5ad(folder / f"{name}.h5ad")
    write(folder)
    return folder


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project in which everything is marked as done."""
    return finish(make_project(tmp_path_factory.mktemp("template")))


@pytest.fixture
def finished(template, tmp_path):
    """A copy of the finished project."""
    shutil.copytree(template, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_shipped_configuration_plans_the_demo(tmp_path):
    (tmp_path / "config").symlink_to(REPO / "config")
    (tmp_path / "config.yaml").write_text((REPO / "config" / "config.yaml").read_text())
    jobs = planned(snakemake(tmp_path, "--dry-run"))
    assert (jobs["make_demo"], jobs["scan_dataset"], jobs["train_reference"], jobs["map_query"]) == (1, 3, 3 + 3, 6 + 3)
    assert (jobs["plan_fold"], jobs["hold_out"], jobs["calibrate"], jobs["assess_query"]) == (1, 1, 1, 2)
    assert (jobs["match_query"], jobs["hide_labels"]) == (2 + 1, 1)


def test_one_query_on_two_models_and_the_baseline_takes_at_most_ten_jobs(finished):
    add_query(finished, label_key="cell_type")
    jobs = planned(snakemake(finished, "--dry-run", "results/queries/r/labels.csv", "results/queries/r/umap.png"))
    assert sum(jobs.values()) == 9
    assert set(jobs) == QUERY_RULES


def add_query(folder, **columns):
    """Add query r to the sheet, with further columns."""
    write(folder, queries=[QUERY, {"query": "r", "path": "r.h5ad", **columns}])


def test_another_query_plans_its_own_jobs_and_the_summaries(finished):
    add_query(finished)
    jobs = planned(snakemake(finished, "--dry-run"))
    assert set(jobs) == QUERY_RULES | NOVEL | EXPORTED | SUMMARIES
    assert (jobs["map_query"], jobs["prepare_query"], jobs["transfer_labels"]) == (3, 1, 1)


def test_no_job_of_a_query_reads_the_counts_of_the_reference(finished):
    add_query(finished, label_key="cell_type")
    lines = snakemake(finished, "--dry-run", "--quiet", "host").stdout.splitlines()
    read = {"sample.h5ad": 0, "counts.h5ad": 0}
    for line in lines:
        if line.strip().startswith("input:"):
            for name in read:
                read[name] += f"results/reference/{name}" in line.replace(",", " ").split()
    # Three mappings, the matched baseline and the verdict.
    assert read == {"sample.h5ad": 5, "counts.h5ad": 0}


def test_a_query_with_labels_of_its_own_is_scored(finished):
    add_query(finished, label_key="cell_type")
    jobs = planned(snakemake(finished, "--dry-run"))
    assert set(jobs) == QUERY_RULES | NOVEL | EXPORTED | SUMMARIES | SCORED
    assert jobs["score_transfer"] == 1


def test_the_record_waits_for_every_job_but_the_report(project):
    with_tree(project, update=["q"])
    everything, recorded = (
        planned(snakemake(project, "--dry-run", *target)) for target in ([], ["results/provenance.json"])
    )
    assert everything.pop("write_report") == 1
    assert everything == recorded


def test_a_changed_model_reruns_that_model_alone(finished):
    models = {
        "scvi": {"type": "scvi"},
        "scanvi": {"type": "scanvi", "init_from": "scvi", "train": {"max_epochs": 7}},
    }
    write(finished, models=models)
    jobs = planned(snakemake(finished, "--dry-run"))
    assert (
        jobs["train_reference"],
        jobs["map_query"],
        jobs["embed_reference"],
        jobs["index_reference"],
        jobs["score_integration"],
    ) == (2, 2, 1, 2, 1)
    assert not {
        "scan_dataset",
        "plan_fold",
        "hold_out",
        "select_genes",
        "build_reference",
        "prepare_query",
    } & set(jobs)


def test_a_renamed_dataset_reruns_its_scan_and_all_that_follows(finished):
    write(finished, reference=[DATASETS[0], {"dataset": "renamed", "path": "b.h5ad"}])
    jobs = planned(snakemake(finished, "--dry-run"))
    assert (jobs["scan_dataset"], jobs["select_genes"], jobs["train_reference"]) == (1, 2, 6)


def test_a_changed_query_file_reruns_that_query(finished):
    time.sleep(1.1)
    os.utime(finished / "q.h5ad")
    jobs = planned(snakemake(finished, "--dry-run"))
    assert set(jobs) == QUERY_RULES | NOVEL | EXPORTED | SUMMARIES


def test_a_changed_dataset_reruns_its_scan_alone_of_the_scans(finished):
    time.sleep(1.1)
    os.utime(finished / "a.h5ad")
    jobs = planned(snakemake(finished, "--dry-run"))
    assert jobs["scan_dataset"] == 1
    assert jobs["train_reference"] == 6


def test_a_fold_that_hides_a_label_leaves_the_atlas_and_the_other_folds_alone(finished):
    write(finished, evaluation={"folds": 1, "hide": ["A"]})
    jobs = planned(snakemake(finished, "--dry-run"))
    # It is calibrated anew because the cells of all folds are labelled in one job.
    assert (jobs["plan_fold"], jobs["train_reference"], jobs["map_query"], jobs["calibrate"]) == (1, 3, 3, 1)
    assert not {"scan_dataset", "prepare_query"} & set(jobs)


def test_more_folds_leave_the_atlas_alone_and_are_all_made_anew(finished):
    write(finished, evaluation={"folds": 2})
    jobs = planned(snakemake(finished, "--dry-run"))
    assert (jobs["plan_fold"], jobs["train_reference"], jobs["map_query"], jobs["calibrate"]) == (2, 6, 6, 1)
    assert not {"scan_dataset", "prepare_query"} & set(jobs)


def test_a_setting_of_the_delivery_trains_and_maps_nothing(finished):
    write(finished, deliver={"alpha": 0.2})
    jobs = planned(snakemake(finished, "--dry-run"))
    assert {"calibrate", "assess_query", "deliver_labels"} <= set(jobs)
    assert not {"train_reference", "map_query", "transfer_labels", "match_query", "hide_labels", "hold_out"} & set(jobs)


def test_three_folds_are_the_default(project):
    write_sheets(project, DATASETS, [QUERY])
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["plan_fold"], jobs["hold_out"], jobs["hide_labels"], jobs["measure_held_out"]) == (3, 3, 3, 3)
    assert (jobs["train_reference"], jobs["map_query"], jobs["match_query"]) == (3 * 4, 3 * 4, 4)


def test_labels_are_hidden_in_the_folds_of_the_calibration_alone(project):
    write(project, evaluation={"folds": 2, "hide": ["A"]})
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["plan_fold"], jobs["match_query"], jobs["hide_labels"]) == (3, 4, 2)


def test_without_folds_nothing_is_held_out(project):
    write(project, evaluation={"folds": 0})
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["train_reference"], jobs["map_query"], jobs["match_query"], jobs["assess_query"]) == (3, 3, 1, 1)
    assert not FOLD_RULES & set(jobs)


def test_mapqc_is_planned_for_queries_that_name_controls(project):
    rows = [{**QUERY, "control": "cell_type=A"}, {"query": "r", "path": "r.h5ad", "control": ""}]
    write(project, queries=rows)
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["run_mapqc"], jobs["run_mapqc_held_out"], jobs["assess_query"]) == (1, 1, 2)
    write(project, queries=[{"query": "r", "path": "r.h5ad"}])
    assert not {"run_mapqc", "run_mapqc_held_out"} & set(planned(snakemake(project, "--dry-run")))


def test_a_pretrained_model_is_taken_for_the_atlas_and_trained_in_folds(project):
    (project / "made").mkdir()
    (project / "made" / "model.pt").write_text("placeholder")
    write(
        project,
        models={"mine": {"type": "scvi", "pretrained": {"path": "made", "trust": True}}},
    )
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["read_pretrained"], jobs["train_reference"]) == (1, 2 + 2)


def test_a_model_of_scarches_is_taken_for_the_atlas_and_trained_in_folds(project):
    (project / "made").mkdir()
    for name in ("attr.pkl", "model_params.pt", "var_names.csv", "terms.txt"):
        (project / "made" / name).write_text("placeholder")
    write(
        project,
        models={"mine": {"type": "expimap", "pretrained": {"path": "made", "trust": True}}},
    )
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["read_pretrained"], jobs["train_reference"]) == (1, 2 + 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: write(p, modells={}),
            "unknown key 'modells' (did you mean 'models'?)",
        ),
        (
            lambda p: write(p, [{"dataset": "a", "path": "gone.h5ad"}]),
            "path 'gone.h5ad' does not exist",
        ),
        (lambda p: (p / "results").write_text("in the way"), "is a file"),
    ],
)
def test_mistakes_stop_the_workflow_at_its_start(project, change, message):
    change(project)
    run = snakemake(project, "--cores", "1", check=False)
    assert run.returncode != 0
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert not (project / "results").is_dir()


def test_gpu_rules_ask_slurm_for_a_gpu_and_the_others_do_not(project):
    run = snakemake(project, "--dry-run", "--workflow-profile", REPO / "profiles" / "slurm", "--quiet", "host")
    # Each job begins with the time.
    blocks = re.split(r"\n\s*\[", run.stdout + run.stderr)
    for rule, gpu in (
        ("rule train_reference", True),
        ("rule map_query", True),
        ("rule scan_dataset", False),
        ("rule select_genes", False),
    ):
        found = [block for block in blocks if rule in block and "linear" not in block]
        assert found
        for block in found:
            assert ("gpu=1" in block) == gpu
            assert "mem_mb=" in block
            assert "runtime=" in block


def test_a_hundred_queries_are_planned(project):
    small = ad.read_h5ad(project / "q.h5ad")[:3].copy()
    small.write_h5ad(project / "small.h5ad")
    write(project, DATASETS[:1], [{"query": f"q{i}", "path": "small.h5ad"} for i in range(100)])
    assert planned(snakemake(project, "--dry-run", "--quiet", "rules"))["map_query"] == 300 + 3


def with_tree(folder, queries=("q",), **tree):
    """Configure a project whose baseline gets a tree of labels."""
    rows = [{"query": n, "path": f"{n}.h5ad", "label_key": "cell_type"} for n in queries]
    write(folder, queries=rows, tree={"models": ["linear"], **tree})


def test_a_tree_is_planned_for_the_models_that_are_named(project):
    assert not {"check_hierarchy", "learn_hierarchy", "classify_by_tree", "update_hierarchy"} & set(
        planned(snakemake(project, "--dry-run"))
    )
    with_tree(project)
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["learn_hierarchy"], jobs["classify_by_tree"]) == (2, 2)
    assert not {"check_hierarchy", "update_hierarchy"} & set(jobs)
    (project / "tree.nwk").write_text("(A,B);")
    with_tree(project, file="tree.nwk", update=["q"])
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["check_hierarchy"], jobs["learn_hierarchy"], jobs["update_hierarchy"]) == (1, 2, 1)


def test_a_tree_of_a_finished_project_trains_and_maps_nothing(project):
    write(project, queries=[{**QUERY, "label_key": "cell_type"}])
    finish(project)
    with_tree(project)
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["learn_hierarchy"], jobs["classify_by_tree"], jobs["transfer_labels"]) == (2, 2, 2)
    assert not {"train_reference", "map_query", "prepare_query"} & set(jobs)


def test_another_query_of_a_project_with_a_tree_plans_its_own_jobs(project):
    with_tree(project)
    finish(project)
    with_tree(project, queries=("q", "r"))
    jobs = planned(snakemake(project, "--dry-run"))
    assert set(jobs) == QUERY_RULES | NOVEL | EXPORTED | SUMMARIES | SCORED | {"classify_by_tree"}
    assert jobs["classify_by_tree"] == 1


def test_a_changed_file_that_a_setting_names_trains_that_model_again(project):
    (project / "p.gmt").write_text("A\tlink\tG1\n")
    models = {"e": {"type": "expimap", "model": {"gmt": "p.gmt"}}, "s": {"type": "scvi"}}
    write(project, models=models, evaluation={"folds": 0})
    finish(project)
    time.sleep(1.1)
    (project / "p.gmt").write_text("A\tlink\tG2\n")
    jobs = planned(snakemake(project, "--dry-run"))
    assert jobs["train_reference"] == jobs["map_query"] == 1
    assert "scan_dataset" not in jobs


def test_proteins_are_planned_where_a_dataset_names_them_and_needed_by_totalvi(project):
    models = {"cite": {"type": "totalvi"}}
    write(project, models=models)
    run = snakemake(project, "--dry-run", check=False)
    assert (
        "config: models: cite: type totalvi needs proteins, and no dataset in reference.tsv has any; set protein_key"
        in run.stdout + run.stderr
    )
    write(project, [{**DATASETS[0], "protein_key": "adt"}, {**DATASETS[1], "protein_key": "-"}], models=models)
    planned_jobs = snakemake(project, "--dry-run", "--quiet", "host").stdout
    assert "results/reference/sample.h5ad" in planned_jobs.split("rule prepare_query:")[1].split("output:")[0]
    described = planned_jobs.split("rule describe_query:")[1].split("output:")[0]
    assert "results/reference/measured_proteins.parquet" in described


def test_proteins_of_queries_follow_a_bundle_with_or_without_what_its_batches_measured(
    project, tmp_path_factory, monkeypatch
):
    datasets = [{**DATASETS[0], "protein_key": "adt"}, {**DATASETS[1], "protein_key": "-"}]
    write(project, datasets, models={"cite": {"type": "totalvi"}}, deliver={"model": "cite"})
    run = snakemake(project, "--dry-run", "--quiet", "host", "--", "bundle")
    (files,) = re.findall(r"rule write_bundle:\n    input: (.*)\n", run.stdout + run.stderr)
    names = [name.removeprefix("results/") for name in files.split(", ")]
    assert "reference/measured_proteins.parquet" in names
    monkeypatch.chdir(project)
    kept = settings_to_keep(complete_config(yaml.safe_load((project / "config.yaml").read_text())))
    manifest = {"format": 1, "refatlas": "0.9.0", "name": "small", "version": "1", "title": None, "settings": kept}
    manifest |= {"counts": "sample", "labels": {"labelled": True, "relabelled": False, "levels": 1, "terms": False}}
    manifest["datasets"] = {name: {"label_keys": ["cell_type"], "protein_key": "adt"} for name in "ab"}
    other = tmp_path_factory.mktemp("from_bundle")
    (other / "bundle").mkdir()
    small_counts(seed=2).write_h5ad(other / "q.h5ad")
    (other / "queries.tsv").write_text("query\tpath\nq\tq.h5ad\n")
    (other / "config.yaml").write_text(yaml.safe_dump({"atlas": "bundle", "queries": "queries.tsv"}))
    target = "results/queries/q/models/cite/tables"
    for kept_names in (names, [name for name in names if "measured_proteins" not in name]):
        files = {name: {"sha256": "0" * 64} for name in kept_names}
        (other / "bundle/bundle.json").write_text(json.dumps(manifest | {"files": files}))
        run = snakemake(other, "--dry-run", "--quiet", "host", "--", target)
        described = run.stdout.split("rule describe_query:")[1].split("output:")[0]
        assert ("measured_proteins" in described) == (kept_names is names)


def test_a_dataset_replaced_by_an_older_file_is_scanned_again(project):
    target = "results/reference/datasets/a/scan.json"
    snakemake(project, "--cores", "1", target)
    assert planned(snakemake(project, "--dry-run", target)) == {}
    small_counts(seed=7).write_h5ad(project / "a.h5ad")
    os.utime(project / "a.h5ad", (1e9, 1e9))
    assert planned(snakemake(project, "--dry-run", target)) == {"scan_dataset": 1}


def test_an_unknown_query_is_named_with_its_sheet(project):
    for target in ("results/queries/missing/labels.csv", "results/queries/missing/models/scvi/latent.parquet"):
        run = snakemake(project, "--dry-run", target, check=False)
        assert run.returncode != 0
        assert "'missing' is no query of queries.tsv; add a row for it" in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("results/reference/datasets/a/scan.json", {"scan_dataset"}),
        ("results/reference/models/scvi/model.pt", {"train_reference"}),
        ("results/reference/models/scvi/index.npz", {"index_reference"}),
        ("results/queries/q/models/scvi/latent.parquet", {"map_query"}),
        ("results/queries/q/matched/measures.parquet", {"match_query"}),
        ("results/queries/q/scores.csv", {"score_transfer"}),
        ("results/evaluation/fold_1/fold.json", {"plan_fold"}),
        ("results/evaluation/fold_1/models/scvi/model.pt", {"train_reference"}),
        ("results/evaluation/fold_1/heldout/counts.h5ad", {"hold_out"}),
        ("results/evaluation/fold_1/heldout/models/scvi/latent.parquet", {"map_query"}),
        ("results/evaluation/fold_1/heldout/matched/labels.parquet", {"match_query"}),
        ("results/evaluation/fold_1/heldout/hidden.parquet", {"hide_labels"}),
        ("results/evaluation/fold_1/heldout/delivered.parquet", {"calibrate"}),
        ("results/evaluation/fold_1/heldout/measures.json", {"measure_held_out"}),
        ("results/queries/q/q.h5ad", {"export_query"}),
        ("results/reference/reference.h5ad", {"export_reference"}),
        ("results/atlas/atlas.h5ad", {"export_atlas"}),
        ("atlas", {"export_atlas", "atlas"}),
    ],
)
def test_each_result_is_a_target(template, target, jobs):
    assert set(planned(snakemake(template, "--dry-run", "--force", target))) == jobs


def test_queries_and_datasets_may_have_names_of_folders(project):
    """A query named as a fold or as the held-out cells: its files have folders of their own."""
    rows = [{"query": name, "path": "q.h5ad", "label_key": "cell_type"} for name in ("fold_1", "heldout", "reference")]
    write(project, queries=rows)
    jobs = planned(snakemake(project, "--dry-run"))
    assert (jobs["prepare_query"], jobs["map_query"], jobs["deliver_labels"]) == (3, 3 * 4, 3)


def test_an_input_of_tomorrow_is_refused_before_any_job(project):
    os.utime(project / "q.h5ad", (time.time() + 86400,) * 2)
    run = snakemake(project, "--dry-run", check=False)
    assert run.returncode
    assert "q.h5ad: its modification time" in run.stdout + run.stderr


def test_braces_in_values_of_the_configuration_are_no_wildcards(tmp_path):
    small_counts(seed=0).write_h5ad(tmp_path / "a.h5ad")
    small_counts(seed=1).write_h5ad(tmp_path / "q.h5ad")
    config = {
        "models": {"scvi": {"type": "scvi"}},
        "unlabeled": ["{x}"],
        "external_labels": {"tool": {"key": "{x}"}},
        "expression": {"genes": ["{x}"], "model": "scvi", "normalized": True},
        "bundle": {"version": "{x}", "title": "{x}"},
    }
    reference = [{"dataset": "a", "path": "a.h5ad", "label_key": "cell_type"}]
    write_sheets(tmp_path, reference, [{"query": "q", "path": "q.h5ad"}], **config)
    jobs = planned(snakemake(tmp_path, "--dry-run", "everything", "bundle"))
    rules = {
        "describe_clusters",
        "read_external_labels",
        "read_query_external_labels",
        "check_expression",
        "write_bundle",
    }
    assert rules <= set(jobs)
