"""Jobs that share a submission to a cluster, planned by dry runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPO, site_profile, small_counts, write_sheets

PARTITIONS = {"partition": '"cpu"', "gpu_partition": '"gpu"'}
TRAINED = {"train_reference", "map_query", "describe_reference", "describe_query"}
OF_CLUSTERS = ("cluster_reference", "describe_clusters")


def submissions(folder: Path, *arguments: str) -> list[list[str]]:
    """Return the rules of each submission that a run with the SLURM profile would make."""
    profile = site_profile(folder / "profile", **PARTITIONS)
    command = [sys.executable, REPO / "tests/submissions.py", "--snakefile", REPO / "Snakefile", "--directory", folder]
    run = subprocess.run(
        [*command, "--workflow-profile", profile, *arguments], capture_output=True, text=True, cwd="/", check=False
    )
    assert run.returncode == 0, run.stderr
    return [line.split() for line in run.stdout.splitlines()]


@pytest.fixture
def project(tmp_path):
    """A project of one dataset and one query with labels, two models and the baseline, and two folds."""
    for i, name in enumerate(("a", "q")):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")

    def write(queries=("q",), **config):
        config.setdefault("models", {"scvi": {"type": "scvi"}, "scanvi": {"type": "scanvi", "init_from": "scvi"}})
        config.setdefault("evaluation", {"folds": 2})
        reference = [{"dataset": "a", "path": "a.h5ad"}]
        rows = [{"query": name, "path": "q.h5ad"} for name in queries]
        return write_sheets(tmp_path, reference, rows, **config)

    write()
    return tmp_path, write


def with_query(planned: list[list[str]]) -> list[str]:
    (found,) = [rules for rules in planned if "assess_query" in rules]
    return found


def test_the_demo_is_at_most_thirty_five_submissions(tmp_path):
    shutil.copytree(REPO / "config", tmp_path / "config")
    planned = submissions(tmp_path)
    assert sum(map(len, planned)) == 89
    assert 20 < len(planned) <= 35


def test_a_job_on_a_gpu_is_submitted_alone(project):
    folder, _ = project
    planned = submissions(folder, "--configfile", str(folder / "config.yaml"))
    # Of each of two models: the atlas and two folds, and what is mapped onto each of them. The baseline shares.
    assert planned.count(["train_reference"]) == 2 * 3 + 1
    assert planned.count(["map_query"]) == 2 * 3
    shared = [rule for rules in planned if len(rules) > 1 for rule in rules]
    assert shared.count("train_reference") == 2
    assert shared.count("map_query") == 3
    assert not {"describe_reference", "describe_query"} & set(shared)


def test_what_follows_the_models_of_a_query_is_one_submission(project):
    folder, write = project
    configfile = ("--configfile", str(folder / "config.yaml"))
    of_query = [
        "assess_query",
        "deliver_labels",
        "embed_query",
        "group_novel",
        "map_query",
        "match_query",
        "transfer_labels",
    ]
    assert with_query(submissions(folder, *configfile)) == of_query
    # A failed submission loses the results of all of its jobs: a verdict that stops the run must outlast it.
    write(verdict={"stop": "fail"})
    planned = submissions(folder, *configfile)
    assert with_query(planned) == [rule for rule in of_query if rule != "deliver_labels"]
    assert ["deliver_labels"] in planned


def test_what_follows_the_latent_space_of_a_model_is_one_submission(project):
    folder, write = project
    configfile = ("--configfile", str(folder / "config.yaml"))
    planned = submissions(folder, *configfile)
    assert planned.count([*OF_CLUSTERS, "draw_reference", "embed_reference", "find_markers"]) == 3
    # A file of the user may be refused, and a failed submission loses the results of all of its jobs.
    (folder / "markers.tsv").write_text("label\tgene\nT\tG1\n")
    write(suggestions={"markers": "markers.tsv"})
    planned = submissions(folder, *configfile)
    assert planned.count(["describe_clusters"]) == 3
    assert planned.count(["cluster_reference", "draw_reference", "embed_reference", "find_markers"]) == 3
    assert ["group_novel"] in planned
    assert "group_novel" not in with_query(planned)


def test_an_annotation_is_planned_from_the_start(project):
    """No submission waits for itself: the labels of the atlas's cells are known after one of its models is trained."""
    folder, write = project
    (folder / "annotation.tsv").write_text("model\tresolution\tcluster\tlabel\nscvi\t1\t0\tT\n")
    write(annotation="annotation.tsv", label_key="-")
    planned = submissions(folder, "--configfile", str(folder / "config.yaml"))
    assert ["annotate_cells"] in planned
    assert ["build_reference", "sample_reference", "select_genes"] in planned
    assert planned.count(["label_counts"]) == 1
    of_fold = ["build_reference", "hold_out", "label_counts", "label_held_out", "plan_fold", "select_genes"]
    assert planned.count(of_fold) == 2
    assert [*OF_CLUSTERS, "find_markers"] in planned
    assert planned.count(["draw_reference"]) == 1
    # A label map alone is known before training: no figure waits for clusters of another submission.
    (folder / "map.tsv").write_text("dataset\tlabel\tname\na\tA\tT\n")
    write(label_map="map.tsv")
    planned = submissions(folder, "--configfile", str(folder / "config.yaml"))
    assert planned.count(["label_counts"]) == 1
    assert planned.count(of_fold) == 2
    assert planned.count([*OF_CLUSTERS, "draw_reference", "embed_reference", "find_markers"]) == 3


def test_trees_of_labels_share_the_submissions_of_folds_and_queries(project):
    folder, write = project
    write(tree={"models": ["linear", "scvi"]})
    planned = submissions(folder, "--configfile", str(folder / "config.yaml"))
    assert planned.count(["learn_hierarchy"]) == 2
    assert with_query(planned).count("classify_by_tree") == 2
    (fold, other) = [rules for rules in planned if rules.count("index_reference") == 3]
    assert fold == other
    assert fold.count("learn_hierarchy") == 2


def test_with_many_queries_the_jobs_that_gather_their_results_are_submitted_alone(project):
    folder, write = project
    write(queries=[f"q{i}" for i in range(21)], models={"scvi": {"type": "scvi"}}, evaluation={"folds": 0})
    planned = submissions(folder, "--configfile", str(folder / "config.yaml"))
    for rule in ("collect_transfer", "export_reference", "record_provenance", "write_report"):
        assert [rule] in planned
