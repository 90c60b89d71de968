"""What is planned without labels or queries, and what an annotation or a label map makes plan again."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from conftest import finish, planned, small_counts, snakemake
from refatlas.bundle.manifest import settings_to_keep
from refatlas.config.labels import without_labels
from refatlas.config.settings import complete_config

MODELS = {"scvi": {"type": "scvi"}, "scanvi": {"type": "scanvi", "init_from": "scvi"}}
# Of one model of the atlas.
OF_MODEL = {
    "train_reference",
    "embed_reference",
    "draw_reference",
    "cluster_reference",
    "find_markers",
    "describe_clusters",
    "score_integration",
}
ONCE = {
    "select_genes",
    "build_reference",
    "collect_integration",
    "collect_transfer",
    "compare_models",
    "export_reference",
    "sample_reference",
    "sample_cells",
    "write_reference_page",
    "record_provenance",
    "write_report",
    "write_project_log",
}
UNLABELLED = {"scan_dataset": 2, **dict.fromkeys(OF_MODEL, 2), **dict.fromkeys(ONCE, 1)}
HEADER = "model\tresolution\tcluster\tlabel"
QUERY = "query\tpath\tlabel_key\nq\tq.h5ad\tcell_type\n"
NO_LABELS = "queries get the labels of the reference, and it has none; set label_key for a dataset"
# What no new name of a cluster or label may start again.
COSTLY = ("train_reference", "map_query", "embed_reference", "cluster_reference", "find_markers")


@pytest.fixture
def project(tmp_path):
    """A folder of two datasets and a query, and a function that writes the sheets and the configuration."""
    for i, name in enumerate("abq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")

    def write(labels=("-", "-"), queries=None, **config):
        rows = [f"{name}\t{name}.h5ad\t{label}\n" for name, label in zip("ab", labels, strict=True)]
        (tmp_path / "reference.tsv").write_text("dataset\tpath\tlabel_key\n" + "".join(rows))
        if queries is not None:
            (tmp_path / "queries.tsv").write_text(queries)
            config["queries"] = "queries.tsv"
        settings = {"reference": "reference.tsv", "models": MODELS, "evaluation": {"folds": 1}, **config}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))

    return tmp_path, write


def annotate(folder: Path, *rows: str, header: str = HEADER) -> None:
    """Write an annotation; without rows, one of clusters 0 and 1 of scvi."""
    rows = rows or ("scvi\t1\t0\tT", "scvi\t1\t1\tB")
    (folder / "annotation.tsv").write_text("\n".join([header, *rows, ""]))


def outputs(run: subprocess.CompletedProcess) -> dict[str, str]:
    """Return the outputs of each rule's planned jobs, in a dry run that prints them, as text."""
    found: dict[str, str] = {}
    for rule, job in re.findall(r"^(?:local)?rule (\w+):\n((?: +.*\n)+)", run.stdout + run.stderr, re.MULTILINE):
        found[rule] = found.get(rule, "") + "".join(re.findall(r"output: .*\n", job))
    assert set(found) >= set(planned(run))
    return found


