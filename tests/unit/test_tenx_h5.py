"""10x h5 files of all versions of Cell Ranger, and of two genomes."""

import h5py
import numpy as np
import pytest

from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts

COUNTS = np.array([[1, 0, 2], [0, 3, 0], [4, 0, 5], [0, 0, 6]])
CELLS = np.array([b"AAAC-1", b"CCCC-1", b"GGGG-1", b"TTTT-1"])
IDS, SYMBOLS = [b"ENSG00000000001", b"ENSG00000000002", b"ENSG00000000003"], [b"A1", b"B2", b"C3"]


def write_matrix(group, counts=COUNTS) -> None:
    from scipy import sparse

    stored = sparse.csr_matrix(counts)
    group["barcodes"], group["shape"] = CELLS, np.array(counts.shape[::-1])
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(stored, name)


def write_v3(path, kinds=(b"Gene Expression",) * 3, genomes=(b"GRCh38",) * 3, ids=IDS) -> None:
    with h5py.File(path, "w") as file:
        write_matrix(file.create_group("matrix"))
        for name, values in (("id", ids), ("name", SYMBOLS), ("feature_type", kinds), ("genome", genomes)):
            if values:
                file[f"matrix/features/{name}"] = np.array(values)
        file["matrix/features/_all_tag_keys"] = np.array([b"genome"])


def write_v2(path, *genomes: str) -> None:
    with h5py.File(path, "w") as file:
        for i, genome in enumerate(genomes):
            group = file.create_group(genome)
            write_matrix(group, COUNTS * (i + 1))
            group["genes"], group["gene_names"] = np.array(IDS), np.array(SYMBOLS)


def dense(path, **keys):
    file = open_counts(path, **keys)
    return np.vstack([block.toarray() for _, block in file.blocks()]), file


@pytest.mark.parametrize("keys", [{}, {"kinds": ()}, {"genomes": ()}, {"kinds": (), "genomes": ()}])
def test_version_3_with_or_without_some_columns(tmp_path, keys):
    write_v3(tmp_path / "a.h5", **keys)
    values, file = dense(tmp_path / "a.h5")
    assert np.array_equal(values, COUNTS)
    assert list(file.genes.index) == [i.decode() for i in IDS]
    assert list(file.genes["gene_symbols"]) == ["A1", "B2", "C3"]
    assert list(file.cells.index) == [c.decode() for c in CELLS]


def test_proteins_are_split(tmp_path):
    write_v3(tmp_path / "a.h5", kinds=(b"Gene Expression", b"Gene Expression", b"Antibody Capture"))
    values, file = dense(tmp_path / "a.h5")
    assert np.array_equal(values, COUNTS[:, :2])
    assert file.proteins["Antibody Capture"]().to_numpy().ravel().tolist() == [2, 0, 5, 6]


def test_one_genome_of_version_2(tmp_path):
    write_v2(tmp_path / "a.h5", "GRCh38")
    assert np.array_equal(dense(tmp_path / "a.h5")[0], COUNTS)
    assert np.array_equal(dense(tmp_path / "a.h5", genome="GRCh38")[0], COUNTS)


def test_two_genomes_of_version_2_need_a_name(tmp_path):
    write_v2(tmp_path / "a.h5", "hg19", "mm10")
    with pytest.raises(InputError, match="2 genomes, hg19, mm10; set genome"):
        open_counts(tmp_path / "a.h5")
    values, file = dense(tmp_path / "a.h5", genome="mm10")
    assert np.array_equal(values, 2 * COUNTS)
    assert "genome mm10, as set in the sheet" in file.notes[0]
    with pytest.raises(InputError, match="genome 'rn6' is not in the file; it has hg19, mm10"):
        open_counts(tmp_path / "a.h5", genome="rn6")


def test_two_genomes_of_version_3(tmp_path):
    ids = [b"GRCh38_ENSG00000000001", b"GRCh38_ENSG00000000002", b"mm10___ENSMUSG00000000003"]
    write_v3(tmp_path / "a.h5", genomes=(b"GRCh38", b"GRCh38", b"mm10"), ids=ids)
    with pytest.raises(InputError, match="2 genomes"):
        open_counts(tmp_path / "a.h5")
    assert np.array_equal(dense(tmp_path / "a.h5", genome="GRCh38")[0], COUNTS[:, :2])


def test_counts_of_probes_are_refused(tmp_path):
    write_v3(tmp_path / "raw_probe_bc_matrix.h5")
    with pytest.raises(InputError, match="counts of probes"):
        open_counts(tmp_path / "raw_probe_bc_matrix.h5")


def test_all_droplets_are_said(tmp_path):
    write_v3(tmp_path / "raw_feature_bc_matrix.h5")
    assert any("all droplets" in note for note in open_counts(tmp_path / "raw_feature_bc_matrix.h5").notes)


def test_names_that_do_not_fit_the_matrix_are_refused(tmp_path):
    write_v3(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["matrix/barcodes"]
        file["matrix/barcodes"] = CELLS[:2]
    with pytest.raises(InputError, match="3 genes × 4 cells, but the file names 3 genes and 2 cells"):
        open_counts(tmp_path / "a.h5")
    write_v3(tmp_path / "b.h5")
    with pytest.raises(InputError, match="layer 'spliced' is not in the file; a 10x h5 has one matrix"):
        open_counts(tmp_path / "b.h5", layer="spliced")
