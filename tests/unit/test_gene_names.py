"""Ids, symbols and running numbers are told apart, and genes of files with other names are united and matched."""

import re

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.io.count_file import CountFile
from refatlas.prepare.gene_mismatch import BY_ORTHOLOGS, mismatch
from refatlas.prepare.gene_names import running_prefix, spreadsheet_dates, symbol_style
from refatlas.prepare.gene_selection import candidates, unite_genes
from refatlas.prepare.genes import gene_table, match_genes, match_steps, merge_genes

SYMBOLS = ["TP53", "CD3E", "MS4A1", "LYZ", "NKG7", "GNLY", "ACTB", "HLA-A", "MT-ND1", "CD8A", "CST3", "FCER1A"]
MOUSE = [f"ENSMUSG{i:011d}" for i in range(12)]
HUMAN = [f"ENSG{i:011d}" for i in range(12)]


def read(index, gene_key=None, **columns):
    """Return the genes of a file and its notes."""
    file = CountFile("f.h5ad", "X", pd.DataFrame(), pd.DataFrame(columns, index=pd.Index(index)), None)
    return gene_table(file, gene_key), file.notes


def table(symbols, ids=None) -> pd.DataFrame:
    return pd.DataFrame({"gene_id": ids, "symbol": symbols, "name": symbols}, dtype=object)


@pytest.mark.parametrize(
    "index",
    [
        [f"unknown_{i:05d}" for i in range(12)],
        [f"gene{i}" for i in range(1, 13)],
        [f"g_{i:04d}" for i in range(12)],
        [f"GENE-{i}" for i in range(12)],
        [str(i) for i in range(12)],
        [f"feature{i}" for i in range(12)],
        [f"unknown_{i:05d}" for i in (3, 8, 9, 20, 31, 55, 56, 57, 80, 90, 91, 99)],
        [f"b{i:04d}" for i in range(12)],
    ],
)
@pytest.mark.parametrize("column", ["gene_symbols", "gene_name", "features", "Symbol", "Gene Symbol", "anything"])
def test_running_numbers_are_no_names_and_the_symbols_beside_them_are(index, column):
    genes, notes = read(index, **{column: SYMBOLS})
    assert genes["symbol"].tolist() == SYMBOLS
    assert genes["gene_id"].isna().all()
    assert genes["name"].tolist() == index
    assert any("are running numbers and are not used; symbols from" in note for note in notes)


def test_samples_that_number_their_own_genes_match_by_symbol():
    first, _ = read([f"unknown_{i:05d}" for i in range(12)], gene_symbols=SYMBOLS)
    second, _ = read([f"unknown_{i:05d}" for i in range(11)], gene_symbols=SYMBOLS[:3] + SYMBOLS[4:])
    genes = merge_genes([first, second])
    assert list(genes.index) == SYMBOLS
    assert match_genes(genes, second).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_a_number_beside_symbols_is_not_matched():
    index = [f"unknown_{i:05d}" for i in range(12)]
    genes, notes = read(index, gene_symbols=[None, "", *SYMBOLS[2:]])
    assert genes["symbol"].tolist() == [None, None, *SYMBOLS[2:]]
    assert any("2 have neither id nor symbol (unknown_00000, unknown_00001)" in note for note in notes)
    genes, _ = read([*SYMBOLS, "unknown_7"])
    assert genes["symbol"].tolist() == [*SYMBOLS, None]


@pytest.mark.parametrize("index", [[str(7000 + 3 * i) for i in range(12)], [f"unknown_{i}" for i in range(12)]])
def test_numbers_alone_are_refused_unless_the_sheet_names_them(index):
    with pytest.raises(InputError, match=r"numbers.*and no column has ids or symbols.*set gene_key to index"):
        read(index, length=np.arange(12))
    genes, _ = read(index, "index")
    assert genes["symbol"].tolist() == index


def test_numbered_genes_without_other_names_are_taken_with_a_note():
    genes, notes = read([f"Gene{i}" for i in range(1, 13)])
    assert genes["symbol"].iloc[0] == "Gene1"
    assert any("they must mean the same genes in all files" in note for note in notes)


