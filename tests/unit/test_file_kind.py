"""A file is told by what it is, whatever its name and size, and called damaged only if it is."""

import bz2
import gzip
import os
import pickle
import tarfile
import time
import zipfile

import h5py
import numpy as np
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.file_kind import describe_file, unreadable_error
from refatlas.io.foreign_files import r_remedy
from refatlas.io.formats import require_readable
from refatlas.io.raw_counts import open_counts


def write_molecule_info(path, n: int) -> None:
    """Write a molecule_info.h5 as Cell Ranger 3 does, with `n` molecules."""
    with h5py.File(path, "w") as file:
        for name, kind in (("barcode_idx", "<u8"), ("count", "<u4"), ("feature_idx", "<u4"), ("umi", "<u4")):
            file.create_dataset(name, data=np.zeros(n, kind), chunks=(min(n, 100_000),), compression="gzip")
        file["barcodes"] = np.array([b"ACGTACGTACGTACGT"] * 3)
        file["features/id"] = np.array([b"ENSG00000000001"] * 3)
        file.create_group("barcode_info")


def test_molecules_of_any_number_are_told_at_once(tmp_path):
    write_molecule_info(tmp_path / "m.h5", 5_000_000)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"molecule_info.h5 of Cell Ranger.*give filtered_feature_bc_matrix.h5"):
        open_counts(tmp_path / "m.h5")
    assert time.monotonic() - started < 2