def plan(folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Return the numbers of planned jobs, and their outputs."""
    run = snakemake(folder, "--dry-run", "--quiet", "host")
    return planned(run), outputs(run)


def refused(folder: Path, *targets: str) -> str:
    """Return the output of a dry run that ends with a message, before any job is planned."""
    run = snakemake(folder, "--dry-run", *targets, check=False)
    text = run.stdout + run.stderr
    assert run.returncode != 0, text
    assert "Job stats" not in text
    return text


def test_a_reference_without_labels_and_queries(project):
    folder, write = project
    write()
    run = snakemake(folder, "--dry-run")
    assert planned(run) == UNLABELLED
    left_out = [line for line in (run.stdout + run.stderr).splitlines() if "left out" in line]
    assert [line.partition("no labels: ")[2].split(":")[0].split(",")[0] for line in left_out] == [
        "model scanvi",
        "labels",
    ]
    assert "held-out folds" in left_out[1]
    assert all(line.endswith("; set label_key for a dataset, or annotate the clusters") for line in left_out)
    trained = {"scan_dataset": 2, "select_genes": 1, "build_reference": 1, "train_reference": 2}
    described = {"cluster_reference": 2, "find_markers": 2, "describe_clusters": 2}
    # Snakemake counts the target as a job too.
    assert planned(snakemake(folder, "--dry-run", "reference")) == {**trained, "reference": 1}
    assert planned(snakemake(folder, "--dry-run", "annotation")) == {**trained, **described, "annotation": 1}
    # A sheet without queries is as good as none.
    for queries in ("", "query\tpath\n"):
        write(queries=queries)
        assert planned(snakemake(folder, "--dry-run")) == UNLABELLED


def test_queries_are_mapped_without_labels(project):
    folder, write = project
    write(queries=QUERY)
    jobs = planned(snakemake(folder, "--dry-run"))
    assert jobs == {
        **UNLABELLED,
        "prepare_query": 1,
        "map_query": 2,
        "embed_query": 1,
        "export_query": 1,
        "write_query_page": 1,
    }
    for target in ("labels", "results/queries/q/labels.csv"):
        assert NO_LABELS in refused(folder, "--", target)


def test_a_bundle_without_labels_says_what_is_left_out(project):
    folder, write = project
    write(queries=QUERY)
    settings, _ = without_labels(complete_config({"reference": "r.tsv", "models": MODELS}))
    files = ["genes.parquet", "background.parquet", "sample.h5ad", "datasets/a/scan.json", "datasets/a/cells.parquet"]
    of_model = ["model.pt", "model.pt.sha256", "model.json", "training.md", "latent.parquet", "umap.parquet"]
    of_model.append("cluster_stability.csv")
    files += [f"models/{model}/{name}" for model in ("scvi", "linear") for name in of_model]
    files = [f"reference/{name}" for name in files] + ["report/reference.html", "evaluation/integration.csv"]
    manifest = {
        **{"format": 1, "refatlas": "0.9.2", "name": "plain", "version": "1", "title": "", "counts": "sample"},
        "settings": settings_to_keep(settings),
        "datasets": {"a": {"label_keys": [], "protein_key": None}},
        "labels": {"labelled": False, "relabelled": False, "levels": 1, "terms": False},
        "models": {"scvi": "scvi", "linear": "linear"},
        "files": {name: {"sha256": "0" * 64, "bytes": 1} for name in files},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    (folder / "config.yaml").write_text(yaml.safe_dump({"atlas": "bundle.json", "queries": "queries.tsv"}))
    run = snakemake(folder, "--dry-run")
    assert planned(run)["map_query"] == 2
    assert "left out, because the atlas has no labels: labels, confidence and verdict" in run.stdout + run.stderr


def test_labels_of_one_dataset_are_enough_and_of_two_are_matched(project):
    folder, write = project
    write(labels=("cell_type", "-"), queries=QUERY)
    one = planned(snakemake(folder, "--dry-run"))
    assert (one["train_reference"], one["plan_fold"], one["find_label_markers"], one["group_novel"]) == (6, 1, 1, 1)
    assert (one["cluster_reference"], one["describe_clusters"]) == (3, 3)
    assert not {"match_labels", "annotate_cells", "label_counts", "check_query_labels"} & set(one)
    write(labels=("cell_type", "cell_type"), queries=QUERY)
    assert planned(snakemake(folder, "--dry-run")) == {**one, "match_labels": 3}


def test_without_resolutions_there_are_no_clusters(project):
    folder, write = project
    write(labels=("cell_type", "-"), queries=QUERY)
    jobs = planned(snakemake(folder, "--dry-run"))
    write(labels=("cell_type", "-"), queries=QUERY, clusters={"resolutions": []})
    assert set(jobs) - set(planned(snakemake(folder, "--dry-run"))) == {
        "cluster_reference",
        "find_markers",
        "describe_clusters",
        "compare_models",
        "group_novel",
    }


def test_each_combination_of_varied_settings_is_a_model(project):
    folder, write = project
    write(models={"scvi": {"type": "scvi", "vary": {"model.n_latent": [5, 10], "model.n_layers": [1, 2]}}})
    jobs, made = plan(folder)
    assert jobs["train_reference"] == jobs["cluster_reference"] == 4 + 1
    for n_latent in (5, 10):
        for n_layers in (1, 2):
            assert f"/models/scvi_n_latent_{n_latent}_n_layers_{n_layers}/model.pt" in made["train_reference"]


def test_an_annotation_trains_only_what_reads_labels(project):
    """The rounds of an atlas: clusters, first names, other names."""
    folder, write = project
    write(queries=QUERY)
    finish(folder)
    annotate(folder)
    write(queries=QUERY, annotation="annotation.tsv")
    jobs, made = plan(folder)
    assert (jobs["annotate_cells"], jobs["label_counts"], jobs["label_held_out"]) == (1, 2, 1)
    assert (jobs["check_query_labels"], jobs["deliver_labels"], jobs["group_novel"]) == (1, 1, 1)
    # Two models of the atlas, and three of the fold, which there was none of.
    assert jobs["train_reference"] == jobs["map_query"] == 2 + 3
    for rule in COSTLY:
        for path in ("reference/models/scvi/", "queries/q/models/scvi/"):
            assert path not in made[rule]
    assert not {"scan_dataset", "prepare_query"} & set(jobs)
    assert "results/reference/genes.parquet" not in made["select_genes"]
    assert "results/reference/counts.h5ad" not in made["build_reference"]

    finish(folder)
    time.sleep(1.1)
    annotate(folder, "scvi\t1\t0\tT", "scvi\t1\t1\tanother name")
    jobs, made = plan(folder)
    assert (jobs["annotate_cells"], jobs["label_counts"], jobs["label_held_out"]) == (1, 2, 1)
    assert jobs["train_reference"] == jobs["map_query"] == 4
    for split in ("reference", "evaluation/fold_1"):
        for model in ("scanvi", "linear"):
            assert f"results/{split}/models/{model}/model.pt" in made["train_reference"]
    for rule in COSTLY:
        assert "/scvi/" not in made[rule]
    assert {"calibrate", "check_query_labels", "deliver_labels", "draw_reference", "export_reference"} <= set(jobs)
    prepared = {"scan_dataset", "select_genes", "build_reference", "prepare_query", "plan_fold", "hold_out"}
    assert not prepared & set(jobs)


def test_a_label_map_trains_only_what_reads_labels(project):
    folder, write = project
    write(labels=("cell_type", "cell_type"))
    finish(folder)
    (folder / "map.tsv").write_text("dataset\tlabel\tname\na\tA\tT\nb\tB\tT\n")
    write(labels=("cell_type", "cell_type"), label_map="map.tsv")
    jobs, made = plan(folder)
    assert (jobs["annotate_cells"], jobs["train_reference"], jobs["map_query"]) == (1, 4, 2)
    for rule in (*COSTLY, "match_labels"):
        assert "/scvi/" not in made[rule]
    assert not {"scan_dataset", "select_genes", "build_reference", "plan_fold", "hold_out"} & set(jobs)


def test_templates_and_the_joined_file_have_the_levels_of_a_label_map(project):
    folder, write = project
    table = folder / "map.tsv"
    table.write_text("dataset\tlabel\tname\na\tA\tCD4 T\nb\tB\tCD8 T\n")
    write(labels=("cell_type", "cell_type"), label_map="map.tsv")
    finish(folder)
    time.sleep(1.1)
    table.write_text("dataset\tlabel\tname\tname_2\na\tA\tCD4 T\tT\nb\tB\tCD8 T\tT\n")
    # Templates do not depend on the map, but on the number of its levels.
    assert planned(snakemake(folder, "--dry-run"))["describe_clusters"] == 3
    annotate(folder)
    write(labels=("cell_type", "cell_type"), label_map="map.tsv", annotation="annotation.tsv")
    assert "names clusters at 1 label level, and dataset 'a' has 2 (by the label map)" in refused(folder)


def test_clusters_can_be_taken_out_before_any_has_a_name(project):
    folder, write = project
    annotate(folder, "scvi\t1\t0\t\tyes", header=f"{HEADER}\texclude")
    write(annotation="annotation.tsv")
    jobs = {**UNLABELLED, "annotate_cells": 1, "label_counts": 1, "sample_labelled_reference": 1}
    # No query needs the counts without the annotation.
    jobs.pop("sample_reference")
    assert planned(snakemake(folder, "--dry-run")) == jobs


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (HEADER, "scvy\t1\t0\tT", "line 2: model 'scvy' is not in the config's models (did you mean 'scvi'?)"),
        (HEADER, "scanvi\t1\t0\tT", "model 'scanvi' is trained with the labels that the annotation makes"),
        (HEADER, "scvi\t7\t0\tT", "resolution '7' is not in the config's clusters.resolutions"),
        (HEADER, "scvi\t1\t0\tT\nscvi\t1.0\t0\tB", "line 3: cluster 0 of scvi, resolution 1, is named in line 2"),
        (f"{HEADER}\tlabel_2", "scvi\t1\t0\tT\tL", "names clusters at 2 label levels, and dataset 'a' has 1"),
    ],
)
def test_a_wrong_annotation_is_refused_at_planning(project, header, row, message):
    folder, write = project
    annotate(folder, row, header=header)
    write(labels=("cell_type", "-"), annotation="annotation.tsv")
    text = refused(folder)
    assert message in text
    assert "annotation.tsv" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"label_map": "map.tsv"}, "map.tsv, line 2: there is no dataset 'gone'; the reference has"),
        ({"label_map": "gone.tsv"}, "config: label_map: 'gone.tsv' does not exist"),
        ({"annotation": "gone.tsv"}, "config: annotation: 'gone.tsv' does not exist"),
        ({"exclude": "gone.tsv"}, "config: exclude: no file 'gone.tsv'"),
        (
            {"annotation": "annotation.tsv", "clusters": {"resolutions": []}},
            "config: annotation names clusters, and clusters.resolutions is empty",
        ),
    ],
)
def test_a_wrong_table_is_refused_at_planning(project, config, message):
    folder, write = project
    annotate(folder)
    (folder / "map.tsv").write_text("dataset\tlabel\tname\ngone\tA\tT\n")
    write(labels=("cell_type", "-"), **config)
    text = refused(folder)
    assert message in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("key", "name"),
    [("annotation", "models/scvi/annotation/1.tsv"), ("exclude", "excluded_cells.tsv")],
)
def test_a_table_that_a_run_replaces_is_refused(project, key, name):
    """A template filled in where it stands would be overwritten with the next round's."""
    folder, write = project
    path = folder / "results" / "reference" / name
    path.parent.mkdir(parents=True)
    annotate(folder)
    (folder / "annotation.tsv").rename(path)
    write(**{key: f"results/reference/{name}"})
    assert f"config: {key}: 'results/reference/{name}' is in the folder of the results" in refused(folder)
