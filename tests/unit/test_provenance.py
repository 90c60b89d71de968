"""Each job leaves a record of what it was, and provenance.json gathers those of the current results."""

import json
from pathlib import Path

import pandas as pd
import pytest

import refatlas
from conftest import make_job
from refatlas.errors import InputError
from refatlas.jobs.inputs import by_name, by_name_and_kind, by_two_names
from refatlas.jobs.provenance import (
    collect_provenance,
    describe_code,
    input_files,
    package_versions,
    read_records,
    revision_number,
    summarize_rules,
)
from refatlas.jobs.run import run_job
from refatlas.revisions import REVISIONS, revision


@pytest.fixture
def record(tmp_path):
    """The record of a job that has run in tmp_path."""
    run_job(lambda smk: Path(smk.output[0]).write_text("done"), make_job(tmp_path, table="a.h5ad"))
    (found,) = read_records(tmp_path, {"x": ["1"]})
    return found


def test_a_record_says_what_the_job_was(record):
    assert (record["rule"], record["revision"], record["version"]) == ("a_rule", 2, refatlas.__version__)
    assert (record["params"], record["inputs"], record["threads"]) == ({"seed": 3}, ["a.h5ad"], 2)
    assert record["packages"]["pandas"] == pd.__version__
    assert record["peak_mb"] > 10
    assert record["requested"] == {"mem_mb": 500, "runtime": 10}


def test_revisions_of_all_rules_are_read():
    assert [revision_number(revision(rule)) for rule in REVISIONS] == list(REVISIONS.values())
    assert revision_number(None) is None


def test_records_of_results_that_are_no_longer_made_are_left_out(tmp_path, record):
    assert read_records(tmp_path, {"x": ["2"]}) == []
    (tmp_path / "job.json").write_text(json.dumps({key: record[key] for key in record if key != "version"}))
    assert read_records(tmp_path, {"x": ["1"]}) == []


def test_records_without_their_results_are_left_out(tmp_path, record):
    (tmp_path / "out").unlink()
    assert read_records(tmp_path, {}) == []


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "scan_dataset").mkdir()
    (tmp_path / "scan_dataset" / "a.json").write_text('{"rule": ')
    with pytest.raises(InputError, match=r"scan_dataset/a.json is damaged .*Delete it"):
        read_records(tmp_path, {})


def test_rules_are_summarized(record):
    other = {**record, "seconds": record["seconds"] + 1, "peak_mb": 5, "device": "a GPU", "revision": 3}
    slow = {**record, "rule": "slow", "seconds": 100.0}
    first, second = summarize_rules([record, other, slow])
    assert first["rule"] == "slow"
    assert (second["jobs"], second["peak_mb"], second["revisions"]) == (2, record["peak_mb"], [2, 3])
    assert second["devices"] == sorted({record["device"], "a GPU"})
    assert second["seconds"] == pytest.approx(2 * record["seconds"] + 1)


def test_all_versions_of_packages_are_named(record):
    found = package_versions([record, {**record, "packages": {"pandas": "0.1"}}])
    assert found["pandas"] == sorted(["0.1", pd.__version__])


def test_provenance_has_the_files_by_name(tmp_path, record):
    checksums = {"a.h5ad": {"sha256": "00", "bytes": 3, "modified": "2026-01-01T00:00:00+00:00"}}
    (tmp_path / "scan.json").write_text(json.dumps({"checksums": checksums, "n_cells": 3}))
    files = {"datasets": input_files({"a": str(tmp_path / "scan.json")}), "queries": {}}
    found = collect_provenance([record], files, {"seed": 7})
    assert found["files"]["datasets"] == {"a": checksums}
    assert (found["seed"], found["jobs"], found["rules"][0]["revisions"]) == (7, [record], [2])
    json.dumps(found)


def test_the_code_has_a_checksum():
    found = describe_code()
    assert found == describe_code()
    assert (found["version"], len(found["sha256"])) == (refatlas.__version__, 64)


def test_inputs_by_name():
    files = {"labels:b": "1", "labels:a": "2", "umap:b": "3", "labels_of:c": "4", "mapping:q:b": "5", "x": "6"}
    assert list(by_name(files, "labels").items()) == [("b", "1"), ("a", "2")]
    assert by_name_and_kind(files, "labels", "umap") == {"b": {"labels": "1", "umap": "3"}, "a": {"labels": "2"}}
    assert by_two_names(files, "mapping") == {"q": {"b": "5"}}
