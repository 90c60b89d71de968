"""Tables of cells and genes of any version of anndata and of writers in R are read to the same values."""

import h5py
import numpy as np
import pandas as pd
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts

LABELS = np.array(["B cell", "NK é", "T cell"])


@pytest.fixture
def counts():
    data = small_counts(12, 6)
    codes = np.arange(12) % 3
    codes[5] = -1
    data.obs["cell_type"] = pd.Categorical.from_codes(codes, LABELS)
    data.obs["size"] = np.arange(12) * 0.5
    data.obs["cluster"] = np.arange(12) % 4
    return data


def texts_of(values):
    return np.array(list(values), dtype=h5py.string_dtype())


def write_matrix(group, name, x, form="csr"):
    """Write a matrix as anndata 0.6 and 0.7 did."""
    if form == "dense":
        group[name] = x.toarray()
        return
    matrix = group.create_group(name)
    stored = x.tocsr() if form != "csc" else x.tocsc()
    for part in ("data", "indices", "indptr"):
        matrix[part] = getattr(stored, part)
    if form.startswith("old"):
        matrix.attrs["h5sparse_format"], matrix.attrs["h5sparse_shape"] = b"csr", x.shape
    else:
        matrix.attrs["encoding-type"], matrix.attrs["encoding-version"] = f"{form}_matrix", "0.1.0"
        matrix.attrs["shape"] = x.shape


def write_06(path, data, form="old", raw=None):
    """Write a file as anndata 0.6 does: records, and names of categories in uns."""
    with h5py.File(path, "w") as file:
        write_matrix(file, "X", data.X if raw is None else data.X.log1p(), form)
        texts = h5py.string_dtype()
        obs = np.zeros(12, dtype=[("index", texts), ("cell_type", "i1"), ("size", "f8"), ("cluster", "i8")])
        obs["index"], obs["size"], obs["cluster"] = data.obs_names, data.obs["size"], data.obs["cluster"]
        obs["cell_type"] = data.obs["cell_type"].cat.codes
        file["obs"] = obs
        names = np.zeros(data.n_vars, dtype=[("index", "S5")])
        names["index"] = data.var_names.to_numpy().astype("S5")
        file["var"] = names
        file["uns/cell_type_categories"] = texts_of(LABELS)
        if raw is not None:
            write_matrix(file, "raw.X", raw.X, form)
            named = np.zeros(raw.n_vars, dtype=[("index", "S5"), ("gene_ids", "i1")])
            named["index"] = raw.var_names.to_numpy().astype("S5")
            file["raw.var"] = named
            file["uns/gene_ids_categories"] = b"one"
    return str(path)


def check(file, data, columns=("cell_type", "size", "cluster")):
    assert list(file.cells.index) == list(data.obs_names)
    assert list(file.genes.index) == list(data.var_names)
    for column in columns:
        found, expected = file.cells[column].astype(object), data.obs[column].astype(object)
        assert list(found.where(found.notna(), "none")) == list(expected.where(expected.notna(), "none"))
    assert np.array_equal(np.vstack([block.toarray() for _, block in file.blocks()]), data.X.toarray())


@pytest.mark.parametrize("form", ["old", "dense"])
def test_anndata_06(tmp_path, counts, form):
    path = write_06(tmp_path / "a.h5ad", counts, form)
    check(open_counts(path), counts)
    assert open_counts(path, counts_only=True).location == "X"


@pytest.mark.parametrize("form", ["old", "dense"])
def test_raw_of_anndata_06(tmp_path, counts, form):
    few = counts[:, :4].copy()
    path = write_06(tmp_path / "a.h5ad", few, form, raw=counts)
    file = open_counts(path)
    check(file, counts)
    assert file.location == "raw/X"
    assert set(file.genes["gene_ids"]) == {"one"}
    assert open_counts(path, "raw").location == "raw/X"


