"""Genes of different files are recognised, united and matched."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.io.count_file import CountFile
from refatlas.prepare.genes import gene_table, match_genes, merge_genes, reindex_genes

G1, G2 = "ENSG00000000001", "ENSG00000000002"


def file_with(index, **columns) -> CountFile:
    return CountFile("file.h5ad", "X", pd.DataFrame(), pd.DataFrame(columns, index=index), None)


def table(ids, symbols) -> pd.DataFrame:
    return pd.DataFrame({"gene_id": ids, "symbol": symbols, "name": symbols}, dtype=object)


def test_versions_are_cut_but_not_the_y_copies():
    found = gene_table(
        file_with(["ENSG00000000001.12", "ENSG00000000002.3_PAR_Y", "ENSMUSG00000000003"], feature_name=["A", "B", "C"])
    )
    assert list(found["gene_id"]) == ["ENSG00000000001", "ENSG00000000002_PAR_Y", "ENSMUSG00000000003"]
    assert list(found["symbol"]) == ["A", "B", "C"]


def test_ids_are_found_in_a_column_beside_symbols():
    found = gene_table(file_with(["A", "B"], ensembl=["ENSG00000000001", None], chromosome=["1", "2"]))
    assert found["gene_id"].tolist() in ([None, None], ["ENSG00000000001", None])
    found = gene_table(file_with(["A", "B", "C"], ensembl=["ENSG00000000001", "ENSG00000000002", None]))
    assert found["gene_id"].tolist() == ["ENSG00000000001", "ENSG00000000002", None]
    assert found["symbol"].tolist() == ["A", "B", "C"]


def test_symbols_alone_take_the_id_that_another_file_gives_them():
    united = merge_genes([table(["ENSG00000000001", "ENSG00000000002"], ["A", "B"]), table([None, None], ["B", "C"])])
    assert list(united.index) == ["ENSG00000000001", "ENSG00000000002", "C"]
    assert list(match_genes(united, table([None, None], ["B", "C"]))) == [1, 2]


def test_the_symbol_of_most_files_names_a_gene_in_any_order():
    tables = [table([G1], ["MARCH1"]), table([G1], ["MARCHF1"]), table([None], ["MARCH1"])]
    for order in permutations(tables):
        united = merge_genes(list(order))
        assert united["symbol"].to_dict() == {G1: "MARCH1"}
        assert [list(match_genes(united, t)) for t in order] == [[0]] * 3


def test_a_symbol_that_moved_to_another_gene_matches_neither_in_any_order():
    tables = [table([G1, G2], ["A", "B"]), table([G1, G2], ["B", "C"]), table([None], ["B"])]
    for order in permutations(tables):
        united = merge_genes(list(order))
        assert list(match_genes(united, tables[0])) == list(match_genes(united, tables[1]))
        assert list(match_genes(united, tables[2])) == [-1]


def test_a_symbol_of_the_y_copy_means_the_gene_of_the_x_chromosome():
    tables = [table([G1, f"{G1}_PAR_Y"], ["CD99", "CD99"]), table([G2], ["CD99"]), table([None], ["CD99"])]
    for order in permutations(tables):
        united = merge_genes(list(order))
        assert [set(united.index[match_genes(united, t)]) & {G1, G2} for t in order].count({G1, G2}) == 0
        assert (match_genes(united, tables[2]) >= 0).all()
        assert f"{G1}_PAR_Y" in united.index


def test_an_ambiguous_symbol_is_not_matched():
    united = merge_genes([table(["ENSG00000000001", "ENSG00000000002"], ["A", "A"])])
    assert list(match_genes(united, table([None], ["A"]))) == [-1]


def test_symbol_does_not_override_a_gene_found_by_id():
    reference = merge_genes([table(["ENSG00000000001", "ENSG00000000002"], ["A", "B"])])
    assert list(match_genes(reference, table(["ENSG00000000001", "ENSG00000000009"], ["x", "A"]))) == [0, -1]


def test_columns_of_one_gene_are_summed_and_order_is_the_references():
    block = sparse.csr_matrix(np.array([[1, 2, 3, 4], [0, 5, 0, 6]], dtype=np.float32))
    taken = reindex_genes(block, np.array([2, 0, -1, 2]), 4)
    assert taken.toarray().tolist() == [[2, 0, 5, 0], [5, 0, 6, 0]]


@pytest.mark.parametrize(
    ("dtype", "values", "total"),
    [("uint8", [200, 100], 300), ("int8", [100, 100], 200), ("uint16", [40_000, 30_000], 70_000)],
)
def test_sums_of_columns_of_one_gene_exceed_the_type_of_the_counts(dtype, values, total):
    block = sparse.csr_matrix(np.array([values], dtype=dtype))
    assert reindex_genes(block, np.array([1, 1]), 2).toarray().tolist() == [[0, total]]
    # One gene that the file stores twice for a cell.
    twice = sparse.csr_matrix((np.array(values, dtype=dtype), [0, 0], [0, 2]), shape=(1, 1))
    assert reindex_genes(twice, np.array([1]), 2).toarray().tolist() == [[0, total]]
