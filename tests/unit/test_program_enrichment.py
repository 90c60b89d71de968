"""Gene programs that distinguish groups of cells; answers by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.models.program_enrichment import compared_groups, enrichment, enrichment_table


def test_enrichment_is_even_for_equal_cells_and_sure_for_distant_ones():
    cells = np.array([[5.0, 0.0, -5.0]]), np.full((1, 3), 0.5)
    others = np.zeros((1, 3)), np.full((1, 3), 0.5)
    table = enrichment(cells, others, np.array(["up", "same", "down"])).set_index("program")
    assert table["probability"].to_dict() == pytest.approx({"up": 1, "same": 0.5, "down": 0}, abs=1e-6)
    assert table.loc["same", "bayes_factor"] == pytest.approx(0)
    assert table.loc["up", "bayes_factor"] == pytest.approx(-table.loc["down", "bayes_factor"], rel=1e-3)
    assert table.index[-1] == "same"


def frame(**columns):
    from anndata import AnnData

    return AnnData(obs=pd.DataFrame(columns, index=[f"c{i}" for i in range(len(columns["batch"]))]))


def test_a_reference_is_compared_by_labels_and_batches_and_a_query_with_the_reference():
    reference = frame(batch=["a", "a", "b"], label=["T", None, "B"])
    found = [(by, group, cells.sum(), rest.sum()) for by, group, cells, rest in compared_groups(reference)]
    assert found == [("label", "T", 1, 2), ("label", "B", 1, 2), ("batch", "a", 2, 1), ("batch", "b", 1, 2)]
    query = frame(batch=["q1", "q2"])
    assert [(by, group, cells.sum(), rest.sum()) for by, group, cells, rest in compared_groups(query, reference)] == [
        ("query", "all", 2, 3),
        ("batch", "q1", 1, 3),
        ("batch", "q2", 1, 3),
    ]
    assert [group for _, group, *_ in compared_groups(frame(batch=["only"]))] == []


def test_a_table_has_each_group_and_program():
    cells = frame(batch=["a", "a", "b"])
    posterior = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), np.ones((3, 2))
    table = enrichment_table(cells, posterior, np.array(["p", "q"]))
    assert table.index.names == ["by", "group", "program"]
    assert table.loc[("batch", "a", "p"), "bayes_factor"] > 1
    assert table.loc[("batch", "b", "p"), "bayes_factor"] < -1
    assert table.xs("q", level="program")["probability"].tolist() == pytest.approx([0.5, 0.5])