def test_running_numbers_that_are_the_symbols_too_are_used_with_a_note():
    names = [f"GENE{i}" for i in range(12)]
    genes, notes = read(names, gene_symbols=names)
    assert list(genes["symbol"]) == names
    assert len(notes) == 1
    assert "they must mean the same genes in all files" in notes[0]


def test_running_numbers_are_not_seen_in_real_names():
    assert running_prefix(pd.Series(["CD1", "CD2", "CD3"])) is None
    assert running_prefix(pd.Series(HUMAN)) is None
    assert running_prefix(pd.Series(SYMBOLS)) is None
    assert running_prefix(pd.Series([f"PF3D7_{100 * i:07d}" for i in range(12)])) is None
    assert running_prefix(pd.Series([f"LOC{i}" for i in (5, 900, 1200, 7000, 9001, 9999)])) is None


@pytest.mark.parametrize("key", ["index", "symbols"])
def test_an_explicit_gene_key_is_the_only_key(key):
    genes, _ = read(SYMBOLS, key, ensembl_mouse=MOUSE, symbols=SYMBOLS)
    assert genes["gene_id"].isna().all()
    assert genes["symbol"].tolist() == SYMBOLS
    genes, _ = read(SYMBOLS, "gene_ids", ensembl_mouse=MOUSE, gene_ids=HUMAN)
    assert genes["gene_id"].tolist() == HUMAN
    assert genes["symbol"].tolist() == SYMBOLS


def test_ids_of_the_symbols_species_come_first():
    genes, _ = read(SYMBOLS, ensembl_mouse=MOUSE, gene_ids=HUMAN)
    assert genes["gene_id"].tolist() == HUMAN
    genes, _ = read([s.title() for s in SYMBOLS], human_ortholog=HUMAN, gene_ids=MOUSE)
    assert genes["gene_id"].tolist() == MOUSE


def test_ids_of_another_species_are_said_and_united_by_symbol(capsys):
    a, notes = read(SYMBOLS, ensembl_mouse=MOUSE)
    assert any("ids in ensembl_mouse are of mouse (ENSMUSG), but the symbols in index look" in note for note in notes)
    b, _ = read(SYMBOLS, gene_ids=HUMAN)
    genes, matches = unite_genes(["a.h5ad", "b.h5ad"], [a, b], 1.0)
    assert list(genes.index) == HUMAN
    assert [m.tolist() for m in matches] == [list(range(12))] * 2
    printed = capsys.readouterr().out
    assert "a.h5ad: its ids are of mouse (ENSMUSG), those of the others of human (ENSG)" in printed
    assert "12 in all of them" in printed
    for key in ("index", None):
        tables = [read(SYMBOLS, "index", ensembl_mouse=MOUSE)[0], read(SYMBOLS, key, gene_ids=HUMAN)[0]]
        assert (unite_genes(["a", "b"], tables, 1.0)[0]["n_datasets"] == 2).all()


def test_datasets_of_two_species_are_refused_with_the_reason():
    mouse, human = table([s.title() for s in SYMBOLS], MOUSE), table(SYMBOLS, HUMAN)
    genes, _ = unite_genes(["a", "b"], [mouse, human], 1.0)
    assert len(genes) == 24
    reason = mismatch(merge_genes([human]), mouse, "b", "a")
    assert reason == f"The ids of a are of mouse (ENSMUSG), those of b of human (ENSG). {BY_ORTHOLOGS}"
    with pytest.raises(
        InputError, match=re.escape(f"no gene is measured in 100% of the 2 datasets. {reason} Set gene")
    ):
        candidates(genes, 2, 1.0, [], lambda: reason)


def test_other_ids_of_the_same_symbols_lose_no_gene(capsys):
    renumbered = ["ENSG90000000001", "ENSG90000000002", *HUMAN[2:]]
    a, b = table(SYMBOLS, HUMAN), table(SYMBOLS, renumbered)
    genes, matches = unite_genes(["a", "b"], [a, b], 1.0)
    assert list(genes.index) == HUMAN
    assert matches[1].tolist() == list(range(12))
    assert "b: 12 of 12 genes are in all datasets; 10 by id, 2 by symbol" in capsys.readouterr().out


