"""Proteins are the same from every format; other values are refused; names are matched."""

import gzip

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import sheet_row, small_counts
from refatlas.errors import InputError
from refatlas.io.model_counts import counts_writer, protein_names, read_counts
from refatlas.io.raw_counts import open_counts
from refatlas.prepare import demo
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.proteins import (
    align_proteins,
    describe_protein_match,
    match_proteins,
    merge_proteins,
    read_proteins,
    select_proteins,
)

NAMES = ["CD3", "CD4_TotalSeqB", "HLA-A/B"]


@pytest.fixture
def counts():
    """Counts of RNA with three proteins in an obsm."""
    counts = small_counts()
    values = np.random.default_rng(1).poisson(20, (counts.n_obs, 3)).astype(np.float64)
    counts.obsm["adt"] = pd.DataFrame(values, index=counts.obs_names, columns=["CD3", "CD4", "CD8"])
    return counts


def read(path, key, batches=None, **keys):
    file = open_counts(str(path))
    batches = np.repeat(["b1", "b2"], 30) if batches is None else batches
    return read_proteins(file, sheet_row(path, protein_key=key, protein_is_default=False, **keys), batches)


@pytest.mark.parametrize("kind", ["frame", "array", "sparse"])
@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_an_obsm_of_every_kind(tmp_path, counts, kind, ending):
    values = counts.obsm["adt"].to_numpy()
    if kind != "frame":
        counts.obsm["adt"] = values if kind == "array" else sparse.csr_matrix(values)
        counts.uns["protein_names"] = np.array(["CD3", "CD4", "CD8"], dtype=object)
    getattr(counts, f"write_{ending}")(tmp_path / f"a.{ending}")
    table = read(tmp_path / f"a.{ending}", "adt")
    assert np.array_equal(table.to_numpy(), values)
    assert (list(table.columns), list(table.index)) == (["CD3", "CD4", "CD8"], list(counts.obs_names))


def test_an_array_without_names_is_refused(tmp_path, counts):
    counts.obsm["adt"] = counts.obsm["adt"].to_numpy()
    counts.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=r"obsm 'adt' of shape \(60, 3\) has no names of proteins.*uns\['adt_names'\]"):
        read(tmp_path / "a.h5ad", "adt")


def write_h5mu(path, rna, proteins):
    """Write two modalities, and a cell column of the whole."""
    import mudata

    whole = mudata.MuData({"rna": rna, "prot": proteins})
    whole.obs["donor"] = "donor_" + whole.obs_names.str[4:]
    whole.write(path)


def test_a_modality_of_an_h5mu_in_another_order_of_cells(tmp_path, counts):
    proteins = ad.AnnData(
        sparse.csr_matrix(counts.obsm["adt"].to_numpy()),
        obs=pd.DataFrame(index=counts.obs_names),
        var=pd.DataFrame(index=NAMES),
    )
    rna = ad.AnnData(counts.X, obs=counts.obs, var=counts.var)
    write_h5mu(tmp_path / "a.h5mu", rna, proteins[::-1].copy())
    file = open_counts(str(tmp_path / "a.h5mu"))
    assert file.location == "mod/rna/X"
    assert list(file.cells.columns[:2]) == ["batch", "cell_type"]
    assert list(file.cells["donor"]) == [f"donor_{i}" for i in range(60)]
    assert np.array_equal(np.vstack([b.toarray() for _, b in file.blocks()]), counts.X.toarray())
    table = read(tmp_path / "a.h5mu", "prot")
    assert np.array_equal(table.to_numpy(), counts.obsm["adt"].to_numpy())
    assert list(table.columns) == NAMES


def test_cells_that_a_modality_lacks_are_a_whole_batch_or_refused(tmp_path, counts):
    proteins = ad.AnnData(
        counts.obsm["adt"].to_numpy()[:30], obs=pd.DataFrame(index=counts.obs_names[:30]), var=pd.DataFrame(index=NAMES)
    )
    write_h5mu(tmp_path / "a.h5mu", ad.AnnData(counts.X, obs=counts.obs, var=counts.var), proteins)
    assert (read(tmp_path / "a.h5mu", "prot").to_numpy()[30:] == 0).all()
    with pytest.raises(InputError, match=r"50% of the cells of batch all have no value of protein 'CD3'"):
        read(tmp_path / "a.h5mu", "prot", batches=np.repeat("all", 60))


