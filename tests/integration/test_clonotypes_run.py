"""Clonotypes of real T cells (screp): of cell columns, and the same by Cell Ranger's tables of single samples."""

import anndata as ad
import pandas as pd
import pytest

from conftest import snakemake, write_sheets

pytestmark = pytest.mark.slow
CHAINS = {"TRA": "alpha", "TRB": "beta"}
SETTINGS = {"alpha": "TRA_cdr3", "beta": "TRB_cdr3", "alpha_v": "TRA_v_gene", "beta_v": "TRB_v_gene"}
QUERIES = ("P20B", "P20L")
FEW = {"max_epochs": 1}
TCR = {"type": "mvtcr", "model": {"n_hidden": 16, "n_amino_acid_latent": 2}, "train": FEW, "surgery": FEW}
MODELS = {"linear": {"type": "linear"}, "tcr": TCR}


def contigs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells' chains as Cell Ranger's contig annotations, with the barcodes of one sample."""
    rows = [
        {
            "barcode": name.split("_")[1],
            "is_cell": "True",
            "contig_id": f"{name}_{locus}",
            "high_confidence": "True",
            "chain": locus,
            "v_gene": row[f"{locus}_v_gene"],
            "d_gene": "None",
            "j_gene": row[f"{locus}_j_gene"],
            "c_gene": f"{locus}C",
            "productive": "True",
            "cdr3": row[f"{locus}_cdr3"],
            "cdr3_nt": "",
            "reads": 10,
            "umis": 3,
        }
        for name, row in cells.iterrows()
        for locus in CHAINS
        if str(row[f"{locus}_cdr3"]) != "None"
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """The folder of a run without labels, and the cells: reference by columns, query by tables of its samples."""
    folder, cells = tmp_path_factory.mktemp("clonotypes"), ad.read_h5ad(real("screp_500c_2000g_tcr.h5ad"))
    is_query = cells.obs["batch"].isin(QUERIES).to_numpy()
    cells[~is_query].copy().write_h5ad(folder / "r.h5ad")
    query = cells[is_query].copy()
    for batch in QUERIES:
        contigs(query.obs[query.obs["batch"] == batch]).to_csv(folder / f"{batch}.csv.gz", index=False)
    query.obs = query.obs[["batch"]]
    query.write_h5ad(folder / "q.h5ad")
    tables = ",".join(f"{batch}={batch}.csv.gz" for batch in QUERIES)
    reference, queries = [{"dataset": "r", "path": "r.h5ad"}], [{"query": "q", "path": "q.h5ad", "airr": tables}]
    # Without labels, clonotypes wait for no model.
    write_sheets(
        folder,
        reference,
        queries,
        label_key="-",
        models=MODELS,
        receptors=SETTINGS,
        genes={"n_top": 200},
    )
    places = [f"results/{where}/receptor_models/tcr/latent.parquet" for where in ("reference", "queries/q")]
    snakemake(folder, "--cores", "2", "--", "results/report/clonotypes.html", *places)
    return folder, cells.obs


def test_every_pair_of_the_file_is_found(run):
    folder, obs = run
    own = pd.read_parquet(folder / "results/reference/clonotype_cells.parquet")
    query = pd.read_parquet(folder / "results/queries/q/clonotype_cells.parquet")
    assert len(own) + len(query) == len(obs) == 500
    assert (own["status"] == "paired").sum() + (query["status"] == "paired").sum() == obs["has_paired_tcr"].sum() == 306
    by_hand = obs[obs["has_paired_tcr"] & obs["batch"].isin(QUERIES)]
    sizes = by_hand.groupby(["TRA_cdr3", "TRB_cdr3"], observed=True).size()
    table = pd.read_csv(folder / "results/queries/q/clonotypes.csv").set_index(["cdr3_alpha", "cdr3_beta"])
    assert table["n_cells"].to_dict() == sizes.to_dict()
    # Different people: no clonotype of the query is in the reference.
    assert (table["reference_cells"] == 0).all()
    page = (folder / "results/report/clonotypes.html").read_text()
    assert "CVVSDNTGGFKTIF" in page


def test_a_model_of_pairs_has_a_place_for_each_of_them_alone(run):
    folder, _ = run
    for where in ("reference", "queries/q"):
        cells = pd.read_parquet(folder / f"results/{where}/clonotype_cells.parquet")
        places = pd.read_parquet(folder / f"results/{where}/receptor_models/tcr/latent.parquet")
        assert set(places.index) == set(cells.index[cells["status"] == "paired"])
        assert places.notna().all(axis=None)