def test_the_id_of_most_files_is_the_key():
    old, new = table(["A", "B"], ["ENSG00000000001", "ENSG00000000002"]), table(["A"], ["ENSG00000000009"])
    assert list(merge_genes([old, new, new]).index) == ["ENSG00000000002", "ENSG00000000009"]


def test_two_genes_of_one_symbol_in_one_file_stay_two():
    ids = ["ENSG00000000001", "ENSG00000000002"]
    genes = merge_genes([table(["A", "A"], ids), table(["A"], ids[:1]), table(["A"], ["ENSG00000000003"])])
    assert list(genes.index) == [*ids, "ENSG00000000003"]
    assert match_genes(genes, table(["A"])).tolist() == [-1]


def test_ids_without_symbols_stay_apart_from_symbols_of_other_ids():
    ids = ["ENSG00000000001", "ENSG00000000002"]
    genes = merge_genes([table(["A"], ids[:1]), table(["A"], ids[1:]), table([None], ids[1:])])
    assert list(genes.index) == ids


@pytest.mark.parametrize(
    ("ours", "theirs"), [("HLA-A", "HLA.A"), ("7SK", "X7SK"), ("Y_RNA", "Y-RNA"), ("AC007952.4", "AC007952-4")]
)
def test_names_as_r_changes_them_match_and_are_counted(ours, theirs):
    reference = merge_genes([table([ours, "TP53"], ["ENSG00000000001", "ENSG00000000002"])])
    rows, how = match_steps(reference, table([theirs, "TP53"]))
    assert rows.tolist() == [0, 1]
    assert how.tolist() == ["separators", "symbol"]
    genes, matches = unite_genes(["a", "b"], [table([ours, "TP53"]), table(["TP53", theirs])], 1.0)
    assert list(genes.index) == [ours, "TP53"]
    assert matches[1].tolist() == [1, 0]


def test_separators_that_tell_genes_apart_are_kept():
    reference = merge_genes([table(["RP1-2.3", "RP1.2.3"])])
    assert match_genes(reference, table(["RP1-2-3"])).tolist() == [-1]
    assert match_genes(reference, table(["RP1.2.3", "RP1-2.3"])).tolist() == [1, 0]
    reference = merge_genes([table(["HLA-A"])])
    assert match_genes(reference, table(["HLA.A", "HLA_A"])).tolist() == [-1, -1]
    assert match_genes(reference, table(["HLA-A", "HLA.A"])).tolist() == [0, -1]


@pytest.mark.parametrize(
    "form", ["{1}_{0}", "{0}_{1}", "{0}|{1}", "{1} {0}", "{1}.5_{0}", "{1}:{0}", "{1}-{0}", "{0};{1}"]
)
def test_ids_joined_with_symbols_are_split(form):
    genes, notes = read([form.format(s, i) for s, i in zip(SYMBOLS, HUMAN, strict=True)])
    assert genes["gene_id"].tolist() == HUMAN
    assert genes["symbol"].tolist() == SYMBOLS
    assert any("hold both id and symbol" in note for note in notes)


def test_ids_among_symbols_match_as_ids():
    reference = merge_genes([table(["TP53", "CD3E"], HUMAN[:2])])
    assert match_genes(reference, table(["TP53", f"{HUMAN[1]}.4"])).tolist() == [0, 1]
    assert list(merge_genes([table(["TP53", "CD3E"], HUMAN[:2]), table(["TP53", HUMAN[1]])]).index) == HUMAN[:2]


def test_blanks_around_names_and_missing_symbols():
    genes, _ = read([f" {i}" for i in HUMAN[:4]], symbol=["TP53 ", None, "nan", "nan"])
    assert genes["gene_id"].tolist() == HUMAN[:4]
    assert genes["symbol"].tolist() == ["TP53", None, None, None]


def test_symbols_are_the_second_column_of_a_10x_file_and_of_refseq_names():
    genes, notes = read([f"LOC{i * i}x" for i in range(12)], gene_symbols=SYMBOLS)
    assert genes["symbol"].tolist() == SYMBOLS
    assert any("symbols are those of column gene_symbols" in note for note in notes)
    genes, _ = read([f"NM_{i * i:06d}.2" for i in range(12)], gene_name=SYMBOLS)
    assert genes["symbol"].tolist() == SYMBOLS
    genes, _ = read(SYMBOLS, feature_name=SYMBOLS[::-1])
    assert genes["symbol"].tolist() == SYMBOLS


