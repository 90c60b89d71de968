"""The columns system and features of the sheets, which the types sysvi and peakvi need."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import write_sheets
from refatlas.config.expression import check_settings
from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets, take_systems
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts, open_row
from refatlas.models.registry import mapping_settings

BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}


def loaded(folder, monkeypatch, reference, queries, kind):
    """Return what `load_sheets` makes of rows, for one model of a type; the files are empty."""
    monkeypatch.chdir(folder)
    write_sheets(folder, *([{**row, "path": "x.h5ad"} for row in rows] for rows in (reference, queries)))
    (folder / "x.h5ad").touch()
    return load_sheets(complete_config({**BASE, "models": {"mine": {"type": kind}}}))


DATASETS = [{"dataset": "h", "system": "human"}, {"dataset": "m", "system": "mouse"}]
QUERY = {"query": "q", "system": "mouse"}


@pytest.mark.parametrize(
    ("reference", "query", "said"),
    [
        ([{"dataset": "h"}], QUERY, "models: mine: type sysvi needs the system, .*, and h in reference.tsv has none"),
        (DATASETS, {"query": "q"}, "and q in queries.tsv has none; fill in the column system"),
        (DATASETS[:1], QUERY, "all datasets in reference.tsv are of human; name at least two"),
        (
            DATASETS,
            {**QUERY, "system": "rat"},
            "query 'q' is of the system 'rat', and the reference has cells of human, mouse",
        ),
    ],
)
def test_systems_that_sysvi_cannot_use_are_refused(tmp_path, monkeypatch, reference, query, said):
    with pytest.raises(InputError, match=said):
        loaded(tmp_path, monkeypatch, reference, [query], "sysvi")


def test_systems_are_no_part_of_the_rows_that_files_are_read_by(tmp_path, monkeypatch):
    datasets, queries = loaded(tmp_path, monkeypatch, DATASETS, [QUERY], "sysvi")
    assert take_systems(datasets, queries) == {"h": "human", "m": "mouse", "q": "mouse"}
    plain = loaded(tmp_path, monkeypatch, [{"dataset": "h"}, {"dataset": "m"}], [{"query": "q"}], "scvi")
    assert (datasets, queries) == plain


def test_a_mapping_depends_on_the_system_of_its_query():
    settings = {"type": "sysvi", "model": {}, "train": {}, "surgery": {}, "systems": {"q": "mouse"}}
    assert mapping_settings(settings) == {"type": "sysvi", "surgery": {}, "systems": {"q": "mouse"}}


def test_peakvi_needs_peaks(tmp_path, monkeypatch):
    rows = [{"dataset": "a", "features": "peaks"}, {"dataset": "b", "features": "genes"}]
    with pytest.raises(InputError, match=r"type peakvi is of peaks of open chromatin, and b in reference\.tsv is read"):
        loaded(tmp_path, monkeypatch, rows, [{"query": "q"}], "peakvi")
    rows[1]["features"] = "fragments"
    with pytest.raises(InputError, match=r"features is 'fragments'; write genes \(or nothing\), or peaks"):
        loaded(tmp_path, monkeypatch, rows, [{"query": "q"}], "scvi")


@pytest.fixture
def multiome(tmp_path):
    """Return the path of a file of three genes and two peaks."""
    x = sparse.csr_matrix(np.arange(20, dtype=np.float32).reshape(4, 5))
    var = pd.DataFrame({"feature_types": ["Gene Expression"] * 3 + ["Peaks"] * 2}, index=["A1", "B2", "C3", "p1", "p2"])
    ad.AnnData(x, obs=pd.DataFrame(index=list("abcd")), var=var).write_h5ad(tmp_path / "m.h5ad")
    return str(tmp_path / "m.h5ad")


def test_peaks_are_read_in_the_place_of_genes_where_a_row_asks_for_them(multiome):
    for features, names, expected in ((None, ["A1", "B2", "C3"], [0, 1, 2]), ("peaks", ["p1", "p2"], [3, 4])):
        row = {"path": multiome, "layer": "X"} | ({"features": features} if features else {})
        for counts_only in (False, True):
            file = open_row(row, counts_only)
            _, block = next(iter(file.rows.blocks()))
            assert block[0].toarray().ravel().tolist() == expected
        assert list(open_row(row).genes.index) == names


def test_peaks_are_known_by_their_names_and_asked_for_in_vain_are_refused(multiome, tmp_path):
    x = sparse.csr_matrix(np.ones((4, 2), dtype=np.float32))
    named = ad.AnnData(x, obs=pd.DataFrame(index=list("abcd")), var=pd.DataFrame(index=["chr1:10-20", "chr2:5-9"]))
    named.write_h5ad(tmp_path / "named.h5ad")
    assert list(open_counts(tmp_path / "named.h5ad", peaks=True).genes.index) == ["chr1:10-20", "chr2:5-9"]
    with pytest.raises(InputError, match=r"no gene expression; .*, or write peaks in the column features of the sheet"):
        open_counts(tmp_path / "named.h5ad")
    named.var_names = ["A1", "B2"]
    named.write_h5ad(tmp_path / "genes.h5ad")
    with pytest.raises(
        InputError, match=r"asks for peaks .* holds none, but Gene Expression \(2 features\), such as A1"
    ):
        open_counts(tmp_path / "genes.h5ad", peaks=True)


def test_a_scvi_like_drvi_has_its_size():
    models = {"d": {"type": "drvi", "model": {"n_latent": 9}}}
    config = complete_config({**BASE, "models": models, "expression": {"normalized": True, "model": "d"}})
    found = check_settings(config, "d")["model"]
    assert (found["n_latent"], found["gene_likelihood"]) == (9, "nb")
    assert "split_aggregation" not in found
