"""Tables of metadata as R, pandas and spreadsheets write them, and cells that they do not list."""

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.metadata_table import read_metadata
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.embeddings import read_embedding

CELLS = [f"{barcode}-1" for barcode in ("AAACCTGAGAAACCAT", "AAACCTGAGCGATAGC", "AAACCTGCAGGGTACA", "TTTGTCATCACCCGAG")]
A, B, C, D = CELLS
WANTED = {"batch": ["01", "01", "02", "02"], "label": ["T, cell", "B", None, "NK"]}


@pytest.fixture
def counts(tmp_path):
    """The path of four cells × three genes, in which cell i has i + 1 counts of gene i % 3, and proteins."""
    x = sparse.csr_matrix(([1, 2, 3, 4], ([0, 1, 2, 3], [0, 1, 2, 0])), shape=(4, 3), dtype=np.float32)
    data = ad.AnnData(
        x, obs=pd.DataFrame({"batch": "in the file"}, index=CELLS), var=pd.DataFrame(index=["CD3E", "CD19", "LYZ"])
    )
    data.obsm["adt"] = pd.DataFrame({"CD3": [10, 20, 30, 40]}, index=CELLS)
    data.write_h5ad(tmp_path / "a.h5ad")
    return tmp_path / "a.h5ad"


def opened(counts, content: str | bytes, name: str = "cells.csv", **options):
    path = counts.parent / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_counts(counts, metadata=str(path), **options)


CSV = f'cell,batch,label\n{A},01,"T, cell"\n{B},01,B\n{C},02,\n{D},02,NK\n'
R_TABLE = f'"batch" "label"\n"{A}" "01" "T, cell"\n"{B}" "01" "B"\n"{C}" "02" NA\n"{D}" "02" "NK"\n'


@pytest.mark.parametrize("name", ["cells.csv", "cells.tsv", "cells.txt", "cells"])
@pytest.mark.parametrize(
    "content",
    [
        CSV,
        CSV.encode("utf-8-sig"),
        CSV.encode("utf-16"),
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        gzip.compress(CSV.encode()),
        CSV.replace("cell,b", ",b"),
        CSV.replace("T, cell", "T% cell").replace(",", ";").replace("%", ","),
        CSV.replace("T, cell", "T% cell").replace(",", "\t").replace("%", ","),
        R_TABLE,
        R_TABLE.replace('" ', '"   ').replace("NA ", "NA   "),
        R_TABLE.replace("T, cell", "T% cell").replace('" ', '"\t').replace("NA ", "NA\t").replace("%", ","),
        R_TABLE.replace("T, cell", "T% cell").replace('" ', '",').replace("NA ", "NA,").replace("%", ","),
        '"",' + R_TABLE.replace('" ', '",').replace("NA ", "NA,"),
        CSV.replace("\n", ",\n"),
    ],
    ids=[
        *(
            "csv",
            "BOM",
            "UTF-16",
            "CRLF",
            "CR",
            "gzip",
            "unnamed",
            "semicolons",
            "tabs",
            "write.table",
            "runs of spaces",
        ),
        *("write.table with tabs", "write.table with commas", "write.csv", "a separator at the end"),
    ],
)
def test_tables_of_all_dialects_are_read_alike(counts, content, name):
    cells = opened(counts, content, name).cells
    assert {key: [None if v != v else v for v in cells[key]] for key in WANTED} == WANTED


@pytest.mark.parametrize("named", [True, False])
def test_parquet_is_read_with_and_without_index(counts, named):
    table = pd.DataFrame(WANTED, index=pd.Index(CELLS, name="cell"))
    (table if named else table.reset_index()).to_parquet(counts.parent / "cells.parquet")
    assert list(open_counts(counts, metadata=str(counts.parent / "cells.parquet")).cells["batch"]) == WANTED["batch"]


def test_text_stays_text_and_words_for_a_missing_value_are_missing(tmp_path):
    (tmp_path / "a.csv").write_text("cell,x\nNA,01\nb,1e5\nc,NA\nd,None\ne,\nf,true\n")
    table = read_metadata(str(tmp_path / "a.csv"))
    assert list(table.index) == ["NA", "b", "c", "d", "e", "f"]
    assert [None if v != v else v for v in table["x"]] == ["01", "1e5", None, None, None, "true"]


def test_escaped_and_doubled_quotes_are_read(tmp_path):
    (tmp_path / "a.txt").write_text('"x" "y"\n"c1" "5\\" end" "a"\n"c2" "b" "c"\n')
    (tmp_path / "b.csv").write_text('"","x"\n"c1","5"" end"\n')
    assert (
        read_metadata(str(tmp_path / "a.txt")).loc["c1", "x"] == read_metadata(str(tmp_path / "b.csv")).loc["c1", "x"]
    )


def test_a_column_of_names_that_is_not_the_first_is_found(counts):
    file = opened(counts, f"sample,barcode,label\ns,{A},T\ns,{B},B\ns,{C},T\ns,{D},NK\n")
    assert list(file.cells["label"]) == ["T", "B", "T", "NK"]
    assert any("column 'barcode'" in note and "names the cells" in note for note in file.notes)


def test_columns_of_the_table_replace_those_of_the_file(counts):
    file = opened(counts, CSV)
    assert any("batch taken from" in note for note in file.notes)


