"""Custom content of MultiQC, against the structure that its documentation gives.

Checked by hand with MultiQC 1.35 on the results of the demo: `multiqc --strict results/report` read all six files
without a warning, and its page showed two queries, three datasets and three models, without an error on the console.
Names that are HTML were shown as text.
"""

import json

import pytest
from test_project_log import CODE, DATE, SCAN, a_log, summary
from test_query_summary import CHECK, MAPPINGS, query_summary

from refatlas.report.multiqc import N_LABELS, STATUSES, custom_content
from refatlas.report.project_log import run_log

# https://docs.seqera.io/multiqc/custom_content: keys of a section.
SECTION = {"id", "parent_id", "parent_name", "parent_description", "section_name", "description", "plot_type"}
SECTION |= {"pconfig", "data"}
# https://docs.seqera.io/multiqc/development/plots: keys of a column of a table.
COLUMN = {"title", "description", "namespace", "min", "max", "suffix", "format", "scale"}


@pytest.fixture
def content():
    return custom_content(a_log(), [summary()])


def columns_of(section):
    """Return the columns of a table or of general statistics, by name."""
    if section["plot_type"] == "generalstats":
        assert all(len(column) == 1 for column in section["pconfig"])
        return {name: values for column in section["pconfig"] for name, values in column.items()}
    return section["headers"]


def test_files_have_the_names_that_multiqc_looks_for(content):
    names = ("general_stats", "status", "labels", "datasets", "training", "integration")
    assert set(content) == {f"refatlas_{name}_mqc.json" for name in names}
    json.dumps(content, allow_nan=False)


def test_sections_have_the_documented_keys(content):
    assert len({section["id"] for section in content.values()}) == len(content)
    for section in content.values():
        if section["plot_type"] == "generalstats":
            assert set(section) == {"id", "plot_type", "pconfig", "data"}
            continue
        extra = {"table": {"headers"}, "bargraph": {"categories"}}[section["plot_type"]]
        assert SECTION <= set(section) <= SECTION | extra
        assert {"id", "title"} <= set(section["pconfig"])
        assert section["parent_id"] == "refatlas"


def test_tables_describe_all_columns_of_their_rows(content):
    tables = [section for section in content.values() if section["plot_type"] in ("generalstats", "table")]
    assert len(tables) == 4
    for section in tables:
        columns = columns_of(section)
        assert all({"title", "description"} <= set(column) <= COLUMN for column in columns.values())
        for row in section["data"].values():
            assert set(row) <= set(columns)
            assert all(isinstance(value, int | float | str) for value in row.values())


def test_bar_graphs_hold_numbers_by_sample_and_category(content):
    for name in ("status", "labels"):
        for row in content[f"refatlas_{name}_mqc.json"]["data"].values():
            assert all(isinstance(value, int) for value in row.values())
    assert set(content["refatlas_status_mqc.json"]["categories"]) == set(STATUSES)


def test_numbers_of_a_query(content):
    row = content["refatlas_general_stats_mqc.json"]["data"]["q"]
    expected = {"cells": 4, "assigned": 50, "ambiguous": 0, "novel": 25, "accuracy": 80, "verdict": "warn"}
    assert row == pytest.approx(
        {key: value for key, value in expected.items() if key != "verdict"} | {"verdict": "warn"}
    )
    assert content["refatlas_status_mqc.json"]["data"]["q"]["low_quality"] == 1
    assert content["refatlas_labels_mqc.json"]["data"]["q"] == {"T": 3, "NA": 1}


def test_numbers_of_the_reference_and_its_models(content):
    assert content["refatlas_datasets_mqc.json"]["data"]["a"]["kept_percent"] == pytest.approx(91.67)
    model = content["refatlas_training_mqc.json"]["data"]["m"]
    assert (model["epochs"], model["loss"], model["converged"]) == (2, -10.25, "no")
    assert content["refatlas_integration_mqc.json"]["data"]["m"] == {"ilisi": 0.25, "total": 0.5}, "kbet failed"


def test_of_many_labels_the_rare_ones_are_counted_together():
    query = {**summary(), "labels": {f"l{i}": 100 - i for i in range(N_LABELS + 3)}}
    row = custom_content(a_log(), [query])["refatlas_labels_mqc.json"]["data"]["q"]
    assert len(row) == N_LABELS + 1
    assert row["all other labels"] == (100 - N_LABELS) + (99 - N_LABELS) + (98 - N_LABELS)


def test_files_without_data_are_left_out():
    query = query_summary("q", CHECK, MAPPINGS)
    unlabelled = custom_content(run_log("p", DATE, CODE, 0, [SCAN], [], [query]), [query])
    assert set(unlabelled) == {"refatlas_general_stats_mqc.json", "refatlas_datasets_mqc.json"}
    assert unlabelled["refatlas_general_stats_mqc.json"]["data"]["q"] == {"cells": 4}


def test_names_of_users_start_no_element():
    query = {**summary(), "query": "<b>q", "labels": {"<img>": 1}}
    text = json.dumps(custom_content(a_log(datasets=[{**SCAN, "name": "<i>"}]), [query]))
    assert "<" not in text
    assert "&lt;b>q" in text
