"""The spatial reference in the configuration: off by default, and refused in words before anything runs."""

import pytest

from refatlas.bundle.manifest import settings_to_keep
from refatlas.config.settings import complete_config
from refatlas.errors import InputError

WHERE = "config: spatial"


@pytest.fixture
def path(tmp_path):
    """Path of a file that is there."""
    (tmp_path / "tissue.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    return str(tmp_path / "tissue.h5ad")


def completed(**spatial) -> dict:
    return complete_config({"reference": "r.tsv", **({"spatial": spatial} if spatial else {})})


def test_without_a_path_nothing_is_left_of_the_section():
    assert "spatial" not in completed()
    assert "spatial" not in completed(grids=[4])
    assert completed() == completed(grids=[4])


def test_a_spatial_reference_gets_its_defaults_and_no_bundle_keeps_it(path):
    config = completed(path=path, grids=[3, 2])
    assert config["spatial"] == {
        "path": path,
        "layer": None,
        "gene_key": None,
        "coordinates": "spatial",
        "section_key": None,
        "region_key": None,
        "grids": [2, 3],
        "n_genes": 100,
        "methods": ["sagenet", "logistic_regression", "knn"],
        "epochs": 10,
        "folds": 5,
        "held_out": "blocks",
        "quantile": 0.05,
        "standardize": "each",
    }
    assert "spatial" not in settings_to_keep(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "gone.h5ad"}, ": path: 'gone.h5ad' does not exist"),
        ({"path": "a{b}.h5ad"}, ": path: .* takes for placeholders"),
        ({"grids": []}, ": grids is empty and region_key is not set"),
        ({"grids": [1]}, ": grids: 0: 1 is less than the minimum of 2"),
        ({"methods": ["tangram"]}, ": methods: 0: 'tangram' is not one of sagenet, logistic_regression, knn"),
        ({"methods": []}, r": methods: \[\]"),
        ({"held_out": "sections"}, ": held_out: sections needs a section_key"),
        ({"held_out": "sections", "section_key": "slide"}, ": held_out: sections: the regions of a grid belong to one"),
        ({"n_gene": 5}, r": unknown key 'n_gene' \(did you mean 'n_genes'\?\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(path, settings, message):
    with pytest.raises(InputError, match=f"^{WHERE}{message}"):
        completed(**{"path": path, **settings})


def test_sections_are_held_out_of_named_regions(path):
    found = completed(path=path, held_out="sections", section_key="slide", region_key="layer", grids=[])
    assert found["spatial"]["held_out"] == "sections"