def write_table(group, name, table, encoding, ascii_text=False):
    """Write a table as one array for each column; factors as `encoding` names."""
    made = group.create_group(name)
    made.attrs["encoding-type"], made.attrs["encoding-version"] = "dataframe", "0.1.0"
    made.attrs["_index"] = "_index"
    made.attrs["column-order"] = texts_of(table.columns)
    texts = h5py.string_dtype("ascii" if ascii_text else "utf-8")
    made.create_dataset("_index", data=table.index.to_numpy().astype(object), dtype=texts)
    for column, values in table.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            write_factor(made, column, values.cat, encoding)
        else:
            made[column] = values.to_numpy()
    return made


def write_factor(group, name, factor, encoding):
    codes, names = factor.codes.to_numpy().astype(np.int64), texts_of(factor.categories)
    if encoding == "group":
        group[f"{name}/codes"], group[f"{name}/categories"] = codes, names
        return
    if encoding == "levels":
        group[f"{name}/values"] = np.where(codes < 0, -(2**31), codes + 1).astype(np.int32)
        group[f"{name}/levels"] = names
        return
    if encoding == "enum":
        values = {text: i for i, text in enumerate([*names, "NA"])}
        group.create_dataset(name, data=codes % (len(names) + 1), dtype=h5py.enum_dtype(values, "i4"))
        return
    group[name] = codes.astype(np.int32) if encoding != "float" else np.where(codes < 0, np.nan, codes)
    if encoding == "missing":
        group[name][...] = np.where(codes < 0, -(2**31), codes)
    if encoding == "attribute":
        group[name].attrs["categories"] = names
        return
    group[f"__categories/{name}"] = names
    if encoding == "reference":
        group[name].attrs["categories"] = group[f"__categories/{name}"].ref
    if encoding == "path":
        group[name].attrs["categories"] = f"__categories/{name}"


FACTORS = ("seuratdisk", "missing", "float", "reference", "path", "attribute", "group", "levels", "enum")


def write_file(path, counts, encoding, form="csr"):
    with h5py.File(path, "w") as file:
        write_matrix(file, "X", counts.X, form)
        write_table(file, "obs", counts.obs[["cell_type", "size", "cluster"]], encoding)
        write_table(file, "var", counts.var, encoding)
    return str(path)


@pytest.mark.parametrize("encoding", FACTORS)
def test_categories_wherever_writers_put_them(tmp_path, counts, encoding):
    check(open_counts(write_file(tmp_path / "a.h5ad", counts, encoding)), counts)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_matrices_of_anndata_07(tmp_path, counts, form):
    check(open_counts(write_file(tmp_path / "a.h5ad", counts, "reference", form)), counts)


def test_names_of_codes_in_uns(tmp_path, counts):
    path = write_file(tmp_path / "a.h5ad", counts, "seuratdisk")
    with h5py.File(path, "a") as file:
        del file["obs/__categories"]
        file["uns/cell_type_categories"] = texts_of(LABELS)
    check(open_counts(path), counts)


def test_codes_that_do_not_fit_their_names_are_refused(tmp_path, counts):
    path = write_file(tmp_path / "a.h5ad", counts, "seuratdisk")
    with h5py.File(path, "a") as file:
        file["obs/cell_type"][3] = 3
    with pytest.raises(InputError, match=r"obs/cell_type holds codes from -1 to 3, but the file names 3 categories"):
        open_counts(path)


def test_ascii_text_is_no_bytes(tmp_path, counts):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        write_matrix(file, "X", counts.X)
        table = counts.obs[["size"]].assign(donor=b"d1")
        obs = write_table(file, "obs", table.drop(columns="donor"), "group", ascii_text=True)
        obs.create_dataset("donor", data=np.full(12, b"d1", dtype=object), dtype=h5py.string_dtype("ascii"))
        obs.create_dataset("fixed", data=np.full(12, b"d2"))
        obs.create_dataset("kind/codes", data=np.zeros(12, dtype="i1"))
        obs.create_dataset("kind/categories", data=[b"one"], dtype=h5py.string_dtype("ascii"))
        obs.attrs["column-order"] = texts_of(["size", "donor", "fixed", "kind"])
        write_table(file, "var", counts.var, "group", ascii_text=True)
    file = open_counts(tmp_path / "a.h5ad")
    check(file, counts, ["size"])
    assert [set(file.cells[name]) for name in ("donor", "fixed", "kind")] == [{"d1"}, {"d2"}, {"one"}]