def test_an_h5mu_without_rna_is_refused(tmp_path, counts):
    from anndata.io import write_elem

    with h5py.File(tmp_path / "a.h5mu", "w") as file:
        write_elem(file.create_group("mod"), "atac", counts)
    with pytest.raises(InputError, match="atac"):
        open_counts(str(tmp_path / "a.h5mu"))


def write_10x(folder, counts, kind):
    """Write a 10x file whose last three features are antibodies; return its path."""
    features = pd.DataFrame(
        {
            "gene_id": [f"ENSG{i:011d}" for i in range(77)] + ["a1", "a2", "a3"],
            "symbol": [*counts.var_names[:77], *NAMES],
        }
    )
    kinds = np.array(["Gene Expression"] * 77 + ["Antibody Capture"] * 3)
    if kind == "h5":
        path = folder / "a.h5"
        demo.write_10x_h5(str(path), counts.X, list(counts.obs_names), features)
        with h5py.File(path, "a") as file:
            del file["matrix/features/feature_type"]
            file["matrix/features/feature_type"] = kinds.astype("S")
        return path
    path = folder / "mtx"
    demo.write_10x_mtx(path, counts.X, list(counts.obs_names), features[["symbol"]])
    with gzip.open(path / "features.tsv.gz", "wt") as file:
        file.writelines(
            f"{row.gene_id}\t{row.symbol}\t{k}\n" for row, k in zip(features.itertuples(), kinds, strict=True)
        )
    return path


@pytest.mark.parametrize("kind", ["h5", "mtx"])
def test_antibodies_of_a_10x_file(tmp_path, counts, kind):
    path = write_10x(tmp_path, counts, kind)
    table = read(path, "Antibody Capture")
    assert np.array_equal(table.to_numpy(), counts.X.toarray()[:, 77:])
    assert list(table.columns) == NAMES
    file = open_counts(str(path))
    assert len(file.genes) == 77
    assert np.array_equal(np.vstack([b.toarray() for _, b in file.blocks(n_values=500)]), counts.X.toarray()[:, :77])
    assert "features: 77 Gene Expression, 3 Antibody Capture" in file.notes


def test_antibodies_among_the_genes_of_an_h5ad_are_no_genes(tmp_path, counts):
    counts.var["feature_types"] = ["Gene Expression"] * 78 + ["Antibody Capture"] * 2
    counts.write_h5ad(tmp_path / "a.h5ad")
    assert len(open_counts(str(tmp_path / "a.h5ad")).genes) == 78
    assert np.array_equal(read(tmp_path / "a.h5ad", "Antibody Capture").to_numpy(), counts.X.toarray()[:, 78:])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            0.5,
            r"0.5 is not an integer \(cell 'cell3', protein 'CD3'; 1 such values\).*name the raw counts as protein_key",
        ),
        (-1, r"-1 is negative"),
        (np.inf, r"inf is infinite"),
        (np.nan, r"3% of the cells of batch b1 have no value of protein 'CD3'"),
    ],
)
def test_values_that_are_no_counts_are_refused(tmp_path, counts, value, said):
    counts.obsm["adt"].iloc[3, 0] = value
    counts.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=said):
        read(tmp_path / "a.h5ad", "adt")


def test_a_batch_without_any_value_did_not_measure_the_protein(tmp_path, counts):
    counts.obsm["adt"].iloc[30:, 1] = np.nan
    counts.write_h5ad(tmp_path / "a.h5ad")
    table = read(tmp_path / "a.h5ad", "adt")
    assert (table["CD4"].to_numpy()[30:] == 0).all()
    assert (table["CD4"].to_numpy()[:30] > 0).any()


