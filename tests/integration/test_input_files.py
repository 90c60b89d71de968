"""Cells in the files of several tools give the same labels as in plain files, and the screen says what was read."""

import gzip
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from conftest import snakemake, write_sheets

CONFIG = {
    "models": {"linear": {"type": "linear"}},
    "evaluation": {"folds": 0},
    "genes": {"n_top": 200},
    "clusters": {"resolutions": []},
}
DONORS = {"a": "1015", "b": "1016", "query": "1039"}


def donor_cells(path: str) -> dict[str, ad.AnnData]:
    """Return 400 cells of three of Kang's donors, with integer counts of 500 genes."""
    data = ad.read_h5ad(path)
    found = {}
    for name, donor in DONORS.items():
        part = data[(data.obs["batch"].astype(str) == donor).to_numpy()][:400, :500].copy()
        part.obs = part.obs[["batch", "cell_type"]].astype(str)
        part.var = part.var[[]]
        part.X = sparse.csr_matrix(part.X).astype(np.float32)
        found[name] = ad.AnnData(part.X, obs=part.obs, var=part.var)
    return found


def write_velocyto(cells: ad.AnnData, path) -> None:
    """Write cells with log1p values in X, and the counts in layers as velocyto and scVelo name them."""
    counts = cells.X.toarray().astype(int)
    spliced = np.random.default_rng(0).binomial(counts, 0.7)
    layers = {"ambiguous": counts // 20, "matrix": counts, "spliced": spliced, "unspliced": counts - spliced}
    written = ad.AnnData(np.log1p(cells.X), obs=cells.obs, var=cells.var)
    for name, values in layers.items():
        written.layers[name] = sparse.csr_matrix(values.astype(np.float32))
    written.write_h5ad(path)


def write_kb(cells: ad.AnnData, folder) -> None:
    """Write a folder of kb-python, cells × genes, and the columns of cells as R's write.table does."""
    folder.mkdir()
    io.mmwrite(folder / "cells_x_genes.mtx", cells.X.astype(int).tocoo())
    pd.Series(cells.obs_names).to_csv(folder / "cells_x_genes.barcodes.txt", index=False, header=False)
    ids = [f"ENSG{i:011d}" for i in range(cells.n_vars)]
    pd.Series(ids).to_csv(folder / "cells_x_genes.genes.txt", index=False, header=False)
    pd.Series(cells.var_names).to_csv(folder / "cells_x_genes.genes.names.txt", index=False, header=False)
    lines = ['"batch" "cell_type"']
    lines += [f'"{name}" "{batch}" "{label}"' for name, batch, label in cells.obs[["batch", "cell_type"]].itertuples()]
    folder.with_suffix(".txt").write_text("\n".join(lines) + "\n")


def run_labels(folder, datasets: list[dict], query: dict):
    """Run the workflow up to labels; return its output and the labels of the query."""
    write_sheets(folder, datasets, [{"query": "query", "label_key": "cell_type", **query}], **CONFIG)
    run = snakemake(folder, "--", "labels")
    return run.stdout + run.stderr, pd.read_csv(folder / "results/queries/query/labels.csv")


@pytest.fixture(scope="module")
def both(real, tmp_path_factory):
    cells = donor_cells(real("kang_ctrl_8donors_1287g.h5ad"))
    plain, awkward = (tmp_path_factory.mktemp(name) for name in ("plain", "awkward"))
    for name, part in cells.items():
        part.write_h5ad(plain / f"{name}.h5ad")
    found = run_labels(plain, [{"dataset": n, "path": f"{n}.h5ad"} for n in "ab"], {"path": "query.h5ad"})
    write_velocyto(cells["a"], awkward / "a.h5ad")
    write_kb(cells["b"], awkward / "b")
    with gzip.open(awkward / "query.h5ad.gz", "wb") as packed, (plain / "query.h5ad").open("rb") as file:
        shutil.copyfileobj(file, packed)
    rows = [{"dataset": "a", "path": "a.h5ad"}, {"dataset": "b", "path": "b", "metadata": "b.txt"}]
    return found, run_labels(awkward, rows, {"path": "query.h5ad.gz"})


def test_labels_are_those_of_plain_files(both):
    (_, plain), (_, awkward) = both
    assert plain["label"].nunique() > 3
    pd.testing.assert_frame_equal(plain, awkward)


def test_the_screen_says_what_was_read(both):
    _, (screen, _) = both
    lines = screen.splitlines()
    (velocyto,) = (line for line in lines if line.startswith("dataset a: a.h5ad"))
    assert "counts: layers/matrix (passed over: X, layers/ambiguous, layers/spliced, layers/unspliced)" in velocyto
    assert "of column 'cell_type'" in velocyto
    assert any(line.startswith("dataset b: b (") and "500 genes" in line for line in lines)
    assert any(line.startswith("query query: query.h5ad.gz (") for line in lines)
    assert any(line.startswith("genes: 500 in 2 datasets together, 500 in all of them") for line in lines)
