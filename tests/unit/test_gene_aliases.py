"""Former symbols of HGNC's table are replaced on request, and their number is told without one."""

import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.io.count_file import CountFile
from refatlas.prepare.gene_aliases import TABLE, current_symbols, previous_symbols, replacement_note
from refatlas.prepare.gene_overlap import check_overlap
from refatlas.prepare.gene_selection import select_pretrained_genes
from refatlas.prepare.genes import gene_table, genes_from_names, match_genes, merge_genes


def table_of(symbols, previous_symbols=False) -> pd.DataFrame:
    file = CountFile("f.h5ad", "X", pd.DataFrame(), pd.DataFrame(index=pd.Index(symbols)), None)
    return gene_table(file, previous_symbols=previous_symbols)


def test_the_table_says_where_it_is_from_and_names_no_gene_twice():
    head = TABLE.read_text(encoding="utf-8").split("previous\t")[0]
    assert "HGNC" in head
    assert "CC0" in head
    assert "2026" in head
    found = previous_symbols()
    assert found["SEPT2"] == "SEPTIN2"
    assert found["MARCH1"] == "MARCHF1"
    assert not found.index.has_duplicates
    assert len(found) > 10_000


def test_former_symbols_are_replaced_unless_the_file_has_todays_too():
    before = pd.Series(["SEPT2", "TP53", None, "MARCH1", "SEPT9", "SEPTIN9"], dtype=object)
    after = current_symbols(before)
    assert after.tolist() == ["SEPTIN2", "TP53", None, "MARCHF1", "SEPT9", "SEPTIN9"]
    note = "genes: 2 former symbols replaced by today's, by HGNC's table (SEPT2 is SEPTIN2, MARCH1 is MARCHF1)"
    assert replacement_note(before, after) == note
    assert replacement_note(after, after) is None


def test_two_former_symbols_of_one_gene_are_left_alone():
    found = previous_symbols()
    twice = found[found.duplicated(keep=False)].sort_values().index[:2].tolist()
    assert current_symbols(pd.Series(twice)).tolist() == twice


def test_a_file_is_read_with_todays_symbols_on_request_alone():
    assert table_of(["SEPT2", "TP53"])["symbol"].tolist() == ["SEPT2", "TP53"]
    file = CountFile("f.h5ad", "X", pd.DataFrame(), pd.DataFrame(index=pd.Index(["SEPT2", "TP53"])), None)
    table = gene_table(file, None, previous_symbols=True)
    assert table["symbol"].tolist() == ["SEPTIN2", "TP53"]
    assert table["name"].tolist() == ["SEPT2", "TP53"]
    assert any("1 former symbols replaced" in note for note in file.notes)
    reference = merge_genes([table_of(["SEPTIN2", "TP53"])])
    assert match_genes(reference, table).tolist() == [0, 1]


def test_a_query_with_former_symbols_is_told_how_many_would_match():
    genes = merge_genes([table_of(["SEPTIN2", "MARCHF1", "TP53", "CD3E"])]).assign(selected=True)
    query = table_of(["SEPT2", "MARCH1", "TP53", "CD3E"])
    with pytest.raises(InputError, match=r"2 more would match by their former symbols: set genes.previous_symbols"):
        check_overlap("query 'q'", genes, query, 0.9)
    found = check_overlap("query 'q'", genes, query, 0.2)
    expected = "genes: 2 more would be found by former symbols (HGNC's table); set genes.previous_symbols"
    assert found["gene_notes"] == [expected]
    assert found["gene_overlap"] == 0.5


def test_genes_of_pretrained_models_follow():
    genes = merge_genes([table_of(["SEPTIN2", "TP53"])]).assign(selected=True, reason="variable")
    assert genes_from_names(["SEPT2"], previous_symbols=True)["symbol"].tolist() == ["SEPTIN2"]
    with pytest.raises(InputError, match=r"1 of its 2 genes .* SEPT2: 1 more would be found by former symbols"):
        select_pretrained_genes(genes, {"m": ["TP53", "SEPT2"]})
    chosen = select_pretrained_genes(genes, {"m": ["TP53", "SEPT2"]}, previous_symbols=True)
    assert chosen.index[chosen["selected"]].tolist() == ["TP53", "SEPTIN2"]
