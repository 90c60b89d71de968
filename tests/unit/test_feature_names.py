"""Features are told from genes by their names alone, where a file says no kinds, and real genes stay genes."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.count_file import CountFile
from refatlas.io.feature_kinds import kind_column, split_features
from refatlas.io.matrix_rows import Rows

SYMBOLS = ["TP53", "CD3E", "MS4A1", "LYZ", "NKG7", "GNLY", "ACTB", "HLA-A", "MT-ND1", "CD8A", "CST3", "FCER1A"]
ODD_GENES = [
    *("2L52.1", "AB015752.3", "ABCA1", "ABO", "AC012345.1", "ADTRP", "ANTXR1", "AT1G01010", "CITED2", "CMC1"),
    *("CR45315", "CT-1", "ENSDARG00000000001", "FBgn0000001", "GFP", "GUIDE1", "HASH1", "HIST1H2AA", "HTR1A", "IVD"),
    *("KRTAP10-1", "MARCH1", "NEGR1", "NKX2-1", "PROT", "PROTEIN1", "Q0045", "RP11-34P13.7", "SAMPL", "SEPT9"),
    *("SNORD115-1", "YAL001C", "Y_RNA", "ab", "abs", "asRNA:CR1", "lncRNA:roX1", "mt:CoI", "prot", "si:ch211-1"),
    *("tA(UGC)A", "tdTomato", "wu:fb1", "zgc:1234"),
]


def split(names, **columns) -> CountFile:
    matrix = sparse.csr_matrix(np.arange(1, len(names) + 1)[np.newaxis])
    rows = Rows(matrix.shape, lambda start, stop: matrix[start:stop], matrix.indptr[1:])
    genes = pd.DataFrame(columns, index=pd.Index(names))
    file = CountFile("f.h5ad", "X", pd.DataFrame(index=pd.Index(["c1"])), genes, rows, ["counts: X"])
    return split_features(file, kind_column(genes), genes.index)


@pytest.mark.parametrize("name", ODD_GENES)
def test_genes_with_odd_names_stay(name):
    assert list(split([*SYMBOLS, name]).genes.index) == [*SYMBOLS, name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("anti-human_Hashtag_1", "Multiplexing Capture"),
        ("B0251_human_hashtag_1", "Multiplexing Capture"),
        ("HumanHashtag1", "Multiplexing Capture"),
        ("sampleTag01_hs|stAbO", "Multiplexing Capture"),
        ("HTO1", "Multiplexing Capture"),
        ("anti-CD4", "Antibody Capture"),
        ("antibody_CD3", "Antibody Capture"),
        ("CD3_antibody", "Antibody Capture"),
        ("2L:100-600", "Peaks"),
        ("3R-100-600", "Peaks"),
        ("IV-100-600", "Peaks"),
        ("scaffold_1:100-600", "Peaks"),
        ("NC_000001.11:100-600", "Peaks"),
        ("BLANK_0001", "Control"),
        ("Blank-12", "Control"),
        ("NegControlProbe_00042", "Control"),
        ("NegControlCodeword_0500", "Control"),
        ("UnassignedCodeword_0001", "Control"),
        ("DeprecatedCodeword_0321", "Control"),
        ("Intergenic_Region_12", "Control"),
        ("NegPrb1", "Control"),
        ("SystemControl12", "Control"),
    ],
)
def test_names_that_no_gene_has_are_left_out(name, kind):
    file = split([*SYMBOLS, name])
    assert list(file.genes.index) == SYMBOLS
    assert list(file.proteins) == [kind]
    assert file.notes[1:] == [
        f"features: 12 Gene Expression, 1 {kind}",
        f"features: the file says of none that it is no gene; 1 are left out by their names ({name})",
    ]


def test_peaks_of_other_genomes_alone_are_refused():
    with pytest.raises(InputError, match="holds Peaks"):
        split([f"2L:{i}00-{i}50" for i in range(1, 12)])


def test_kinds_of_joined_files_are_read_from_their_numbered_columns():
    first = ["Gene Expression"] * 10 + [None, "Antibody Capture"]
    second = ["Gene Expression"] * 11 + [None]
    file = split(SYMBOLS, **{"feature_types-0": first, "feature_types-1": second})
    assert list(file.genes.index) == SYMBOLS[:11]
    assert list(file.proteins) == ["Antibody Capture"]


@pytest.mark.parametrize("missing", ["", None])
def test_rows_without_a_genome_are_no_second_one(missing):
    file = split(SYMBOLS, genome=["GRCh38"] * 6 + [missing] * 6)
    assert list(file.genes.index) == SYMBOLS
    assert file.notes == ["counts: X"]