def test_cells_of_the_table_alone_are_counted(counts):
    file = opened(counts, CSV + "other-1,02,B\n")
    assert any(note.startswith("metadata: 1 cells of") for note in file.notes)


def test_listed_cells_are_kept_and_the_others_counted(counts):
    table = f"cell,label\n{D},NK\n{B},B\n"
    file = opened(counts, table, listed_cells=True)
    assert list(file.cells["label"]) == ["B", "NK"]
    assert [block.toarray().tolist() for _, block in file.blocks(1)] == [[[0, 2, 0]], [[4, 0, 0]]]
    assert list(file.read_proteins("adt")["CD3"]) == [20, 40]
    assert any(note.startswith("cells: 2 of 4 left out, not listed in") for note in file.notes)
    again = open_counts(counts, metadata=str(counts.parent / "cells.csv"), listed_cells=True, counts_only=True)
    assert np.array_equal(next(again.blocks())[1].toarray(), [[0, 2, 0], [4, 0, 0]])


def test_blocks_of_listed_cells_are_cut_by_what_is_read(tmp_path):
    x = sparse.csr_matrix(np.ones((1000, 4), dtype=np.float32))
    names = [f"c{i}x" for i in range(1000)]
    ad.AnnData(x, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=list("ABCD"))).write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "m.csv").write_text("cell,x\n" + "".join(f"{name},1\n" for name in names[::10]))
    file = open_counts(tmp_path / "a.h5ad", metadata=str(tmp_path / "m.csv"), listed_cells=True)
    shapes = [block.shape for _, block in file.blocks(400)]
    assert sum(n for n, _ in shapes) == 100
    assert max(n for n, _ in shapes) == 10


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CSV.replace(f"{D},02,NK\n", ""), r"1 of the 4 cells .* not in it \(TTTG.*set metadata_cells to listed"),
        (
            CSV.replace("-1,", ","),
            "none of the 4 cells.*suffix such as '-1' .'AAACCTGAGAAACCAT-1' is 'AAACCTGAGAAACCAT'",
        ),
        (CSV.replace("\nAAA", "\ns1_AAA").replace("\nTTT", "\ns1_TTT"), "none of.*another prefix or suffix"),
        (CSV.replace("-1,", ".1,"), "as R writes them"),
        (CSV.replace("AAACC", "aaacc").replace("TTTG", "tttg"), "capitals or small letters"),
        (CSV.replace(A, B), "occurs twice in column 'cell'"),
        (CSV.replace("cell,batch,label\n", ""), "its first line holds a cell.*write a header"),
        (f"n,a,b\n1,{A},{A}\n2,{B},{B}\n", "columns 'a', 'b' all hold names of cells"),
        ("cell,batch\nx,1\ny,2,3\n", "Expected 2 columns, got 3"),
        ("cell batch\nx 1\ny 2 3\nz 1\n", "line 3 has 3 values, others 2"),
        ("cell\nx\ny\n", "one column only"),
        ("", "is empty"),
        ("cell,batch\n", "none of the 4 cells"),
        (b"PK\x03\x04 xlsx", "an Excel workbook or a zip archive.*save it as csv"),
        (b"X\n\x00\x00\x00\x03", "an RDS file of R"),
        (b"cell,batch\n\xe9\xe9,1\n", "text in UTF-8"),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_the_reason(counts, content, said):
    with pytest.raises(InputError, match=said):
        opened(counts, content)


def test_a_table_without_any_of_the_cells_is_refused_also_if_listed_cells_are_asked_for(counts):
    with pytest.raises(InputError, match="none of the 4 cells"):
        opened(counts, "cell,batch\nx,1\ny,2\n", listed_cells=True)


def test_cells_named_by_numbers_are_never_matched_in_part(tmp_path):
    obs = pd.DataFrame(index=[str(i) for i in range(4)])
    ad.AnnData(np.ones((4, 2)), obs=obs, var=pd.DataFrame(index=["A", "B"])).write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "m.csv").write_text("cell,label,n\n0,T,1\n1,B,2\n2,T,3\n3,B,0\n")
    assert list(open_counts(tmp_path / "a.h5ad", metadata=str(tmp_path / "m.csv")).cells["label"]) == [
        "T",
        "B",
        "T",
        "B",
    ]
    # As R numbers rows, from 1.
    (tmp_path / "m.csv").write_text('"label"\n"1" "T"\n"2" "B"\n"3" "T"\n"4" "B"\n')
    for listed_cells in (False, True):
        with pytest.raises(InputError, match="1 of the 4 cells"):
            open_counts(tmp_path / "a.h5ad", metadata=str(tmp_path / "m.csv"), listed_cells=listed_cells)


def test_embeddings_are_those_of_the_listed_cells(tmp_path):
    data = small_counts()
    data.obsm["X_made"] = np.arange(120.0).reshape(60, 2)
    data.write_h5ad(tmp_path / "a.h5ad")
    kept = [f"cell{i}" for i in (3, 7, 20, 50)]
    (tmp_path / "m.csv").write_text("cell,donor\n" + "".join(f"{name},x\n" for name in kept))
    file = open_counts(tmp_path / "a.h5ad", metadata=str(tmp_path / "m.csv"), listed_cells=True)
    found = read_embedding(file, "X_made", file.cells.index, "config: x")
    assert found.to_numpy().tolist() == [[6, 7], [14, 15], [40, 41], [100, 101]]
