"""What notebooks use: open a file, add labels to an AnnData, find neighbours; on real data."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import refatlas as ra
from conftest import REPO
from refatlas.errors import InputError


@pytest.fixture
def kang(real):
    return real("kang_ctrl_stim_1975c_6998g.h5ad")


def run_python(code: str) -> str:
    """Return what a new Python prints, with this checkout's package and no other path."""
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPO / 'workflow/scripts')!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return found.stdout


def test_importing_refatlas_imports_no_heavy_package():
    code = "import refatlas; print(sorted({'numpy', 'pandas', 'anndata', 'numba', 'torch'} & set(sys.modules)))"
    assert run_python(code) == "[]\n"


def test_the_public_names_are_listed_and_unknown_ones_are_refused():
    assert {"ExactIndex", "add_labels", "load_model", "open_counts"} <= set(dir(ra)) & set(ra.__all__)
    with pytest.raises(AttributeError, match="module 'refatlas' has no attribute 'open_count'"):
        ra.open_count  # noqa: B018


def test_a_trained_model_is_loaded_by_models():
    from refatlas.models.model_files import load_trained

    assert ra.load_model is load_trained


def test_a_real_file_shows_where_its_counts_are(kang):
    printed = run_python(f"import refatlas as ra\nprint(ra.open_counts({kang!r}))")
    assert printed.startswith(f"CountFile {kang}\n  1,975 cells × 6,998 genes\n  counts in X\n  cells: ")
    assert "note: counts: X, the only place with counts (6,998 genes" in printed


@pytest.mark.parametrize("layer", [None, "X"])
def test_a_real_file_becomes_an_anndata(kang, layer):
    found, expected = ra.open_counts(kang, layer).to_anndata(), ad.read_h5ad(kang)
    assert found.X.format == "csr"
    assert found.X.dtype == np.float32
    assert (found.X != expected.X).nnz == 0
    pd.testing.assert_frame_equal(found.obs, expected.obs, check_names=False)
    assert list(found.var_names) == list(expected.var_names)


def test_a_layer_that_a_real_file_lacks_is_refused(kang):
    with pytest.raises(InputError, match="layer 'raw' is not in the file; it has X"):
        ra.open_counts(kang, "raw")


def test_files_of_every_kind_of_real_data_are_opened(real):
    for name in ("citeseq_1400c_3batches_14p.h5ad", "scref_330c_10237g.h5ad", "baron_mouse_988c_14877g.h5ad"):
        file = ra.open_counts(real(name))
        start, block = next(file.blocks())
        assert start == 0
        assert block.shape[1] == len(file.genes)
        assert f"{len(file.cells):,} cells" in repr(file)


def test_the_index_finds_the_nearest_of_real_cells(kang):
    cells = ra.open_counts(kang).to_anndata().X[:300, :40].toarray()
    found, distances = ra.ExactIndex.build(cells).search(cells, 1)
    assert (distances == 0).all()
    assert np.array_equal(cells[found[:, 0]], cells)
