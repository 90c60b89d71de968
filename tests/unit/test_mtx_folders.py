"""Matrices in text are read right from the folders of every tool, or refused with the files' names."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from refatlas.errors import InputError
from refatlas.io.formats import input_files, require_readable
from refatlas.io.raw_counts import open_counts, open_row

# Genes × cells.
COUNTS = np.array([[1, 0, 2, 0], [0, 3, 0, 0], [4, 0, 0, 5]])
IDS, SYMBOLS = ["ENSG00000000001", "ENSG00000000002", "ENSG00000000003"], ["A1", "B2", "C3"]
CELLS = ["AAAC-1", "AACC-1", "ACCC-1", "CCCC-1"]
BANNER = "%%MatrixMarket matrix coordinate integer general"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())


def mtx(counts=COUNTS, banner: str = BANNER) -> str:
    rows, columns = np.nonzero(counts)
    lines = [f"{r + 1} {c + 1} {counts[r, c]}" for r, c in zip(rows, columns, strict=True)]
    return "\n".join([banner, "%", f"{counts.shape[0]} {counts.shape[1]} {len(lines)}", *lines, ""])


def features(kind: str = "\tGene Expression") -> str:
    return "".join(f"{i}\t{s}{kind}\n" for i, s in zip(IDS, SYMBOLS, strict=True))


def lines(names) -> str:
    return "".join(f"{name}\n" for name in names)


def write_10x(folder: Path, prefix: str = "", genes: str = "features.tsv.gz", end: str = ".gz") -> None:
    write(folder / f"{prefix}matrix.mtx{end}", mtx())
    write(folder / f"{prefix}{genes}", features())
    write(folder / f"{prefix}barcodes.tsv{end}", lines(CELLS))


def dense(path, **keys):
    file = open_counts(str(path), **keys)
    return np.vstack([block.toarray() for _, block in file.blocks()]).astype(int), file


def require_right(path, **keys):
    values, file = dense(path, **keys)
    assert np.array_equal(values, COUNTS.T)
    assert list(file.cells.index) == CELLS
    return file


@pytest.mark.parametrize("prefix", ["", "GSM1_S1_", "GSM1.S1.", "GSM1-S1-", "GSM1_S1"])
@pytest.mark.parametrize("genes", ["features.tsv.gz", "genes.tsv"])
def test_prefixes_of_geo(tmp_path, prefix, genes):
    if prefix == "GSM1_S1":
        prefix = "GSM1_S1_matrix_"
    write_10x(tmp_path / "f", prefix, genes)
    file = require_right(tmp_path / "f")
    assert list(file.genes["gene_symbols"]) == SYMBOLS
    assert sorted(input_files(str(tmp_path / "f"))) == sorted(str(p) for p in (tmp_path / "f").iterdir())


def test_a_prefix_names_one_of_several_samples(tmp_path):
    for prefix in ("GSM1_A_", "GSM2_B_"):
        write_10x(tmp_path, prefix)
    for call in (open_counts, lambda path: require_readable(path, "sheet")):
        with pytest.raises(InputError, match=r"2 matrices.*GSM1_A, GSM2_B"):
            call(str(tmp_path))
    for path in (tmp_path / "GSM2_B_", tmp_path / "GSM2_B"):
        require_right(path)
        assert len(input_files(str(path))) == 3


def test_the_sample_may_stand_at_the_end_of_the_names(tmp_path):
    for sample in ("A", "B"):
        write(tmp_path / f"GSM1_matrix_{sample}.mtx.gz", mtx())
        write(tmp_path / f"GSM1_features_{sample}.tsv.gz", features())
        write(tmp_path / f"GSM1_barcodes_{sample}.tsv.gz", lines(CELLS))
    with pytest.raises(InputError, match="begin with GSM1_A, GSM1_B"):
        open_counts(tmp_path)
    require_right(tmp_path / "GSM1_B")


def test_one_list_of_genes_for_several_samples(tmp_path):
    for prefix in ("GSM1_A-", "GSM2_B-"):
        write(tmp_path / f"{prefix}matrix.mtx.gz", mtx())
        write(tmp_path / f"{prefix}barcodes.tsv.gz", lines(CELLS))
    write(tmp_path / "GSE1_features.tsv.gz", features())
    require_right(tmp_path / "GSM1_A")


@pytest.mark.parametrize("named", [False, True])
def test_kb_python(tmp_path, named):
    write(tmp_path / "cells_x_genes.mtx", mtx(COUNTS.T))
    write(tmp_path / "cells_x_genes.barcodes.txt", lines(CELLS))
    write(tmp_path / "cells_x_genes.genes.txt", lines(IDS))
    if named:
        write(tmp_path / "cells_x_genes.genes.names.txt", lines(SYMBOLS))
    file = require_right(tmp_path)
    assert list(file.genes.index) == IDS
    assert list(file.genes["gene_symbols"]) == (SYMBOLS if named else IDS)
    assert "kb-python" in file.notes[0]


def test_as_many_cells_as_genes_are_told_by_the_tool(tmp_path):
    square = COUNTS[:, :3]
    write(tmp_path / "kb" / "cells_x_genes.mtx", mtx(square.T))
    write(tmp_path / "kb" / "cells_x_genes.barcodes.txt", lines(CELLS[:3]))
    write(tmp_path / "kb" / "cells_x_genes.genes.txt", lines(IDS))
    write(tmp_path / "10x" / "matrix.mtx", mtx(square))
    write(tmp_path / "10x" / "genes.tsv", features(""))
    write(tmp_path / "10x" / "barcodes.tsv", lines(CELLS[:3]))
    for name in ("kb", "10x"):
        assert np.array_equal(dense(tmp_path / name)[0], square.T)
    write(tmp_path / "r" / "counts.mtx", mtx(square))
    write(tmp_path / "r" / "genes.txt", lines(IDS))
    write(tmp_path / "r" / "cells.txt", lines(CELLS[:3]))
    with pytest.raises(InputError, match="its rows may be either"):
        open_counts(tmp_path / "r")


def test_alevin_fry(tmp_path):
    write(tmp_path / "q" / "alevin" / "quants_mat.mtx", mtx(COUNTS.T))
    write(tmp_path / "q" / "alevin" / "quants_mat_rows.txt", lines(CELLS))
    write(tmp_path / "q" / "alevin" / "quants_mat_cols.txt", lines(IDS))
    assert "alevin-fry" in require_right(tmp_path / "q").notes[0]


def test_alevin_fry_with_unspliced_genes(tmp_path):
    usa = np.vstack([COUNTS, 10 * COUNTS, 100 * COUNTS])
    write(tmp_path / "quants_mat.mtx", mtx(usa.T))
    write(tmp_path / "quants_mat_rows.txt", lines(CELLS))
    write(tmp_path / "quants_mat_cols.txt", lines([f"{i}{end}" for end in ("", "-U", "-A") for i in IDS]))
    with pytest.raises(InputError, match=r"spliced, unspliced and ambiguous.*layer.*spliced\+ambiguous"):
        open_counts(tmp_path)
    values, file = dense(tmp_path, layer="spliced+ambiguous")
    assert np.array_equal(values, 101 * COUNTS.T)
    assert list(file.genes.index) == IDS


@pytest.mark.parametrize("matrix", ["DGE.mtx", "count_matrix.mtx"])
def test_parse(tmp_path, matrix):
    write(tmp_path / "s1" / "DGE_filtered" / matrix, mtx(COUNTS.T))
    rows = [f"{i},{s},hg38" for i, s in zip(IDS, SYMBOLS, strict=True)]
    write(tmp_path / "s1" / "DGE_filtered" / "all_genes.csv", lines(["gene_id,gene_name,genome", *rows]))
    cells = [f"{c},s{i % 2},{i}" for i, c in enumerate(CELLS)]
    write(tmp_path / "s1" / "DGE_filtered" / "cell_metadata.csv", lines(["bc_wells,sample,bc1_wind", *cells]))
    file = require_right(tmp_path / "s1")
    assert list(file.cells["sample"]) == ["s0", "s1", "s0", "s1"]
    assert list(file.genes.index) == IDS
    assert list(file.genes["gene_symbols"]) == SYMBOLS


def test_files_as_r_writes_them(tmp_path):
    write(tmp_path / "counts.mtx", mtx(banner=BANNER.replace("integer", "real")))
    write(tmp_path / "genes.csv", '"","x"\n' + "".join(f'"{i + 1}","{s}"\n' for i, s in enumerate(SYMBOLS)))
    write(tmp_path / "barcodes.csv", '"","x"\n' + "".join(f'"{i + 1}","{s}"\n' for i, s in enumerate(CELLS)))
    assert list(require_right(tmp_path).genes.index) == SYMBOLS


def test_ebi_names(tmp_path):
    write(tmp_path / "E-MTAB-1.aggregated_filtered_counts.mtx", mtx())
    write(tmp_path / "E-MTAB-1.aggregated_filtered_counts.mtx_rows", features(""))
    write(tmp_path / "E-MTAB-1.aggregated_filtered_counts.mtx_cols", lines(CELLS))
    require_right(tmp_path)


@pytest.mark.parametrize("columns", [1, 2, 3, 6])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lists_of_any_columns(tmp_path, columns, header, line_end):
    parts = [IDS, SYMBOLS, ["Gene Expression"] * 3, ["chr1"] * 3, ["1"] * 3, ["2"] * 3][:columns]
    names = ["gene_id", "gene_name", "feature_type", "chr", "start", "end"][:columns]
    rows = [names] * header + list(zip(*parts, strict=True))
    write(tmp_path / "features.tsv", "".join("\t".join(row) + line_end for row in rows))
    write(tmp_path / "barcodes.tsv", line_end.join(["barcode"] * header + CELLS) + line_end)
    write(tmp_path / "matrix.mtx", mtx().replace("\n", line_end))
    file = require_right(tmp_path)
    assert list(file.genes.index) == IDS
    assert list(file.genes["gene_symbols"]) == (SYMBOLS if columns > 1 else IDS)


def test_barcodes_with_further_columns(tmp_path):
    write_10x(tmp_path)
    write(tmp_path / "barcodes.tsv.gz", lines(["barcode\tdonor", *(f"{c}\td{i}" for i, c in enumerate(CELLS))]))
    assert list(require_right(tmp_path).cells["donor"]) == ["d0", "d1", "d2", "d3"]


def test_genomes_in_the_third_column_are_no_feature_types(tmp_path):
    write_10x(tmp_path)
    write(tmp_path / "features.tsv.gz", features("\tGRCh38"))
    require_right(tmp_path)


def test_proteins_beside_genes(tmp_path):
    write_10x(tmp_path)
    text = features().replace(f"{SYMBOLS[2]}\tGene Expression", f"{SYMBOLS[2]}\tAntibody Capture")
    write(tmp_path / "features.tsv.gz", text)
    values, file = dense(tmp_path)
    assert np.array_equal(values, COUNTS[:2].T)
    assert "Antibody Capture" in file.proteins


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (mtx(banner=BANNER.replace("integer", "pattern")), "kind pattern"),
        (mtx(banner=BANNER.replace("integer", "complex")), "holds complex numbers"),
        (mtx(banner=BANNER.replace("general", "symmetric")), "a symmetric matrix"),
        ("1 1 1\n", "begins with '1 1 1'"),
        (mtx().replace("1 1 1", "0 1 1"), "row 0 is beyond.*were they written from 0"),
        (mtx().replace("3 1 4\n", "4 1 4\n"), "row 4 is beyond its 3 rows"),
        (mtx().replace("3 1 4\n", ""), "announces 5 values, but it holds another number"),
        (mtx() + "1 2 7\n", "announces 5 values, but it holds another number"),
        (mtx(np.vstack([COUNTS, COUNTS])), "6 × 4, but the folder lists 3 features"),
        (mtx().replace("1 1 1", "1 1 1 0"), "has 4 columns"),
    ],
)
def test_matrices_that_are_none_of_counts_are_refused(tmp_path, matrix, said):
    write_10x(tmp_path, end="")
    write(tmp_path / "matrix.mtx", matrix)
    with pytest.raises(InputError, match=said):
        list(open_counts(tmp_path).blocks())


def test_other_forms_of_the_matrix(tmp_path):
    write_10x(tmp_path, end="")
    write(tmp_path / "matrix.mtx", mtx().replace("1 3 2", "1 3 2e0").replace("integer", "real"))
    require_right(tmp_path)
    text = "%%MatrixMarket matrix array integer general\n3 4\n" + lines(COUNTS.T.ravel())
    write(tmp_path / "matrix.mtx", text)
    require_right(tmp_path)
    write(tmp_path / "matrix.mtx", mtx().replace("3 4 5\n", "3 4 7\n", 1).replace("1 3 2\n", "1 3 1\n1 3 1\n2 1 0\n"))
    values, file = dense(tmp_path)
    assert np.array_equal(values, COUNTS.T)
    assert np.array_equal(np.vstack([block.toarray() for _, block in file.blocks()]), COUNTS.T)
    assert sum(block.nnz for _, block in file.blocks()) == np.count_nonzero(COUNTS)


def test_gzipped_or_not_whatever_the_name_says(tmp_path):
    write_10x(tmp_path)
    (tmp_path / "matrix.mtx.gz").write_bytes(mtx().encode())
    (tmp_path / "barcodes.tsv.gz").rename(tmp_path / "barcodes.tsv")
    require_right(tmp_path)


def write_velocyto(folder: Path) -> None:
    for name, factor in (("spliced", 1), ("unspliced", 10), ("ambiguous", 100)):
        write(folder / f"{name}.mtx", mtx(factor * COUNTS))
    write(folder / "features.tsv", features())
    write(folder / "barcodes.tsv", lines(CELLS))


def test_velocyto_matrices_are_added_on_request(tmp_path):
    write_velocyto(tmp_path)
    with pytest.raises(InputError, match=r"none of them is all counts.*spliced\+unspliced\+ambiguous"):
        open_counts(tmp_path)
    values, file = dense(tmp_path, layer="spliced+unspliced")
    assert np.array_equal(values, 11 * COUNTS.T)
    assert "spliced + unspliced" in file.notes[0]
    with pytest.raises(InputError, match="layer 'mature' is not in the folder; it has ambiguous, spliced, unspliced"):
        open_counts(tmp_path, layer="mature")


def test_velocyto_matrices_of_five_columns(tmp_path):
    write_10x(tmp_path, end="")
    rows, columns = np.nonzero(COUNTS)
    values = [f"{r + 1} {c + 1} {COUNTS[r, c]} {2 * COUNTS[r, c]} 0" for r, c in zip(rows, columns, strict=True)]
    write(tmp_path / "matrix.mtx", lines([BANNER, "3 4 5", *values]))
    with pytest.raises(InputError, match=r"three values in a line.*layer.*spliced\+ambiguous"):
        open_counts(tmp_path)
    assert np.array_equal(dense(tmp_path, layer="spliced+unspliced")[0], 3 * COUNTS.T)
    assert np.array_equal(dense(tmp_path, layer="spliced")[0], COUNTS.T)


def test_matrices_beside_that_of_starsolo_are_passed_over(tmp_path):
    write_10x(tmp_path, end="")
    write(tmp_path / "UniqueAndMult-EM.mtx", mtx(2 * COUNTS))
    assert "passed over UniqueAndMult-EM" in " ".join(require_right(tmp_path).notes)


def test_folders_of_results(tmp_path):
    write_10x(tmp_path / "run" / "outs" / "raw_feature_bc_matrix")
    (tmp_path / "run" / "SC_RNA_COUNTER_CS").mkdir()
    for path in (tmp_path / "run", tmp_path / "run" / "outs"):
        assert any("all droplets" in note for note in require_right(path).notes)
    write_10x(tmp_path / "run" / "outs" / "filtered_feature_bc_matrix")
    for path in (tmp_path / "run", tmp_path / "run" / "outs"):
        file = require_right(path)
        assert "found in" in " ".join(file.notes)
        assert not any("droplets" in note for note in file.notes)
        assert all("filtered_feature_bc_matrix" in name for name in input_files(str(path)))
    write_10x(tmp_path / "Solo.out" / "Gene" / "filtered", end="", genes="features.tsv")
    write_velocyto(tmp_path / "Solo.out" / "Velocyto" / "filtered")
    require_right(tmp_path / "Solo.out")
    require_right(tmp_path / "Solo.out" / "Gene")


def test_several_samples_in_a_folder_of_results_are_refused(tmp_path):
    for sample in ("s1", "s2"):
        write_10x(tmp_path / "outs" / "per_sample_outs" / sample / "count" / "sample_filtered_feature_bc_matrix")
    with pytest.raises(InputError, match="hold counts: s1, s2; name one"):
        require_readable(str(tmp_path), "sheet")
    require_right(tmp_path / "outs" / "per_sample_outs" / "s1")


def test_cell_ranger_2_with_two_genomes(tmp_path):
    for genome in ("GRCh38", "mm10"):
        write_10x(tmp_path / "outs" / "filtered_gene_bc_matrices" / genome, genes="genes.tsv", end="")
    path = str(tmp_path / "outs")
    with pytest.raises(InputError, match="2 genomes, GRCh38, mm10; set genome"):
        open_counts(path)
    require_readable(path, "sheet")
    assert len(input_files(path)) == 6
    require_right(path, genome="GRCh38")
    with pytest.raises(InputError, match="genome 'hg19' is not there; it has GRCh38, mm10"):
        open_counts(path, genome="hg19")


def test_a_folder_of_files_is_refused_with_their_names(tmp_path):
    for name in ("a.h5ad", "b.h5ad"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"folder of other files \(a.h5ad, b.h5ad\); name one"):
        require_readable(str(tmp_path), "sheet")


def test_alevins_binary_matrix_is_refused(tmp_path):
    (tmp_path / "quants_mat.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="alevin's own binary format"):
        require_readable(str(tmp_path), "sheet")


def test_a_folder_without_one_of_the_files_is_refused_with_its_name(tmp_path):
    write_10x(tmp_path)
    (tmp_path / "barcodes.tsv.gz").unlink()
    with pytest.raises(InputError, match=r"barcodes.tsv.gz not found.*it has features.tsv.gz, matrix.mtx.gz"):
        require_readable(str(tmp_path), "sheet")


def test_files_of_a_folder_that_a_rule_will_write(tmp_path):
    folder = tmp_path / "demo"
    assert input_files(str(folder)) == [
        str(folder / name) for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
    ]
    assert input_files("absent.h5ad") == ["absent.h5ad"]


def test_a_row_is_opened_with_its_options(tmp_path):
    write_velocyto(tmp_path)
    row = {"path": str(tmp_path), "layer": "spliced", "metadata": None}
    assert open_row(row).location == "spliced"
    assert open_row({**row, "layer": "spliced+unspliced"}, counts_only=True).rows.shape == (4, 3)


def _write_lists(folder: Path, form: str, head: list[str]) -> Path:
    write(folder / "matrix.mtx", mtx())
    for name, values in {"genes": SYMBOLS, "barcodes": CELLS}.items():
        rows = [form.format(i, value) for i, value in enumerate(values, start=1)]
        write(folder / f"{name}.tsv", lines([*(f'"{word}"' if '"' in form else word for word in head), *rows]))
    return folder


@pytest.mark.parametrize("head", [[], ["x"]])
@pytest.mark.parametrize("form", ['"{}" "{}"', "{} {}", "{}\t{}", '"{}"\t"{}"'])
def test_lists_with_numbers_of_rows_by_r(tmp_path, form, head):
    file = require_right(_write_lists(tmp_path, form, head))
    assert list(file.genes["gene_symbols"]) == SYMBOLS


def test_sci_rna_seq(tmp_path):
    write(tmp_path / "gene_count.mtx", mtx())
    genes = [f"{i},protein_coding,{s}" for i, s in zip(IDS, SYMBOLS, strict=True)]
    write(tmp_path / "gene_annotate.csv", lines(["gene_id,gene_type,gene_short_name", *genes]))
    write(tmp_path / "cell_annotate.csv", lines(["sample,stage", *(f"{cell},E9" for cell in CELLS)]))
    file = require_right(tmp_path)
    assert list(file.genes.index) == IDS
    assert list(file.genes["gene_symbols"]) == SYMBOLS
    assert set(file.cells["stage"]) == {"E9"}


def test_the_first_line_of_an_early_starsolo(tmp_path):
    write_10x(tmp_path, end="")
    write(tmp_path / "matrix.mtx", mtx(banner="%%").replace(" ", "\t"))
    require_right(tmp_path)
