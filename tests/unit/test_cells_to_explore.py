"""The cells of a query over the reference, and their colours."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.report.cells_to_explore import (
    CellGenes,
    QueryCells,
    as_column,
    columns_note,
    expression,
    in_steps,
    query_columns,
    query_explorer,
    wanted_columns,
)
from refatlas.report.explorer import explorer_html

OBS = pd.DataFrame(
    {
        "sample": ["s1", "s2", "s2"],
        "empty": [np.nan] * 3,
        "label": pd.Categorical(["T", "other", "B"]),
        "status": ["assigned", "novel", "assigned"],
        "confidence": [0.9, 0.5, 0.8],
    },
    index=["c1", "c2", "c3"],
)
BACKGROUND = pd.DataFrame({"label": pd.Categorical(["T", "NK"], ["B", "NK", "T"])}, index=["r:1", "r:2"]).assign(
    **{f"umap_{i} m": np.float32([0, 1]) for i in (1, 2)}
)
GENES = CellGenes(sparse.csr_matrix(np.array([[0, 4], [2, 2], [1, 0]])), pd.Index(["q:1", "q:2", "q:3"]), ["G1", "G2"])
SETTINGS = {"max_cells": 1000, "columns": "all"}


def explorer(**settings):
    query = QueryCells(OBS, GENES.cells, {"m": np.ones((3, 2))}, ["sample", "empty"])
    return query_explorer(query, BACKGROUND, np.array([0.5, 0.0]), GENES, SETTINGS | settings, "q")


def test_labels_have_the_colours_of_the_reference_and_cover_its_cells():
    found = explorer()
    label = found.columns[0]
    assert label.name == "label"
    # A label that no cell has keeps its place, so that the others keep their colours.
    assert list(label.values.cat.categories) == ["B", "NK", "T", "other"]
    assert list(label.values) == ["T", "NK", "T", "other", "B"]
    assert found.is_query.tolist() == [False, False, True, True, True]
    assert explorer_html(found, "cells").startswith('<div class="explorer"')


def test_columns_that_are_no_colours_are_named():
    found = explorer()
    assert [column.name for column in found.columns] == ["label", "status", "confidence", "sample", "presence"]
    assert found.note == "Cannot be used for colouring: empty (no values, or more than 200 different ones)."
    assert explorer(columns=["sample"]).note == ""
    assert [column.name for column in query_columns(OBS, ["sample", "empty"], [])[0]] == ["status", "confidence"]


def test_presence_is_of_the_reference_alone():
    (presence,) = [column for column in explorer().columns if column.name == "presence"]
    assert presence.values[:2].tolist() == [0.5, 0.0]
    assert presence.values[2:].isna().all()


def test_a_query_of_many_cells_is_a_sample():
    found = explorer(max_cells=2)
    assert len(found.cells) == 4
    assert found.note.startswith("2 of the 3 cells of the query are shown: a sample")


def test_genes_are_those_of_their_cells():
    found = expression(GENES, pd.Index(["r:1", "q:3", "q:1"]), 10).toarray()
    assert found[0].tolist() == [0, 0]
    assert found[1] == pytest.approx([np.log1p(1e4), 0], rel=1e-5)
    assert found[2] == pytest.approx([0, np.log1p(1e4)], rel=1e-5)


def test_genes_are_rounded_to_steps_and_stay_above_zero():
    found = in_steps(sparse.csr_matrix(np.array([[0.01, 3.2], [0, 1.04], [6.4, 0]])))
    assert found.toarray() == pytest.approx(np.array([[0.2, 3.2], [0, 1.0], [6.4, 0]]))
    assert in_steps(sparse.csr_matrix((3, 2))).nnz == 0


def test_a_page_may_have_none_of_the_cells_with_genes():
    assert expression(GENES, pd.Index(["r:1", "r:2"]), 10).shape == (2, 2)


def test_columns_are_found_by_the_names_of_the_users_file():
    obs = OBS.assign(original_label=["x", "y", "y"], tissue_site=["a", "b", "b"])
    query = QueryCells(obs, GENES.cells, {"m": np.ones((3, 2))}, ["sample", "empty", "original_label", "tissue_site"])
    wanted = ["tissue/site", "label", "sample", "gone"]
    assert wanted_columns(wanted, query) == (["tissue_site", "original_label", "sample"], ["gone"])
    assert wanted_columns("all", query) == (query.own, [])
    found = query_explorer(query, BACKGROUND, None, GENES, SETTINGS | {"columns": wanted}, "q")
    assert {"tissue_site", "original_label", "sample"} <= {column.name for column in found.columns}
    assert found.note == "The file has no column gone, which report.columns names."


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 2], "category"),
        (range(30), "number"),
        ([0.5, 1.0, np.nan], "number"),
        ([True, False, True], "category"),
        (["a", None, "b"], "category"),
        ([None, None], None),
        ([f"v{i}" for i in range(201)], None),
    ],
)
def test_kinds_of_columns(values, kind):
    found = as_column("x", pd.Series(values))
    assert (found.kind if found else None) == kind


def test_a_query_of_a_reference_without_labels():
    query = QueryCells(OBS[["sample"]], GENES.cells, {"m": np.ones((3, 2))}, ["sample"])
    background = BACKGROUND.drop(columns="label")
    found = query_explorer(query, background, np.zeros(2), GENES, SETTINGS, "q")
    assert [column.name for column in found.columns] == ["sample", "presence"]


def test_columns_that_are_no_colours_or_not_there_are_named():
    assert columns_note([], []) == ""
    found = columns_note(["barcode"], ["tissue"])
    assert found.startswith("Cannot be used for colouring: barcode")
    assert found.endswith("The file has no column tissue, which report.columns names.")
