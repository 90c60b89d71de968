"""Synthetic counts of the measurements do not depend on blocks, and have the density asked for."""

import anndata as ad
import numpy as np
import pytest

import synthetic


def test_synthetic_counts_do_not_depend_on_blocks(tmp_path):
    for block in (37, 1000):
        synthetic.write(str(tmp_path / f"{block}.h5ad"), synthetic.recipe(500, 300, 3, 0.1, seed=4), block)
    assert (tmp_path / "37.h5ad").read_bytes() == (tmp_path / "1000.h5ad").read_bytes()
    synthetic.write(str(tmp_path / "other.h5ad"), synthetic.recipe(500, 300, 3, 0.1, seed=5))
    assert (tmp_path / "37.h5ad").read_bytes() != (tmp_path / "other.h5ad").read_bytes()


@pytest.mark.parametrize("density", [0.05, 0.3])
def test_synthetic_counts_are_counts_of_the_density_asked_for(tmp_path, density):
    synthetic.write(str(tmp_path / "a.h5ad"), synthetic.recipe(3000, 500, 4, density))
    made = ad.read_h5ad(tmp_path / "a.h5ad")
    assert made.X.nnz / made.n_obs / made.n_vars == pytest.approx(density, rel=0.1)
    assert (made.X.data == np.rint(made.X.data)).all()
    assert made.X.data.min() >= 1
    assert made.X.has_canonical_format
    assert made.obs["batch"].value_counts().tolist() == [750] * 4
    x = made.X.toarray()
    assert (x.var(0) > 1.5 * x.mean(0))[x.mean(0) > 0.2].mean() > 0.9
    means = np.stack(
        [x[(made.obs["batch"] == batch).to_numpy()].mean(0) for batch in made.obs["batch"].cat.categories]
    )[:, x.mean(0) > 0.2]
    assert np.log(means).std(axis=0).mean() == pytest.approx(synthetic.BATCH_SPREAD, rel=0.4)
