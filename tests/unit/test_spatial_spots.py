"""Files of a spatial reference: what is read of them, and what is refused in words before anything is learned."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.raw_counts import open_row
from refatlas.spatial.spots import read_spots, row_of, write_spots
from simulated_tissue import NAMES, simulated_tissue

SETTINGS = {
    "layer": None,
    "gene_key": None,
    "coordinates": "spatial",
    "section_key": None,
    "region_key": None,
    "grids": [2],
    "held_out": "blocks",
}
# The atlas selected half of the genes of the file, and some that the file lacks.
GENES = pd.DataFrame(
    {
        "gene_id": None,
        "symbol": [*NAMES, "H1", "H2"],
        "selected": [i % 2 == 0 for i in range(len(NAMES))] + [True, False],
    },
    index=pd.Index([*NAMES, "H1", "H2"], name="gene"),
)


def tissue(**obs) -> ad.AnnData:
    spots = simulated_tissue(side=15)
    table = pd.DataFrame({"layer": spots.regions.astype(str), **obs}, index=spots.names)
    return ad.AnnData(spots.counts.copy(), obs=table, var=pd.DataFrame(index=NAMES), obsm={"spatial": spots.xy.copy()})


def written(folder, data: ad.AnnData, genes: pd.DataFrame = GENES, **settings):
    data.write_h5ad(folder / "tissue.h5ad")
    settings = SETTINGS | {"path": str(folder / "tissue.h5ad")} | settings
    found = write_spots(folder / "spots.h5ad", open_row(row_of(settings)), settings, genes)
    return found, read_spots(folder / "spots.h5ad")


def test_counts_of_the_shared_genes_are_written_with_coordinates_and_regions(tmp_path):
    data = tissue(slide=["a"] * 112 + ["b"] * 113)
    data.X = sparse.csr_matrix(data.X.toarray() * (np.arange(225) != 7)[:, None])
    found, spots = written(tmp_path, data, section_key="slide", region_key="layer")
    assert (found["n_spots"], found["empty_spots"]) == (224, 1)
    assert (found["shared_genes"], found["atlas_genes"]) == (40, 41)
    assert found["sections"] == ["a", "b"]
    assert list(spots.genes) == list(NAMES[::2])
    keep = np.arange(225) != 7
    assert np.array_equal(spots.counts.toarray(), data.X.toarray()[keep][:, ::2])
    assert np.array_equal(spots.xy, data.obsm["spatial"][keep])
    assert list(spots.sections) == list(data.obs["slide"][keep])
    assert list(spots.regions) == list(data.obs["layer"][keep])
    assert list(spots.names) == list(data.obs_names[keep])


def test_a_third_coordinate_is_left_out_and_without_a_column_there_are_no_regions(tmp_path):
    data = tissue()
    data.obsm["at"] = np.column_stack([data.obsm["spatial"], np.zeros(225)])
    _, spots = written(tmp_path, data, coordinates="obsm/at")
    assert spots.xy.shape == (225, 2)
    assert spots.regions is None
    assert set(spots.sections) == {""}


def without_coordinates(data):
    del data.obsm["spatial"]


def one_not_finite(data):
    data.obsm["spatial"][3, 1] = np.nan


def one_column(data):
    data.obsm["spatial"] = data.obsm["spatial"][:, :1]


def all_on_a_line(data):
    data.obsm["spatial"][:, 0] = 5


def fractional(data):
    data.X = data.X * 0.5


def foreign_genes(data):
    data.var_names = [f"other{i}" for i in range(data.n_vars)]


def silent_genes(data):
    data.X = sparse.csr_matrix(data.X.toarray() * (np.arange(data.n_vars) < 20))


def small_region(data):
    data.obs["layer"] = ["odd"] * 3 + list(data.obs["layer"][3:].astype(str))


def few_columns(data):
    """Most spots share the larger of two x."""
    data.obsm["spatial"][:, 0] = np.arange(data.n_obs) >= 30


def missing_section(data):
    data.obs["slide"] = [None] + ["a"] * (data.n_obs - 1)


@pytest.mark.parametrize(
    ("spoil", "settings", "message"),
    [
        (without_coordinates, {}, "coordinates: .* has no 'spatial' in obsm; it has none; write the coordinates"),
        (one_not_finite, {}, r"not finite in 1 spots \(spot3\)"),
        (one_column, {}, r"coordinates: .* holds float64 of shape \(225, 1\); expected numbers"),
        (all_on_a_line, {}, "fewer than 2 different values along x or y"),
        (few_columns, {}, "grids: 2 makes 4 regions; 2 of them are empty, and the smallest other has"),
        (fractional, {}, "does not hold raw counts"),
        (foreign_genes, {}, "path .*: 0 of the atlas's 41 genes found, need 20"),
        (silent_genes, {}, "10 of the atlas's genes have counts in at least 10 spots, need 20"),
        (None, {"region_key": "gone"}, "region_key: .* has no column 'gone'; it has layer"),
        (None, {"section_key": "gone"}, "section_key: .* has no column 'gone'"),
        (small_region, {"region_key": "layer"}, r"region_key: .* has 5 regions in 'layer' \(.*odd: 3\)"),
        (missing_section, {"section_key": "slide"}, r"section_key: 1 spots .* no value in column 'slide'"),
        (None, {"grids": [6]}, "grids: 6 makes 36 regions of a section, and the smallest section of .* has 225 spots"),
        (None, {"held_out": "sections", "grids": []}, "held_out: sections: .* has one section alone"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_refused_in_words(tmp_path, spoil, settings, message):
    data = tissue()
    if spoil:
        spoil(data)
    with pytest.raises(InputError, match=message) as error:
        written(tmp_path, data, **settings)
    assert "tissue.h5ad" in str(error.value)
    assert not (tmp_path / "spots.h5ad").exists()


def test_few_spots_are_refused(tmp_path):
    with pytest.raises(InputError, match="99 spots with counts of the atlas's genes, need 100"):
        written(tmp_path, tissue()[:99].copy(), grids=[])