def test_stable_ids_of_other_databases_are_ids():
    genes, _ = read(["FBgn0000001", "FBgn0000002"], gene_symbols=["ab", "w"])
    assert genes["gene_id"].tolist() == ["FBgn0000001", "FBgn0000002"]
    assert genes["symbol"].tolist() == ["ab", "w"]


def test_dates_of_a_spreadsheet_are_named_with_the_genes_they_were():
    dates = ["1-Mar", "2-Sep", "Sep-02", "2006-09-02", "1-Dec", "44257", "2021-03-01 00:00:00"]
    _, notes = read([*SYMBOLS, *dates])
    note = next(note for note in notes if "dates" in note)
    assert note.startswith(
        "genes: 7 symbols are dates, as a spreadsheet writes them: 1-Mar (MARCHF1 (MARCH1) or MTARC1"
    )
    assert "2-Sep (SEPTIN2 (SEPT2))" in note
    assert "44257 (MARCHF2 (MARCH2) or MTARC2 (MARC2))" in note
    assert spreadsheet_dates(pd.Series([*SYMBOLS, "SEPT2", "MARCH1", "DEC1", "10-X", "12345"])) == []


def test_the_style_of_symbols():
    assert symbol_style(pd.Series([*SYMBOLS, "C1orf112"])) == "human"
    assert symbol_style(pd.Series([s.title() for s in SYMBOLS])) == "mouse"
    assert symbol_style(pd.Series([], dtype=object)) is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (table([s.title() for s in SYMBOLS]), "The genes of the query are named as those of mouse, those of the refer"),
        (
            table([s.title() for s in SYMBOLS], MOUSE),
            r"The ids of the query are of mouse \(ENSMUSG\), those of the ref",
        ),
        (table([str(i * i + 5) for i in range(12)]), r"The genes of the query are numbers, such as those of NCBI"),
        (table([f"Gene{i}" for i in range(12)]), r"The genes of the query are running numbers \(Gene0\), not names"),
        (table([f"NM_{i * i:06d}" for i in range(12)]), "The genes of the query are RefSeq's transcripts"),
        (table([f"xyz_{s}" for s in SYMBOLS]), r"12 genes would match without what stands before the names of the que"),
        (table([f"{s}.1x" for s in SYMBOLS]), r"12 genes would match without what stands after the names of the query"),
    ],
)
def test_the_reason_of_a_low_overlap_is_told(query, words):
    assert re.match(words, mismatch(merge_genes([table(SYMBOLS, HUMAN)]), query))


def test_nothing_is_claimed_of_genes_that_merely_differ():
    other = table(["KLF4", "SOX2", "PAX6", "ALB"])
    assert mismatch(merge_genes([table(SYMBOLS)]), other) == ""


def test_results_of_ordinary_files_are_as_before():
    ids = ["ENSG00000000003", "ENSG00000000001", "ENSG00000000002"]
    genes = merge_genes([table(["C", "A", "B"], ids), table(["Z", "A", "C", "Y"]), table([None, "D"], [ids[2], None])])
    assert list(genes.index) == [*ids, "Z", "Y", "D"]
    assert genes["symbol"].tolist() == ["C", "A", "B", "Z", "Y", "D"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([f"gene:{name}" for name in HUMAN], HUMAN),
        ([f"AT1G{i:05d}.1" for i in range(12)], [f"AT1G{i:05d}" for i in range(12)]),
        ([f"FBgn{i:07d}.1" for i in range(12)], [f"FBgn{i:07d}" for i in range(12)]),
    ],
)
@pytest.mark.parametrize("gene_key", [None, "index"])
def test_what_stands_beside_an_id_is_no_symbol_if_it_names_no_gene(names, ids, gene_key):
    genes, notes = read(names, gene_key, gene_name=SYMBOLS)
    assert genes["gene_id"].tolist() == ids
    assert genes["symbol"].tolist() == SYMBOLS
    assert f"genes: names such as {names[0]} hold ids" in notes
    assert read(names, gene_key)[0]["symbol"].isna().all()
