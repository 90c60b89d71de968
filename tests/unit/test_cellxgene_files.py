"""Files as CELLxGENE publishes them, read with no further column named than those of batch and label."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import sheet_row
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.genes import gene_table

N_CELLS, N_GENES = 40, 120
TERMS = {"B cell": "CL:0000236", "T cell": "CL:0000084", "unknown": "unknown"}


def published(sparse_kind: str = "csr") -> ad.AnnData:
    """Return cells and genes as of schema 5: counts in raw, logarithms in X, ids as names of the genes."""
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.8, 2.0, (N_CELLS, N_GENES))).astype(np.float32)
    ids = [*(f"ENSG00000{i:06}" for i in range(N_GENES - 2)), "ENSSASG00005000002", "ERCC-00002"]
    # Genes without a symbol have their id in its place.
    symbols = [
        *(f"GENE{i}" for i in range(N_GENES - 12)),
        *ids[N_GENES - 12 : -2],
        "S_ENSSASG00005000002",
        "ERCC-00002",
    ]
    var = pd.DataFrame(
        {
            "feature_name": pd.Categorical(symbols),
            "feature_reference": pd.Categorical(["NCBITaxon:9606"] * (N_GENES - 2) + ["NCBITaxon:2697049"] * 2),
            "feature_biotype": pd.Categorical(["gene"] * (N_GENES - 1) + ["spike-in"]),
            "feature_length": pd.Categorical([str(500 + i) for i in range(N_GENES)]),
            "feature_type": pd.Categorical(["protein_coding"] * (N_GENES - 10) + ["lncRNA"] * 10),
        },
        index=ids,
    )
    types = ["unknown", "T cell", *["B cell", "T cell"] * (N_CELLS // 2 - 1)]
    obs = pd.DataFrame(
        {
            "assay_ontology_term_id": pd.Categorical(["EFO:0009922"] * N_CELLS),
            "cell_type_ontology_term_id": pd.Categorical([TERMS[name] for name in types]),
            "donor_id": pd.Categorical([f"donor{i % 2}" for i in range(N_CELLS)]),
            "is_primary_data": [True] * N_CELLS,
            "suspension_type": pd.Categorical(["cell"] * N_CELLS),
            "tissue_type": pd.Categorical(["tissue"] * N_CELLS),
            "cell_type": pd.Categorical(types),
            "assay": pd.Categorical(["10x 3' v3"] * N_CELLS),
            "observation_joinid": [f"join{i}" for i in range(N_CELLS)],
        },
        index=[f"AAAC{i:04}-1" for i in range(N_CELLS)],
    )
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    filtered = np.arange(N_GENES) % 3 == 0
    logged[:, filtered] = 0
    made = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[sparse_kind]
    data = ad.AnnData(made(counts), obs=obs, var=var)
    data.raw = data
    data.X = made(logged)
    # Schema: of X alone, not of raw.
    data.var["feature_is_filtered"] = filtered
    data.uns |= {"schema_version": "5.2.0", "title": "a dataset", "organism_ontology_term_id": "NCBITaxon:9606"}
    data.obsm["X_umap"] = random.normal(size=(N_CELLS, 2)).astype(np.float32)
    return data


@pytest.fixture(params=["csr", "csc", "dense"])
def path(request, tmp_path):
    published(request.param).write_h5ad(tmp_path / "a.h5ad")
    return tmp_path / "a.h5ad"


def test_counts_are_those_of_raw_with_all_genes_but_no_spike_ins(path):
    file = open_row(sheet_row(path))
    assert file.location == "raw/X"
    counts = np.concatenate([block.toarray() for _, block in file.rows.blocks()])
    assert (counts == published("dense").raw.X[:, :-1]).all()


def test_genes_are_matched_by_id_and_named_by_feature_name(path):
    genes = gene_table(open_row(sheet_row(path)))
    expected = published("dense").raw.var.iloc[:-1]
    assert genes["gene_id"].tolist() == expected.index.tolist()
    assert genes["symbol"].tolist() == expected["feature_name"].astype(str).tolist()


def test_batches_and_labels_need_their_names_alone(path, config):
    row = sheet_row(path, batch_key="donor_id", batch_is_default=False)
    found = scan_file(open_row(row), "a", row, config["qc"], config["unlabeled"], 1)
    assert found.summary["batches"] == {"a:donor0": 20, "a:donor1": 20}
    assert found.cells["label"].value_counts().to_dict() == {"B cell": 19, "T cell": 20}
    assert found.summary["n_cells"] == N_CELLS
