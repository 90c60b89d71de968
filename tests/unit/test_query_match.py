"""The matched baseline: what a laboratory changes in all cells does not change their labels."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.logistic import apply_logistic, fit_logistic
from refatlas.transfer.matched_reference import GENES_STRENGTH
from refatlas.transfer.novelty_measures import MEASURES
from refatlas.transfer.query_match import MIN_BATCH_CELLS, drawn_reference, match_query, match_to_reference
from simulated_cells import N_GENES, profiles, simulated_cells

SIZES = dict.fromkeys("ABCD", 80)
# Types that differ little, so that a difference between laboratories can be taken for one between types.
STRENGTH = 0.7


def markers(name: str) -> np.ndarray:
    """Return the mask of a type's own genes."""
    shares = profiles("ABCD")
    return shares[name] > 1.5 * shares["A" if name != "A" else "B"]


def other_laboratory(measured: np.ndarray | None = None, **made) -> tuple:
    """Return counts and types of a query, with zeros for the genes that it has not measured."""
    counts, types = simulated_cells(SIZES, 1, **{"depth": 3000, "strength": STRENGTH, **made})
    counts = counts if measured is None else counts.multiply(measured).tocsr().astype(np.float32)
    return counts, types, np.ones(N_GENES, dtype=bool) if measured is None else measured


QUERIES = {
    "depth": lambda: other_laboratory(depth=250),
    "shift": lambda: other_laboratory(factors=np.where(markers("A"), 4.0, 1.0)),
    "genes": lambda: other_laboratory(measured=np.random.default_rng(5).random(N_GENES) < 0.5),
}


@pytest.fixture(scope="module")
def reference():
    return simulated_cells(SIZES, 0, depth=5000, strength=STRENGTH)


def unmatched(reference, counts) -> np.ndarray:
    """Return labels by a regression that is fitted to the reference as it is."""
    arrays = fit_logistic(log_normalized(reference[0]), pd.Series(reference[1]), GENES_STRENGTH)
    return arrays["labels"][apply_logistic(arrays, log_normalized(counts)).argmax(axis=1)]


@pytest.mark.parametrize(
    ("difference", "accuracy", "gain"), [("depth", 0.85, 0.05), ("shift", 0.98, 0.25), ("genes", 0.98, 0.25)]
)
def test_differences_between_laboratories_are_matched(reference, difference, accuracy, gain):
    counts, types, measured = QUERIES[difference]()
    found = match_query(*reference, counts, np.repeat("b", len(types)), measured, 0, agreement=False)
    share = counts.sum(axis=1) / reference[0][:, measured].sum(axis=1).mean()
    assert found.depth_ratio == pytest.approx(np.median(np.asarray(share)), rel=0.02)
    reached = (found.given() == types).mean()
    assert reached >= accuracy
    assert reached - (unmatched(reference, counts) == types).mean() >= gain
    assert found.agreement == {}


def test_each_batch_has_a_shift_of_its_own(reference):
    parts = [other_laboratory(factors=np.where(markers(name), 4.0, 1.0)) for name in "AB"]
    counts, types = sparse.vstack([part[0] for part in parts]).tocsr(), np.concatenate([part[1] for part in parts])
    batches = np.repeat(["a", "b"], len(parts[0][1]))
    found = match_query(*reference, counts, batches, parts[0][2], 0, agreement=False)
    assert (found.given() == types).mean() > 0.98


@pytest.fixture(scope="module")
def files(reference):
    """A reference with unlabelled cells, and a query with a batch that is too small to be judged."""
    counts, types = simulated_cells(dict.fromkeys("ABCD", 30), 2, depth=3000, strength=STRENGTH)
    labels = np.where(np.arange(len(reference[1])) % 5 == 0, None, reference[1])
    stored = ad.AnnData(reference[0], obs=pd.DataFrame({"label": labels}, index=[f"r{i}" for i in range(len(labels))]))
    batches = np.where(np.arange(120) % 10 == 0, "small", "large")
    query = ad.AnnData(counts, obs=pd.DataFrame({"batch": batches}, index=[f"q{i}" for i in range(120)]))
    query.var["measured"] = True
    return stored, query, types


def test_labels_measures_and_agreement_of_a_query(files):
    reference, query, types = files
    found = match_to_reference(reference, query, seed=0)
    assert set(found.agreement) == {"", "large"}
    assert (query.obs["batch"] == "small").sum() < MIN_BATCH_CELLS
    table = found.label_table(query.obs_names)
    assert table.groupby("source").size().to_dict() == {"classifier": 120, "knn": 120, "logistic": 120}
    assert (table["label"].to_numpy() == np.tile(types, 3)).mean() > 0.95
    measures = found.measures_table(query.obs_names)
    assert list(measures.columns) == [*MEASURES, "given", "kept"]
    assert measures.index.tolist() == query.obs_names.tolist()
    assert (measures["given"].to_numpy() == types).mean() > 0.98
    again = match_to_reference(reference, query, seed=0)
    assert again.agreement == found.agreement
    pd.testing.assert_frame_equal(again.measures, found.measures)


def test_only_labelled_cells_of_the_reference_are_drawn(files):
    counts, labels = drawn_reference(files[0], seed=0)
    assert counts.shape[0] == len(labels) == files[0].obs["label"].notna().sum()
    assert set(labels) == set("ABCD")


def droplets(kind: str, n: int) -> sparse.csr_matrix:
    """Return droplets without a cell: with few counts of the medium, or with none."""
    shares = np.mean(list(profiles("ABCD").values()), axis=0)
    counts = np.random.default_rng(7).poisson(shares / shares.sum() * {"few": 2.0, "none": 0.0}[kind], (n, N_GENES))
    return sparse.csr_matrix(counts.astype(np.float32))


@pytest.mark.parametrize("kind", ["few", "none"])
def test_cells_of_low_quality_change_nothing_for_the_others(reference, kind):
    counts, types, measured = QUERIES["shift"]()
    n, others = len(types), droplets(kind, 2 * len(types))
    alone = match_query(*reference, counts, np.repeat("b", n), measured, 0)
    both, batches = sparse.vstack([counts, others]).tocsr(), np.repeat("b", 3 * n)
    found = match_query(*reference, both, batches, measured, 0, kept=np.arange(3 * n) < n)
    assert found.depth_ratio == alone.depth_ratio
    assert found.agreement == alone.agreement
    assert (found.given()[:n] == alone.given()).all()
    np.testing.assert_allclose(found.pooled[:n], alone.pooled, atol=1e-6)
    assert found.pooled[n:].sum(axis=1) == pytest.approx(np.ones(2 * n))
    if kind == "few":
        # As if they were good, they would take the right labels away, but one in four types by chance.
        spoilt = match_query(*reference, both, batches, measured, 0, agreement=False)
        assert (found.given()[:n] == types).mean() > 0.98
        assert (spoilt.given()[:n] == types).mean() < 0.4


def test_a_query_of_which_no_cell_is_of_good_quality_is_labelled_by_all(reference):
    counts, types, measured = QUERIES["genes"]()
    batches = np.repeat("b", len(types))
    found = match_query(*reference, counts, batches, measured, 0, kept=np.zeros(len(types), dtype=bool))
    expected = match_query(*reference, counts, batches, measured, 0)
    assert (found.given() == expected.given()).all()
    assert found.agreement == expected.agreement


def test_a_query_of_empty_cells_is_refused(reference):
    with pytest.raises(InputError, match=f"half of the query's 10 cells have no count in the {N_GENES} selected genes"):
        match_query(*reference, droplets("none", 10), np.repeat("b", 10), np.ones(N_GENES, dtype=bool), 0)
