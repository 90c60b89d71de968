"""Loom files of any version are read by cells, with the whole of the counts."""

import h5py
import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.io import loom_counts
from refatlas.io.raw_counts import open_counts

RNG = np.random.default_rng(0)
# Genes × cells.
SPLICED, UNSPLICED, AMBIGUOUS = (RNG.poisson(mean, (30, 100)) for mean in (2.0, 0.5, 0.2))
TOTAL = SPLICED + UNSPLICED + AMBIGUOUS
GENES, CELLS = [f"GENE{i}" for i in range(30)], [f"s1:ACGT{i}x" for i in range(100)]


def write_loom(path, matrix=TOTAL, layers=None, version="3.0.0", gene="Gene", cell="CellID", **options) -> None:
    """Write a file as loompy does: attributes of the file are a group since version 3."""
    with h5py.File(path, "w") as file:
        if version.startswith("3"):
            file["attrs/LOOM_SPEC_VERSION"] = version
        else:
            file.attrs["LOOM_SPEC_VERSION"] = version
        keys = {"chunks": (64, 64), "compression": "gzip", "maxshape": (None, None)} | options
        keys["chunks"] = keys["chunks"] and tuple(np.minimum(keys["chunks"], matrix.shape))
        file.create_dataset("matrix", data=np.asarray(matrix, dtype="float32"), **keys)
        for name in ("layers", "row_graphs", "col_graphs", "row_attrs", "col_attrs"):
            file.create_group(name)
        for name, values in (layers or {}).items():
            file["layers"].create_dataset(name, data=np.asarray(values, dtype="uint16"), **keys)
        if gene:
            file[f"row_attrs/{gene}"] = np.array(GENES, dtype="S" if version < "3" else object)
        file["row_attrs/Accession"] = np.array([f"ENSG{i:011d}" for i in range(30)], dtype=object)
        if cell:
            file[f"col_attrs/{cell}"] = np.array(CELLS, dtype="S" if version < "3" else object)
        file["col_attrs/ClusterID"] = np.arange(100) % 3
        file["col_attrs/_tSNE"] = np.zeros((100, 2))


def dense(file, n: int = 700):
    return np.vstack([block.toarray() for _, block in file.blocks(n_values=n)])


@pytest.mark.parametrize("version", ["0.2.0", "2.0.1", "3.0.0"])
@pytest.mark.parametrize("chunks", [(64, 64), (7, 13), (1, 100), None])
def test_the_matrix_is_read_by_cells(tmp_path, version, chunks):
    options = {} if chunks else {"compression": None, "maxshape": None}
    write_loom(tmp_path / "a.loom", version=version, chunks=chunks, **options)
    file = open_counts(tmp_path / "a.loom")
    assert np.array_equal(dense(file), TOTAL.T)
    assert list(file.genes.index) == GENES
    assert list(file.cells.index) == CELLS
    assert file.cells["ClusterID"].tolist() == [i % 3 for i in range(100)]
    assert file.genes["Accession"].iloc[1] == "ENSG00000000001"


def test_wide_chunks_are_transposed(tmp_path, monkeypatch):
    monkeypatch.setattr(loom_counts, "MAX_STRIPE_BYTES", 100)
    write_loom(tmp_path / "a.loom")
    assert np.array_equal(dense(open_counts(tmp_path / "a.loom")), TOTAL.T)


@pytest.mark.parametrize(
    ("gene", "cell"), [("gene_names", "cell_names"), ("var_names", "obs_names"), ("target_name", "barcode")]
)
def test_other_names_of_names(tmp_path, gene, cell):
    write_loom(tmp_path / "a.loom", gene=gene, cell=cell)
    file = open_counts(tmp_path / "a.loom")
    assert list(file.genes.index) == GENES
    assert list(file.cells.index) == CELLS


def test_parts_are_passed_over_or_added_on_request(tmp_path):
    layers = {"ambiguous": AMBIGUOUS, "spliced": SPLICED, "unspliced": UNSPLICED}
    write_loom(tmp_path / "a.loom", layers=layers)
    file = open_counts(tmp_path / "a.loom")
    assert np.array_equal(dense(file), TOTAL.T)
    assert file.location == "matrix"
    assert "ambiguous" in " ".join(file.notes)
    assert [place["location"] for place in file.places if place["taken"]] == ["matrix"]
    added = open_counts(tmp_path / "a.loom", layer="spliced+unspliced", counts_only=True)
    assert np.array_equal(dense(added), (SPLICED + UNSPLICED).T)
    assert np.array_equal(dense(open_counts(tmp_path / "a.loom", layer="matrix")), TOTAL.T)
    with pytest.raises(InputError, match="layer 'counts' is not in the file; it has matrix, layers/ambiguous"):
        open_counts(tmp_path / "a.loom", layer="counts")


def test_a_matrix_that_is_a_part_is_taken_with_a_word_on_the_other_parts(tmp_path):
    write_loom(tmp_path / "a.loom", SPLICED, {"spliced": SPLICED, "unspliced": UNSPLICED})
    file = open_counts(tmp_path / "a.loom")
    assert np.array_equal(dense(file), SPLICED.T)
    assert "the other parts are left out; set layer to 'spliced+unspliced' for all" in " ".join(file.notes)


def test_counts_in_a_layer_beside_normalised_values(tmp_path):
    write_loom(tmp_path / "a.loom", np.log1p(TOTAL / TOTAL.sum(0) * 1e4), {"counts": TOTAL})
    file = open_counts(tmp_path / "a.loom")
    assert np.array_equal(dense(file), TOTAL.T)
    assert file.location == "layers/counts"


def test_cells_without_names_are_numbered_and_genes_without_names_refused(tmp_path):
    write_loom(tmp_path / "a.loom", cell=None)
    file = open_counts(tmp_path / "a.loom")
    assert list(file.cells.index[:2]) == ["0", "1"]
    assert "no names of cells" in " ".join(file.notes)
    write_loom(tmp_path / "b.loom")
    with h5py.File(tmp_path / "b.loom", "a") as stored:
        del stored["row_attrs/Gene"], stored["row_attrs/Accession"]
        stored["row_attrs/Length"] = np.ones(30)
    with pytest.raises(InputError, match="without names of genes; its row attributes are Length"):
        open_counts(tmp_path / "b.loom")


def test_metadata_go_with_a_loom(tmp_path):
    write_loom(tmp_path / "a.loom")
    pd.DataFrame({"batch": "b"}, index=CELLS).to_csv(tmp_path / "cells.csv")
    assert set(open_counts(tmp_path / "a.loom", metadata=str(tmp_path / "cells.csv")).cells["batch"]) == {"b"}