@pytest.mark.parametrize("index", ["_index", "index", "barcodes", "cellnames"])
@pytest.mark.parametrize("stated", ["absent", "wrong"])
def test_names_of_rows_are_found_though_the_table_does_not_say_where(tmp_path, counts, index, stated):
    path = write_file(tmp_path / "a.h5ad", counts, "group")
    with h5py.File(path, "a") as file:
        del file["obs"].attrs["_index"]
        if stated == "wrong":
            file["obs"].attrs["_index"] = "rows"
        file["obs"].move("_index", index)
        del file["obs"].attrs["column-order"]
    check(open_counts(path), counts)


def test_logical_values_of_r_and_nullable_columns(tmp_path, counts):
    counts.obs["count"] = pd.array([1, None] * 6, dtype="Int64")
    counts.obs["flag"] = pd.array([True, None, False] * 4, dtype="boolean")
    counts.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        kind = h5py.enum_dtype({"FALSE": 0, "TRUE": 1, "NA": 2}, "i1")
        file["obs"].create_dataset("is_doublet", data=np.array([0, 1, 2] * 4, dtype="i1"), dtype=kind)
        file["obs"]["is_control"] = np.array([True, False] * 6)
        order = [*file["obs"].attrs["column-order"], "is_doublet", "is_control"]
        file["obs"].attrs["column-order"] = texts_of(order)
    cells = open_counts(tmp_path / "a.h5ad").cells
    assert list(cells["is_doublet"].fillna("none").astype(object) if False else cells["is_doublet"][:2]) == [
        False,
        True,
    ]
    assert cells["is_doublet"].isna().sum() == 4
    assert list(cells["is_control"][:2]) == [True, False]
    assert cells["count"].isna().sum() == 6
    assert cells["flag"].isna().sum() == 4


def test_columns_of_another_length_are_refused(tmp_path, counts):
    path = write_file(tmp_path / "a.h5ad", counts, "group")
    with h5py.File(path, "a") as file:
        del file["obs/size"]
        file["obs/size"] = np.arange(5.0)
    with pytest.raises(InputError, match="column 'size' of obs has 5 values for 12 rows"):
        open_counts(path)


def test_a_file_without_a_table_says_so(tmp_path, counts):
    path = write_file(tmp_path / "a.h5ad", counts, "group")
    with h5py.File(path, "a") as file:
        del file["var"]
    with pytest.raises(InputError, match="no table 'var' in the file; it has X, obs"):
        open_counts(path)


def test_positions_as_doubles_and_foreign_byte_order(tmp_path, counts):
    path = write_file(tmp_path / "a.h5ad", counts, "group")
    with h5py.File(path, "a") as file:
        for name, kind in (("data", ">f4"), ("indices", "f8"), ("indptr", "f8")):
            values = file[f"X/{name}"][:].astype(kind)
            del file[f"X/{name}"]
            file[f"X/{name}"] = values
    check(open_counts(path), counts)


def test_zarr_of_an_old_version(tmp_path, counts):
    import zarr

    counts.write_zarr(tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="a", use_consolidated=False)
    del group["obs/cell_type"]
    obs = group["obs"]
    obs.create_array("cell_type", data=counts.obs["cell_type"].cat.codes.to_numpy())
    obs.create_group("__categories").create_array("cell_type", data=LABELS)
    obs.attrs["encoding-version"] = "0.1.0"
    obs["cell_type"].attrs["categories"] = "__categories/cell_type"
    zarr.consolidate_metadata(group.store)
    check(open_counts(tmp_path / "a.zarr"), counts)