TEXTS = {
    "x.rds": (b"X\n\0\0\0\3rest", "an RDS file of R", "readRDS"),
    "x2.rds": (gzip.compress(b"X\n\0\0\0\3rest"), "an RDS file of R", "zellkonverter::writeH5AD"),
    "x3.rds": (bz2.compress(b"X\n\0\0\0\3rest"), "an RDS file of R", "as.SingleCellExperiment"),
    "x.RData": (gzip.compress(b"RDX3\nX\n"), "an RData file of R", "load"),
    "x.qs": (b"\x0b\x0e\x0a\x0c" + bytes(100), "a qs file of R", "qs::qread"),
    "lfs.h5ad": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS", "git lfs pull"),
    "page.h5ad": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page", "the download failed"),
    "reads.fastq.gz": (gzip.compress(b"@r1\nACGT\n+\nIIII\n"), "gzip of a fastq file", "count it first"),
    "x.bam": (gzip.compress(b"BAM\1" + bytes(60)), "a BAM file", "count it first"),
    "x.pkl": (pickle.dumps({"a": 1}), "a pickle", "write_h5ad"),
    "x.zst": (b"\x28\xb5\x2f\xfd" + bytes(20), "compressed with zstd", "zstd -d"),
    "x.npy": (b"\x93NUMPY\1\0" + bytes(100), "a numpy array", "names"),
    "x.mat": (b"MATLAB 5.0 MAT-file" + bytes(200), "a MATLAB file", "h5ad"),
    "empty.h5ad": (b"", "an empty file", "download it again"),
    "x.bin": (bytes(range(128, 256)) * 4, "unknown format", "give an h5ad"),
    "f.tsv.gz": (gzip.compress(b"chr1\t10\t20\tACGT-1\t1\n" * 5), "ATAC fragments", "genes"),
    "quants_mat.gz": (gzip.compress(bytes(range(256)) * 9), "alevin's own", "dumpMtx"),
    "m.mtx": (
        b"%%MatrixMarket matrix coordinate integer general\n2 2 0\n",
        "the matrix of an mtx folder",
        "its folder",
    ),
    "j.h5ad": (b'{"error": "not found"}', "a JSON text", "download may have failed"),
    "words.h5ad": (b"not an HDF5 file", "a text that begins with", "give an h5ad"),
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_files_of_other_kinds_are_refused_by_what_they_are(tmp_path, name):
    content, what, remedy = TEXTS[name]
    (tmp_path / name).write_bytes(content)
    assert what in describe_file(str(tmp_path / name))
    with pytest.raises(InputError) as refused:
        open_counts(tmp_path / name)
    assert what in str(refused.value)
    assert remedy in str(refused.value)
    assert "is it complete" not in str(refused.value)


GROUPS = {
    "an h5Seurat file": ("assays/RNA", "cell.names", "meta.data"),
    "a model of Keras": ("model_weights",),
    "a MATLAB 7.3 file": ("#refs#",),
    "a NetCDF file": ("_nc4_non_coord_x",),
    "an ArchR arrow file": ("Fragments",),
    "an HDF5 file without counts": ("anything",),
}


@pytest.mark.parametrize("what", sorted(GROUPS))
def test_hdf5_of_other_kinds_is_refused_by_what_it_is(tmp_path, what):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in GROUPS[what]:
            file.create_group(name)
    with pytest.raises(InputError, match=what):
        open_counts(tmp_path / "x.h5")


def test_a_truncated_file_is_called_so(tmp_path):
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    content = (tmp_path / "a.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut.h5ad: cannot be read.*truncated.*is it complete"):
        open_counts(tmp_path / "cut.h5ad")
    packed = gzip.compress(content)
    (tmp_path / "cut.h5ad.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"cut.h5ad.gz: cannot be read.*gzip.*is it complete"):
        open_counts(tmp_path / "cut.h5ad.gz")


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        open_counts(tmp_path / "absent.h5ad")


def test_an_error_of_a_library_is_no_damage_and_a_missing_filter_is_named(tmp_path):
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    path = str(tmp_path / "a.h5ad")
    assert "is it complete" not in str(unreadable_error(path, KeyError("encoding")))
    said = str(unreadable_error(path, OSError("required filter 'zstd' is not registered")))
    assert "hdf5plugin" in said
    assert "is it complete" not in said
    assert "is it complete" in str(unreadable_error(path, OSError("inflate() failed")))


def test_archives_are_refused_with_what_they_hold(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with tarfile.open(tmp_path / "GSE1_RAW.tar", "w") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    for name in ("GSE1_RAW.tar", "x.tar.gz"):
        with pytest.raises(InputError, match="tar archive; unpack it"):
            open_counts(tmp_path / name)
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<a/>")
    for name, what in (("x.npz", "an npz file"), ("x.xlsx", "a spreadsheet")):
        with pytest.raises(InputError, match=what):
            open_counts(tmp_path / name)


def test_planning_refuses_what_is_no_counts(tmp_path):
    write_molecule_info(tmp_path / "s1_molecule_info.h5", 3)
    (tmp_path / "x.rds").write_bytes(b"X\n\0\0\0\3")
    (tmp_path / "y.rds").write_bytes(gzip.compress(b"X\n\0\0\0\3"))
    (tmp_path / "folder").mkdir()
    for name, said in (
        ("y.rds", "readRDS"),
        ("s1_molecule_info.h5", "lists molecules"),
        ("x.rds", "readRDS"),
        ("folder", "matrix.mtx.gz"),
    ):
        with pytest.raises(InputError, match=f"the sheet.*{said}"):
            require_readable(str(tmp_path / name), "the sheet")
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "later.h5ad").write_bytes(b"")
    for name in ("a.h5ad", "later.h5ad"):
        require_readable(str(tmp_path / name), "the sheet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "a.h5ad").write_bytes(b"x")
    (tmp_path / "a.h5ad").chmod(0)
    with pytest.raises(InputError, match="may you read it"):
        open_counts(tmp_path / "a.h5ad")


def test_lines_of_r_for_seurat_are_said_where_the_object_may_be_one():
    between = "put `sce <- Seurat::as.SingleCellExperiment(sce)` between"
    assert between in r_remedy("/data/a.rds")
    assert between not in r_remedy("/data/a.h5seurat", "H5SEURAT")
