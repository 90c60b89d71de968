"""Dense tables of counts are read by the names on their axes, or refused."""

import gzip

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts

RNG = np.random.default_rng(1)
# Genes × cells.
COUNTS = RNG.poisson(0.7, (40, 25))
SYMBOLS = ["ACTB", "GAPDH", "MT-CO1", "RPL3", *(f"GENE{i}" for i in range(36))]
CELLS = [f"S1_ACGTACGTACG{'ACGT'[i % 4]}{'ACGT'[i // 4 % 4]}{'ACGT'[i // 16]}" for i in range(25)]
TABLE = pd.DataFrame(COUNTS, index=SYMBOLS, columns=CELLS)


def require_right(path):
    file = open_counts(path)
    assert np.array_equal(np.vstack([block.toarray() for _, block in file.blocks(n_values=50)]), COUNTS.T)
    assert list(file.genes.index) == SYMBOLS
    assert list(file.cells.index) == CELLS
    return file


@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
@pytest.mark.parametrize("quoting", [0, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_tables_of_any_separator_and_order(tmp_path, separator, quoting, turned):
    table = TABLE.T if turned else TABLE
    table.to_csv(tmp_path / "a.txt", sep=separator, quoting=quoting, index_label="name")
    note = require_right(tmp_path / "a.txt").notes[0]
    assert ("cells × genes" if turned else "genes × cells") in note


def test_a_table_as_r_writes_it(tmp_path):
    text = TABLE.to_csv(sep="\t", quoting=2).replace('""\t', "", 1)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    require_right(tmp_path / "a.txt.gz")


def test_ids_and_symbols_beside_each_other(tmp_path):
    TABLE.reset_index(names="gene_name").to_csv(tmp_path / "a.csv", index_label="n")
    ids = [f"ENSG{i:011d}" for i in range(40)]
    TABLE.assign(id=ids).reset_index(names="symbol").set_index(["id", "symbol"]).to_csv(tmp_path / "a.csv")
    file = open_counts(tmp_path / "a.csv")
    assert list(file.genes.index) == ids
    assert list(file.genes["gene_symbols"]) == SYMBOLS
    assert file.rows.shape == (25, 40)


def test_tables_that_are_none_of_counts_are_refused(tmp_path):
    TABLE.T.assign(cell_type="B").to_csv(tmp_path / "cells.csv")
    with pytest.raises(InputError, match="text in column 'cell_type' is none of counts"):
        open_counts(tmp_path / "cells.csv")
    names = [f"x{i}" for i in range(40)], [f"y{i}" for i in range(25)]
    pd.DataFrame(COUNTS, *names).to_csv(tmp_path / "unknown.csv")
    with pytest.raises(InputError, match="neither can be told to be genes"):
        open_counts(tmp_path / "unknown.csv")
    TABLE.astype(object).replace(1, "NA?").to_csv(tmp_path / "text.csv")
    with pytest.raises(InputError, match=r"text in column|is no count"):
        open_counts(tmp_path / "text.csv")
    text = TABLE.to_csv(index_label="gene").splitlines()
    (tmp_path / "cut.csv").write_text("\n".join([*text[:30], text[30][:30]]))
    with pytest.raises(InputError, match=r"numbers, but the header names 25; is the file complete"):
        open_counts(tmp_path / "cut.csv")
    with pytest.raises(InputError, match="layer 'counts' is not in the file"):
        open_counts(tmp_path / "cut.csv", layer="counts")


def test_columns_of_measures_and_clusters_are_no_genes(tmp_path):
    measures = {"nCount_RNA": COUNTS.sum(axis=0), "percent.mt": 1.5, "seurat_clusters": 3}
    TABLE.T.assign(**measures).to_csv(tmp_path / "a.csv")
    assert (
        "columns 'nCount_RNA', 'percent.mt', 'seurat_clusters' hold no counts"
        in require_right(tmp_path / "a.csv").notes[1]
    )
    first = pd.DataFrame(measures, index=CELLS).join(TABLE.T)
    first.to_csv(tmp_path / "b.tsv", sep="\t")
    require_right(tmp_path / "b.tsv")


def test_the_length_of_genes_is_no_cell(tmp_path):
    pd.DataFrame({"Length": np.arange(40) + 500}, index=SYMBOLS).join(TABLE).to_csv(tmp_path / "a.tsv", sep="\t")
    assert "columns 'Length' hold no counts" in require_right(tmp_path / "a.tsv").notes[1]


def test_lines_of_measures_among_genes_are_refused(tmp_path):
    TABLE.T.assign(nFeature_RNA=7).T.to_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"lines 'nFeature_RNA' hold no counts of a gene.*give them as metadata"):
        open_counts(tmp_path / "a.csv")
