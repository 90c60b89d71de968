"""What labels made elsewhere plan: nothing while there are none, and nothing trained or transferred again for them."""

import re

import pytest
import yaml

from conftest import finish, planned, small_counts, snakemake, write_sheets
from refatlas.bundle.manifest import settings_to_keep
from refatlas.config.external_maps import with_maps
from refatlas.config.settings import complete_config
from refatlas.errors import InputError

MODELS = {"scvi": {"type": "scvi"}}
REFERENCE, QUERIES = [{"dataset": n, "path": f"{n}.h5ad"} for n in "ab"], [{"query": "q", "path": "q.h5ad"}]
TOOL = {"key": "tool", "map": "map.tsv"}
# Two datasets and a query; the query and two folds.
NEW = {"read_external_labels": 2, "read_query_external_labels": 1, "match_external_labels": 3}


@pytest.fixture
def project(tmp_path):
    """A folder with two datasets and a query, and a function that writes the configuration."""
    for i, name in enumerate("abq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "map.tsv").write_text("label\tname\nT cell\tA\nOther\t-\n")

    def write(**config):
        write_sheets(tmp_path, REFERENCE, QUERIES, models=MODELS, evaluation={"folds": 2}, **config)
        return tmp_path

    return write


def complete(**config) -> dict:
    return with_maps(complete_config({"reference": "reference.tsv", "models": MODELS, **config}))


def test_another_source_computes_only_what_follows_from_it(project):
    folder = finish(project())
    project(external_labels={})
    assert planned(snakemake(folder, "--dry-run")) == {}
    project(external_labels={"tool": TOOL})
    jobs = planned(snakemake(folder, "--dry-run"))
    assert {rule: jobs.get(rule) for rule in NEW} == NEW
    follow = {"calibrate", "measure_held_out", "assess_query", "deliver_labels", "export_query", "write_query_page"}
    follow |= {"group_novel", "score_transfer", "collect_transfer", "compare_models", "record_provenance"}
    follow |= {"write_report", "write_project_log", "write_reference_page"}
    assert set(jobs) - set(NEW) <= follow


def test_a_changed_map_reads_no_file_again(project):
    folder = finish(project(external_labels={"tool": TOOL}))
    (folder / "map.tsv").write_text("label\tname\nT cell\tB\n")
    jobs = planned(snakemake(folder, "--dry-run"))
    assert "match_external_labels" in jobs
    assert not {"read_external_labels", "read_query_external_labels", "train_reference"} & set(jobs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tool": {}}, "external_labels: tool: key or probabilities: neither is set"),
        ({"tool": {"key": "a", "probabilities": "b"}}, "external_labels: tool: key or probabilities: both are set"),
        ({"tool": {"key": "a", "labels": ["A", "B"]}}, "labels names the columns of probabilities, which are not set"),
        ({"scvi": {"key": "a"}}, "external_labels: scvi: the name is that of a model"),
        ({"scvi_logistic": {"key": "a"}}, "external_labels: scvi_logistic: the name is that of a model"),
        ({"tool": {"keys": "a"}}, "unknown key 'keys' (did you mean 'key'?)"),
        ({"tool": {"key": "a", "map": "none.tsv"}}, "external_labels: tool: map: no file 'none.tsv'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        complete(external_labels=settings)


def test_they_are_refused_at_planning(project):
    run = snakemake(project(external_labels={"tool": {"keys": "a"}}), "--dry-run", check=False)
    assert run.returncode != 0
    assert "config: external_labels: tool: unknown key 'keys'" in run.stdout + run.stderr
    assert "Job stats" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\tname\nT cell\t\n", "line 2: name is empty"),
        ("label\tname\nT cell\tA\nT  cell\tB\n", "line 3: label 'T cell' stands twice"),
        ("label\nT cell\n", "no column 'name'"),
    ],
)
def test_a_wrong_map_is_refused(tmp_path, text, message):
    (tmp_path / "map.tsv").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        complete(external_labels={"tool": {**TOOL, "map": str(tmp_path / "map.tsv")}})


def test_without_labels_of_the_reference_they_are_left_out_with_a_word(project):
    run = snakemake(project(label_key="-", external_labels={"tool": TOOL}), "--dry-run")
    assert "external labels (tool): they vote for labels of the reference" in run.stdout + run.stderr
    assert not set(NEW) & set(planned(run))


def test_a_bundle_keeps_the_settings_with_the_map_and_needs_no_file_of_the_cells(project, monkeypatch):
    folder = project(external_labels={"tool": TOOL})
    run = snakemake(folder, "--dry-run", "--quiet", "host", "--", "bundle")
    (files,) = re.findall(r"rule write_bundle:\n    input: (.*)\n", run.stdout + run.stderr)
    assert "external" not in files
    monkeypatch.chdir(folder)
    kept = settings_to_keep(with_maps(complete_config(yaml.safe_load((folder / "config.yaml").read_text()))))
    assert kept["external_labels"]["tool"]["map"] == {"T cell": "A", "Other": "-"}
    # With the bundle, the settings are read once more.
    again = with_maps(complete_config({**kept, "reference": "reference.tsv"}))
    assert again["external_labels"] == kept["external_labels"]
