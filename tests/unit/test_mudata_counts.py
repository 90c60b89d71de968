"""RNA of a MuData is found under any usual name, and its cells have the columns of the whole."""

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts


@pytest.fixture
def counts():
    return small_counts(20, 10)


def write_h5mu(path, obs=None, **modalities):
    with h5py.File(path, "w") as file:
        write_elem(file, "obs", pd.DataFrame(index=[f"cell{i}" for i in range(20)]) if obs is None else obs)
        for name, data in modalities.items():
            write_elem(file.require_group("mod"), name.replace("_", " "), data)
    return str(path)


def proteins(counts):
    data = counts[:, :3].copy()
    data.var_names = ["CD3", "CD4", "CD8"]
    return data


@pytest.mark.parametrize("name", ["rna", "RNA", "gex", "GEX", "Gene_Expression", "my_rna"])
def test_rna_is_found_under_any_usual_name(tmp_path, counts, name):
    file = open_counts(write_h5mu(tmp_path / "a.h5mu", **{name: counts, "prot": proteins(counts)}))
    assert file.location == f"mod/{name.replace('_', ' ')}/X"
    assert np.array_equal(file.to_anndata().X.toarray(), counts.X.toarray())
    assert set(file.proteins) == {"prot"}


def test_several_modalities_of_rna_are_refused_with_their_names(tmp_path, counts):
    path = write_h5mu(tmp_path / "a.h5mu", gex=counts, RNA=counts, prot=proteins(counts))
    with pytest.raises(InputError, match=r"modalities RNA, gex may all hold RNA; name the one to read 'rna'"):
        open_counts(path)
    assert open_counts(write_h5mu(tmp_path / "b.h5mu", rna=counts, gex=counts)).location == "mod/rna/X"


def test_without_rna_it_is_refused(tmp_path, counts):
    with pytest.raises(InputError, match="no modality 'rna' in the file; it has atac, prot"):
        open_counts(write_h5mu(tmp_path / "a.h5mu", prot=proteins(counts), atac=counts))


def test_columns_with_the_modality_before_their_names(tmp_path, counts):
    obs = pd.DataFrame({"rna:stage": ["s"] * 19 + ["last"], "donor": ["d"] * 20}, index=counts.obs_names)[::-1]
    file = open_counts(write_h5mu(tmp_path / "a.h5mu", obs, rna=counts))
    assert list(file.cells.index) == list(counts.obs_names)
    assert {"batch", "cell_type", "rna:stage", "stage", "donor"} == set(file.cells.columns)
    assert list(file.cells["stage"]) == list(file.cells["rna:stage"]) == ["s"] * 19 + ["last"]


def test_cells_of_one_name_are_refused(tmp_path, counts):
    obs = pd.DataFrame({"donor": ["d"] * 20}, index=["cell0"] * 20)
    with pytest.raises(InputError, match="names of cells are not unique in the MuData's table obs"):
        open_counts(write_h5mu(tmp_path / "a.h5mu", obs, rna=counts))
