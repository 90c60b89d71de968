"""What models report of proteins that were measured or imputed."""

import anndata as ad
import numpy as np
import pandas as pd

from refatlas.models import denoised_proteins
from refatlas.models.denoised_proteins import (
    UNKNOWN,
    attach_known,
    batch_sizes,
    denoised_tables,
    known_proteins,
    known_table,
    largest,
    measured_proteins,
    protein_facts,
    shared_batches,
)
from refatlas.models.hidden_proteins import HIDDEN, with_hidden_proteins


def measured_counts(values, batches):
    counts = ad.AnnData(
        np.zeros((len(values), 1)), obs=pd.DataFrame({"batch": batches}, index=[f"c{i}" for i in range(len(values))])
    )
    counts.obsm["proteins"], counts.uns["protein_names"] = (
        np.array(values, dtype=np.float32),
        np.array(["P", "Q"], dtype=object),
    )
    return counts


def test_what_was_measured_follows_from_the_counts_of_each_batch():
    reference = measured_counts([[1, 0], [0, 0], [2, 3], [0, 0]], ["x", "x", "y", "x"])
    query = measured_counts([[0, 0], [0, 4]], ["q", "q"])
    assert measured_proteins(reference).to_numpy().tolist() == [[True, False], [True, True]]
    facts = protein_facts(query, reference)
    assert facts.loc["P"].tolist() == [1, 1, 0, "imputed"]
    assert facts.loc["Q"].tolist() == [0.25, 0.5, 1, "denoised"]
    assert shared_batches(*known_proteins(reference)) == [(["x", "y"], ["P"]), (["y"], ["Q"])]


def test_at_most_ten_batches_are_conditioned_on_the_largest():
    batches = pd.Series([f"b{i:02d}" for i in range(12) for _ in range(i + 1)])
    assert largest(batch_sizes(batches), [f"b{i:02d}" for i in range(12)]) == [f"b{i:02d}" for i in range(11, 1, -1)]


def test_a_sample_knows_what_the_whole_reference_measured(tmp_path):
    # By cells of the sample, y were the larger batch, and nothing measured Q.
    values = [[1, 0]] * 5 + [[0, 0], [2, 0], [2, 3]]
    reference = measured_counts(values, ["x"] * 5 + ["y"] * 3)
    known_table(reference).to_parquet(tmp_path / "proteins.parquet")
    sample = reference[[0, 5, 6]].copy()
    assert largest(known_proteins(sample).sizes, ["x", "y"]) == ["y", "x"]
    attach_known(sample, str(tmp_path / "proteins.parquet"))
    assert largest(known_proteins(sample).sizes, ["x", "y"]) == ["x", "y"]
    assert shared_batches(*known_proteins(sample)) == [(["x", "y"], ["P"]), (["y"], ["Q"])]
    query = measured_counts([[1, 1]], ["q"])
    pd.testing.assert_frame_equal(protein_facts(query, sample), protein_facts(query, reference))
    assert protein_facts(query, sample).loc["Q"].tolist() == [3 / 8, 0.5, 1, "denoised"]


def test_a_protein_that_no_batch_measured_has_no_values(monkeypatch):
    def denoised(model, counts, names, batches, outputs):
        return pd.DataFrame(7, index=counts.obs_names.rename("cell"), columns=names, dtype=np.float32)

    monkeypatch.setattr(denoised_proteins, "_denoised_proteins", denoised)
    reference = measured_counts([[0, 1], [0, 2]], ["x", "x"])
    found = denoised_tables(None, measured_counts([[5, 1]], ["q"]), reference, {"rna": False, "n_samples": 1})
    assert found["proteins"].isna().to_numpy().tolist() == [[True, False]]
    assert (found["proteins"].index.name, set(found["proteins"].dtypes)) == ("cell", {np.dtype("float32")})
    assert found["protein_facts"]["values"].to_dict() == {"P": UNKNOWN, "Q": "denoised"}
    nothing = measured_counts([[0, 0]], ["x"])
    assert denoised_tables(None, nothing, nothing, {"rna": False, "n_samples": 1})["proteins"].isna().all(axis=None)


def test_a_share_of_the_cells_with_proteins_comes_again_without_them():
    counts = measured_counts([[1, 0], [0, 0], [2, 3], [4, 0], [0, 5]], ["x", "z", "y", "x", "y"])
    shown = with_hidden_proteins(counts, 0.5, seed=0)
    again = shown[counts.n_obs :]
    assert again.n_obs == 2
    assert not again.obsm["proteins"].any()
    assert set(again.obs["batch"]) <= {f"x{HIDDEN}", f"y{HIDDEN}"}
    assert np.array_equal(shown.obsm["proteins"][: counts.n_obs], counts.obsm["proteins"])
    assert list(shown.uns["protein_names"]) == ["P", "Q"]
    assert with_hidden_proteins(counts, 0.0, seed=0) is counts
    assert counts.obsm["proteins"][0, 0] == 1
