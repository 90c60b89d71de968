"""Genes are told from proteins, peaks, hashtags and guides, and one genome from another, however files write it."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from refatlas.errors import InputError
from refatlas.io.count_file import CountFile
from refatlas.io.feature_kinds import GENES, kind_column, known_kind, rna_names, split_features
from refatlas.io.matrix_rows import Rows
from refatlas.io.raw_counts import open_counts

SYMBOLS = ["TP53", "CD3E", "MS4A1", "LYZ", "NKG7", "GNLY", "ACTB", "HLA-A", "MT-ND1", "CD8A", "CST3", "FCER1A"]


def file_of(names, **columns) -> CountFile:
    """Return a file of two cells, in which the first counts 0, 1, 2 … of the features."""
    matrix = sparse.csr_matrix(np.vstack([np.arange(len(names)), np.ones(len(names))]))
    rows = Rows(matrix.shape, lambda start, stop: matrix[start:stop], matrix.indptr[1:])
    cells = pd.DataFrame(index=pd.Index(["c1", "c2"]))
    return CountFile("f.h5ad", "X", cells, pd.DataFrame(columns, index=pd.Index(names)), rows, ["counts: X"])


def split(names, genome=None, **columns) -> CountFile:
    file = file_of(names, **columns)
    return split_features(file, kind_column(file.genes), file.genes.index, genome)


def first_cell(file) -> list[int]:
    return next(iter(file.blocks()))[1].toarray()[0].astype(int).tolist()


@pytest.mark.parametrize(
    ("rna", "other"),
    [
        ("Gene Expression", "Antibody Capture"),
        ("GEX", "ADT"),
        ("rna", "protein"),
        ("RNA", "prot"),
        ("gene_expression", "antibody_capture"),
        ("GENE EXPRESSION", "AbSeq"),
        ("gene", "CITE-seq"),
        ("mRNA", "antibody"),
        ("Genes", "Peaks"),
        ("transcriptome", "ATAC"),
        ("expression", "chromatin accessibility"),
        ("gex", "HTO"),
        ("Gene.Expression", "Multiplexing.Capture"),
        ("rna", "cell hashing"),
        ("rna", "sample tag"),
        ("Gene Expression", "CRISPR Guide Capture"),
        ("RNA", "sgRNA"),
        ("Gene Expression", "Custom"),
        ("Gene Expression", "Antigen Capture"),
        ("Gene Expression", "VDJ-T"),
        ("gene", "spike-in"),
        ("Gene Expression", "Negative Control Probe"),
    ],
)
@pytest.mark.parametrize("column", ["feature_types", "feature_type", "modality", "featureType", "feature.type", "type"])
def test_known_words_are_understood_in_any_spelling(rna, other, column):
    file = split([*SYMBOLS, "x", "y"], **{column: [rna] * 12 + [other] * 2})
    assert list(file.genes.index) == SYMBOLS
    assert first_cell(file) == list(range(12))
    assert file.proteins[other]().loc["c1"].tolist() == [12, 13]
    assert f"features: 12 {rna}, 2 {other}" in file.notes


def test_genes_of_two_spellings_are_all_genes():
    file = split(["a", "b", "c", "d"], feature_types=["GEX", "Gene Expression", "ADT", "protein"])
    assert list(file.genes.index) == ["a", "b"]
    assert sorted(file.proteins) == ["ADT", "protein"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("feature_types", ["GRCh38"] * 12),
        ("feature_types", ["protein_coding"] * 11 + ["lncRNA"]),
        ("feature_type", ["protein_coding"] * 8 + ["lncRNA"] * 2 + ["mRNA", "IG_C_gene"]),
        ("type", ["mRNA"] * 6 + ["tRNA"] * 3 + ["pseudogene"] * 3),
        ("feature_types", ["Gene"] * 12),
        ("feature_types", ["Gene Expression"] * 12),
        ("feature_types", [""] * 12),
        ("feature_types", [None] * 12),
        ("feature_types", ["Gene Expression"] * 9 + [None] * 3),
        ("type", ["a", "b", "c", "gene"] * 3),
        ("assay", ["10x 3' v3"] * 12),
    ],
)
def test_columns_that_are_no_kinds_leave_all_genes(column, values):
    file = split(SYMBOLS, **{column: values})
    assert list(file.genes.index) == SYMBOLS
    assert file.proteins == {}


def test_duplicate_columns_are_left_to_the_reader():
    genes = pd.DataFrame([["GEX", "ADT"]] * 3, columns=["modality", "modality"])
    assert kind_column(genes) is None


def test_several_unknown_values_are_refused_and_named():
    with pytest.raises(
        InputError, match=r"f.h5ad: kinds of features 'foo', 'bar' are unknown .*RNA: 10, foo: 1, bar: 1"
    ):
        split(SYMBOLS, feature_types=["RNA"] * 10 + ["foo", "bar"])
    with pytest.raises(InputError, match="'main' are unknown"):
        split(SYMBOLS, feature_types=["main"] * 10 + ["ADT"] * 2)
    with pytest.raises(InputError, match="'main' are unknown"):
        split(SYMBOLS, feature_types=["main"] * 10 + ["RNA"] * 2)


def test_one_unknown_value_beside_genes_is_left_out_with_a_note():
    file = split(SYMBOLS, modality=["RNA"] * 10 + ["lipid"] * 2)
    assert len(file.genes) == 10
    assert "features: 'lipid' is no known kind; they are left out of the genes" in file.notes
    assert list(file.proteins) == ["lipid"]


def test_features_without_a_kind_beside_proteins_are_not_genes():
    file = split(SYMBOLS, feature_types=["GEX"] * 9 + ["ADT"] * 2 + [None])
    assert len(file.genes) == 9


@pytest.mark.parametrize("kind", ["Antibody Capture", "Peaks", "HTO", "CRISPR Guide Capture"])
def test_a_file_without_genes_is_refused_with_the_reason(kind):
    with pytest.raises(InputError, match=rf"f.h5ad: X holds {kind} \(12 features\), such as TP53, CD3E .*no gene exp"):
        split(SYMBOLS, feature_types=[kind] * 12)


@pytest.mark.parametrize(
    "names",
    [
        ["ADT_CD3", "ADT_CD19"],
        ["CD3_TotalSeqB", "CD19_TotalSeqC"],
        ["CD3_TotalSeqA", "CD4-TotalSeqB"],
        ["CD3_prot", "CD19-prot"],
        ["prot_CD3", "prot_CD4"],
        ["AB_CD3", "AB_CD45RA"],
        ["CD3-ADT", "CD4-ADT"],
        ["CD3:UCHT1|CD3E|AHS0231|pAbO", "CD4:SK3|CD4|AHS0032|pAbO"],
        ["HTO-1", "HTO_2"],
        ["Hashtag1", "hashtag-2"],
        ["HTO_patient", "CMO301"],
        ["chr1:1-200", "chr1:300-500"],
        ["chr1-1-200", "GL000194.1:10-20"],
        ["sgRNA_TP53_1", "sgRNA_TP53_2"],
    ],
)
@pytest.mark.parametrize("kinds", [{}, {"feature_types": ["Gene Expression"] * 14}])
def test_names_that_no_gene_has_are_left_out_where_the_file_says_no_kinds(names, kinds):
    file = split([*SYMBOLS, *names], **kinds)
    assert list(file.genes.index) == SYMBOLS
    assert any("2 are left out by their names" in note for note in file.notes)
    assert next(iter(file.proteins.values()))().shape == (2, 2)


@pytest.mark.parametrize(
    "name", ["ADTRP", "PROTOR1", "ABCA1", "HLA-A", "AB-1", "CITED2", "Y_RNA", "1-2", "PROT1", "HTOR1"]
)
def test_genes_with_similar_names_stay(name):
    assert list(split([*SYMBOLS, name]).genes.index) == [*SYMBOLS, name]


def test_a_file_of_peaks_is_refused():
    with pytest.raises(InputError, match=r"Peaks \(20 features\), such as chr1:0-200, .*no gene expression"):
        split([f"chr1:{i}-{i + 200}" for i in range(20)])
    with pytest.raises(InputError, match=r"Peaks \(20 features\) and 1 other names"):
        split([f"chr1:{i}-{i + 200}" for i in range(20)] + ["TP53"])


@pytest.mark.parametrize(
    "prefix",
    ["GRCh38_", "GRCh38___", "hg19_", "mm10_", "mm10___", "hg38_", "GRCm39_", "GRCh38-2020-A_", "GRCh38-2020-A___"]
    + ["GRCh38-", "mm10---", "GRCh38.p13_", "mm10-3.0.0_premrna___", "GRCh38_premrna_", "human_", "HUMAN_", "b37_"],
)
def test_the_prefix_of_the_only_genome_is_cut(prefix):
    file = split([prefix + name for name in SYMBOLS])
    assert list(file.genes.index) == SYMBOLS
    assert any(note.startswith("genes: the prefix of genome") and "12 genes" in note for note in file.notes)


def test_prefixes_of_ids_and_symbols_are_cut_whatever_the_genome_is_called():
    ids = [f"ENSG{i:011d}" for i in range(12)]
    file = split([f"my.ref-1_{i}" for i in ids], gene_symbols=[f"my.ref-1_{s}" for s in SYMBOLS])
    assert list(file.genes.index) == ids
    assert list(file.genes["gene_symbols"]) == SYMBOLS


def test_symbols_joined_with_ids_are_no_genomes():
    names = [f"{s}_ENSG{i:011d}" for i, s in enumerate(SYMBOLS)]
    assert list(split(names).genes.index) == names


def two_genomes(**columns):
    return [f"hg19_{s}" for s in SYMBOLS] + [f"mm10_{s.title()}" for s in SYMBOLS[:8]], columns


def test_files_of_two_genomes_are_refused_with_their_names():
    names, _ = two_genomes()
    with pytest.raises(
        InputError, match=r"2 genomes: hg19 \(12 genes\), mm10 \(8 genes\); name the one to take as gen"
    ):
        split(names)


@pytest.mark.parametrize("genome", ["hg19", "hg19_", "HG19", "human"])
def test_the_genome_of_the_sheet_is_taken(genome):
    file = split(two_genomes()[0], genome)
    assert list(file.genes.index) == SYMBOLS
    assert first_cell(file) == list(range(12))
    assert any("12 of genome hg19, as set in the sheet; left out are mm10 (8 genes)" in note for note in file.notes)


def test_a_genome_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(
        InputError, match=r"genome 'GRCz11' is not in the file; it has hg19 \(12 genes\), mm10 \(8 genes"
    ):
        split(two_genomes()[0], "GRCz11")
    with pytest.raises(
        InputError, match=r"genome 'hg19' is set in the sheet, but the names of the genes tell no genome"
    ):
        split(SYMBOLS, "hg19")


def test_genomes_of_a_column_and_of_species_are_told():
    columns = {"Genome": ["GRCh38"] * 6 + ["GRCm39"] * 6}
    with pytest.raises(InputError, match=r"2 genomes: GRCh38 \(6 genes\), GRCm39 \(6 genes\)"):
        split(SYMBOLS, **columns)
    assert list(split(SYMBOLS, "GRCm39", **columns).genes.index) == SYMBOLS[6:]
    assert split(SYMBOLS, Genome=["GRCh38"] * 12).notes == ["counts: X"]
    ids = [f"ENSG{i:011d}" for i in range(6)] + [f"ENSMUSG{i:011d}" for i in range(6)]
    with pytest.raises(InputError, match=r"2 genomes: human \(6 genes\), mouse \(6 genes\)"):
        split(ids)
    assert list(split(ids, "mm10").genes.index) == ids[6:]


def test_few_genes_of_a_virus_stay():
    names = [f"GRCh38_G{i}X" for i in range(60)] + ["SARSCoV2_N", "hiv1_gag"]
    file = split(names)
    assert len(file.genes) == 62
    file = split([f"GRCh38_G{i}X" for i in range(60)] + ["mm10_Cd3e"])
    assert len(file.genes) == 61
    assert any("kept beside them are mm10 (1 genes)" in note for note in file.notes)


def test_genomes_are_those_of_genes_and_not_of_proteins():
    file = split([*SYMBOLS, "p", "q"], feature_types=["GEX"] * 12 + ["ADT"] * 2, genome_=[""] * 14)
    assert len(file.genes) == 12
    kinds, genomes = ["GEX"] * 8 + ["ADT"] * 4, ["GRCh38"] * 8 + [""] * 4
    found = file_of(SYMBOLS, feature_types=kinds, genome=genomes)
    assert len(split_features(found, kind_column(found.genes), found.genes.index).genes) == 8


def test_words_and_modalities():
    assert known_kind("Gene Expression") == known_kind("gex") == GENES
    assert known_kind("hg19") is None
    assert rna_names(["prot", "GEX", "atac"]) == ["GEX"]


def test_proteins_in_h5ad_files_and_folders_are_no_genes(tmp_path):
    counts = np.arange(28, dtype=np.float32).reshape(2, 14)
    names, kinds = [*SYMBOLS, "CD3", "CD4"], ["GEX"] * 12 + ["ADT"] * 2
    data = ad.AnnData(counts, var=pd.DataFrame({"modality": kinds}, index=names))
    data.write_h5ad(tmp_path / "a.h5ad")
    for counts_only in (False, True):
        file = open_counts(tmp_path / "a.h5ad", counts_only=counts_only)
        assert first_cell(file) == list(range(12))
    (tmp_path / "mtx").mkdir()
    io.mmwrite(tmp_path / "mtx" / "matrix.mtx", sparse.coo_matrix(counts.T.astype(int)))
    pd.Series(["c1", "c2"]).to_csv(tmp_path / "mtx" / "barcodes.tsv", header=False, index=False)
    for third, n in ((kinds, 12), (["protein_coding"] * 14, 14), (["hg19"] * 14, 14)):
        table = pd.DataFrame({"id": [f"ENSG{i:011d}" for i in range(14)], "name": names, "kind": third})
        table.to_csv(tmp_path / "mtx" / "features.tsv", sep="\t", header=False, index=False)
        assert open_counts(tmp_path / "mtx").rows.shape == (2, n)


def test_proteins_in_10x_h5_are_no_genes_whatever_they_are_called(tmp_path):
    counts = sparse.csr_matrix(np.arange(1, 29, dtype=np.int32).reshape(2, 14))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        matrix = file.create_group("matrix")
        for name, values in (("data", counts.data), ("indices", counts.indices), ("indptr", counts.indptr)):
            matrix[name] = values
        matrix["shape"], matrix["barcodes"] = np.array([14, 2]), np.array([b"c1", b"c2"])
        features = matrix.create_group("features")
        features["id"] = np.array([f"GRCh38_ENSG{i:011d}" for i in range(12)] + ["CD3", "CD4"], dtype="S")
        features["name"] = np.array([f"GRCh38_{s}" for s in SYMBOLS] + ["CD3", "CD4"], dtype="S")
        features["feature_type"] = np.array(["gene expression"] * 12 + ["AbSeq"] * 2, dtype="S")
        features["genome"] = np.array(["GRCh38"] * 12 + [""] * 2, dtype="S")
    file = open_counts(tmp_path / "a.h5")
    assert file.genes["gene_symbols"].tolist() == SYMBOLS
    assert file.genes.index[0] == "ENSG00000000000"
    assert list(file.proteins) == ["AbSeq"]
    assert len(open_counts(tmp_path / "a.h5", genome="GRCh38").genes) == 12