def test_an_absent_key_is_refused_with_what_there_is_unless_it_is_the_default(tmp_path, counts):
    counts.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=r"no proteins 'protein'; the file has adt; set protein_key"):
        read(tmp_path / "a.h5ad", "protein")
    file = open_counts(str(tmp_path / "a.h5ad"))
    assert read_proteins(file, sheet_row("", protein_key="protein"), np.repeat("b", 60)).shape == (60, 0)
    assert "proteins: no 'protein' in the file, so none" in file.notes
    assert read(tmp_path / "a.h5ad", None).shape == (60, 0)


def test_a_scan_checks_proteins_and_names_them(tmp_path, counts, config):
    counts.write_h5ad(tmp_path / "a.h5ad")
    row = sheet_row(tmp_path / "a.h5ad", protein_key="adt")
    found = scan_file(open_counts(row["path"]), "d", row, config["qc"], config["unlabeled"])
    assert found.summary["proteins"] == ["CD3", "CD4", "CD8"]


def test_names_match_without_case_and_tag_and_nothing_else():
    known = ["CD3", "CD4_TotalSeqB", "CD45RA", "PD-1", "cd8"]
    assert list(match_proteins(["cd3", "CD4", "CD45", "PD1", "CD8_TotalSeqC", "CD3"], known)) == [-1, 1, -1, -1, 4, 0]
    assert list(match_proteins(["CD3_TotalSeqB", "CD3_TotalSeqC"], ["CD3"])) == [-1, -1]
    assert list(match_proteins(["CD3"], [])) == [-1]


def test_proteins_of_several_files_are_one_table_with_zeros_where_not_measured():
    a = pd.DataFrame([[1, 2], [3, 4]], index=["a1", "a2"], columns=["CD3", "CD4"])
    b = pd.DataFrame([[5, 6, 0]], index=["b1"], columns=["CD4_TotalSeqA", "CD8", "CD99"])
    united = select_proteins(merge_proteins([a, b, pd.DataFrame(index=["c1"])]), {})
    assert list(united.columns) == ["CD3", "CD4", "CD8"]
    assert united.loc["b1"].tolist() == [0, 5, 6]
    assert united.loc["c1"].tolist() == [0, 0, 0]
    assert align_proteins(b, ["CD8", "CD3"]).loc["b1"].tolist() == [6, 0]
    assert merge_proteins([pd.DataFrame(index=["c1"])]).shape == (1, 0)


def test_a_protein_keeps_the_place_that_it_found_when_a_later_file_has_another_name_for_it():
    tables = [
        pd.DataFrame([values], index=[f"c{i}"], columns=names)
        for i, (names, values) in enumerate(
            [(["CD3_TotalSeqA"], [4]), (["CD3_TotalSeqB"], [5]), (["CD3", "CD3_TotalSeqA"], [6, 7])]
        )
    ]
    united = merge_proteins(tables)
    assert united["CD3_TotalSeqA"].tolist() == [4, 5, 7]
    assert united["CD3"].tolist() == [0, 0, 6]


def test_a_match_in_words():
    said = describe_protein_match(["cd3", "CD99"], ["CD3", "CD4"])
    assert said == (
        "1 of the reference's 2 proteins measured; matched under another name: cd3 as CD3; to be imputed: CD4;"
        " not in the reference: CD99"
    )


def test_stored_proteins_keep_their_names(tmp_path):
    genes = pd.DataFrame({"symbol": ["G1"], "selected": True}, index=["G1"])
    proteins = pd.DataFrame([[1, 0, 2]], columns=NAMES)
    for name, wanted in (("with", proteins), ("without", pd.DataFrame(index=[0]))):
        with counts_writer(str(tmp_path / f"{name}.h5ad"), pd.DataFrame({"batch": ["b"]}, index=["c"]), genes) as out:
            out.append(sparse.csr_matrix([[1.0]]))
            out.add_proteins(wanted)
    assert protein_names(tmp_path / "with.h5ad") == NAMES
    assert read_counts(tmp_path / "with.h5ad").obsm["proteins"].tolist() == [[1, 0, 2]]
    assert protein_names(tmp_path / "without.h5ad") == protein_names(None) == []
