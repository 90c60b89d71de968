"""Compressed files of counts are read as the files in them, and leave no temporary file behind."""

import bz2
import gzip
import lzma
import os
import zipfile

import anndata as ad
import numpy as np
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts


@pytest.fixture
def counts(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return small_counts()


def require_right(path, counts):
    file = open_counts(path)
    assert np.array_equal(np.vstack([block.toarray() for _, block in file.blocks()]), counts.X.toarray())
    assert list(file.cells.index) == list(counts.obs_names)
    assert "batch" in file.cells
    return file


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_a_compressed_h5ad(tmp_path, counts, suffix, pack):
    counts.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / f"a.h5ad.{suffix}").write_bytes(pack.compress((tmp_path / "a.h5ad").read_bytes()))
    file = require_right(tmp_path / f"a.h5ad.{suffix}", counts)
    assert "unpacked into a temporary file" in " ".join(file.notes)
    assert file.path == str(tmp_path / f"a.h5ad.{suffix}")
    assert not os.listdir(tmp_path / "tmp")
    assert open_counts(tmp_path / f"a.h5ad.{suffix}", counts_only=True).rows.shape == counts.shape


def test_an_h5ad_of_another_name(tmp_path, counts):
    counts.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "a.bin").write_bytes(gzip.compress((tmp_path / "a.h5ad").read_bytes()))
    require_right(tmp_path / "a.bin", counts)


def test_a_zip_of_one_h5ad(tmp_path, counts):
    counts.write_h5ad(tmp_path / "a.h5ad")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "a.h5ad", "a.h5ad")
    require_right(tmp_path / "a.zip", counts)


@pytest.mark.parametrize("root", ["", "a.zarr/"])
def test_a_zip_of_a_zarr(tmp_path, counts, root):
    counts.write_zarr(tmp_path / "a.zarr")
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as archive:
        for path in sorted((tmp_path / "a.zarr").rglob("*")):
            if path.is_file():
                archive.write(path, f"{root}{path.relative_to(tmp_path / 'a.zarr')}")
    require_right(tmp_path / "a.zarr.zip", counts)


def write_mtx_zip(path, names=("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")):
    texts = (
        "%%MatrixMarket matrix coordinate integer general\n2 3 2\n1 1 4\n2 3 5\n",
        "ENSG00000000001\tA1\tGene Expression\nCD3|CD3E|AHS0231|pAbO\tCD3\tAntibody Capture\n",
        "1\n2\n3\n",
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in zip(names, texts, strict=False):
            archive.writestr(name, gzip.compress(text.encode()))


@pytest.mark.parametrize("folder", ["", "S1_RSEC_MolsPerCell_MEX/"])
def test_a_zip_of_an_mtx_folder_as_bd_writes_it(tmp_path, counts, folder):
    names = [f"{folder}{name}" for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")]
    write_mtx_zip(tmp_path / "S1_RSEC_MolsPerCell_MEX.zip", names)
    file = open_counts(tmp_path / "S1_RSEC_MolsPerCell_MEX.zip")
    assert np.array_equal(np.vstack([block.toarray() for _, block in file.blocks()]), [[4], [0], [0]])
    assert file.proteins["Antibody Capture"]().to_numpy().tolist() == [[0], [0], [5]]
    assert not os.listdir(tmp_path / "tmp")


def test_messages_name_the_archive(tmp_path, counts):
    write_mtx_zip(tmp_path / "a.zip", ("matrix.mtx.gz", "features.tsv.gz"))
    with pytest.raises(InputError, match=r"^\S*a.zip: barcodes.tsv.gz not found") as refused:
        open_counts(tmp_path / "a.zip")
    assert str(tmp_path / "tmp") not in str(refused.value)


def test_a_folder_and_a_zip_of_spatialdata(tmp_path, counts):
    import zarr

    zarr.open_group(tmp_path / "s.zarr", mode="w").create_group("tables")
    ad.io.write_elem(zarr.open_group(tmp_path / "s.zarr/tables", mode="a"), "table", counts)
    require_right(tmp_path / "s.zarr", counts)
