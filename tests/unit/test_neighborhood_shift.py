"""Neighbourhood expression shift: types that the reference lacks are detected, batch effects are not."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer import neighborhood_shift as module
from refatlas.transfer.neighborhood_shift import (
    MIN_CELLS,
    QueryCells,
    ReferenceCells,
    neighborhood_shift,
    shift_from_reference,
)

N_GENES = 300


def cells(
    sizes: dict[int, int], seed: int, markers: float = 1.0, shared: np.ndarray | None = None
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return counts of cells of some types, and the types; type t has ten genes of its own, types 3
    and 4 differ by these alone from type 2. `shared` multiplies the genes of all cells.
    """
    random = np.random.default_rng(seed)
    base = np.random.default_rng(99).gamma(0.5, 1, N_GENES)
    types = np.repeat(list(sizes), list(sizes.values()))
    rates = np.tile(base, (len(types), 1))
    for row, kind in zip(rates, types, strict=True):
        if kind >= 2:
            row[20:50] += 3
        row[100 + 10 * kind : 110 + 10 * kind] += markers
    return sparse.csr_matrix(random.poisson(rates * (1 if shared is None else shared)).astype(np.float32)), types


def as_query(counts: sparse.csr_matrix, measured: np.ndarray | None = None) -> ad.AnnData:
    counts = counts if measured is None else (counts @ sparse.diags(measured.astype(np.float32))).tocsr()
    found = ad.AnnData(counts, obs=pd.DataFrame({"batch": "q"}, index=[f"c{i}" for i in range(counts.shape[0])]))
    found.var["measured"] = True if measured is None else measured
    return found


@pytest.fixture(scope="module")
def reference():
    counts, types = cells({0: 300, 1: 300, 2: 300}, seed=0)
    found = ad.AnnData(
        counts, obs=pd.DataFrame({"batch": "r", "label": types.astype(str)}, index=[f"r{i}" for i in range(900)])
    )
    return found, Linear.fit(found, {"model": {"n_latent": 10, "C": 0.1, "max_cells": 5000}}, JobContext())


def of(reference, counts, measured=None):
    counts = as_query(counts, measured)
    return shift_from_reference(reference[1], reference[0], counts, reference[1].latent(counts), seed=0)


def test_neighbourhoods_detect_a_type_close_to_a_known_one_where_single_cells_do_not(reference):
    counts, types = cells({0: 100, 1: 100, 2: 100, 3: 100}, seed=1)
    latent, query_latent = (reference[1].latent(cells) for cells in (reference[0], as_query(counts)))
    single = nearest_neighbors(latent, query_latent, 15)[1].mean(axis=1)
    assert roc_auc_score(types == 3, of(reference, counts)) > 0.9
    assert roc_auc_score(types == 3, single) < 0.75


def test_what_all_types_of_a_batch_share_is_left_out(reference):
    shared = np.random.default_rng(5).uniform(0.5, 2, N_GENES)
    usual, moved = (
        of(reference, cells({0: 150, 1: 150, 2: 150}, seed=2, shared=factor)[0]) for factor in (None, shared)
    )
    one_type = of(reference, cells({0: 450}, seed=2, shared=shared)[0])
    assert np.median(moved) < 1.2 * np.median(usual)
    # With a single label, a batch effect cannot be distinguished from a type.
    assert np.median(one_type) > 1.5 * np.median(usual)


def test_genes_that_the_query_lacks_count_on_neither_side(reference):
    counts, _ = cells({0: 150, 1: 150, 2: 150}, seed=3)
    measured = np.random.default_rng(0).random(N_GENES) < 0.6
    all_genes, some = of(reference, counts), of(reference, counts, measured)
    assert np.median(some) < 1.5 * np.median(all_genes)


def test_cells_of_small_batches_have_no_shift(reference):
    counts, _ = cells({0: 100, 1: 100}, seed=4)
    query = as_query(counts)
    query.obs["batch"] = np.where(np.arange(200) < MIN_CELLS - 1, "small", "tiny")
    assert np.isnan(shift_from_reference(reference[1], reference[0], query, reference[1].latent(query), seed=0)).all()


def test_it_follows_its_definition(monkeypatch):
    for name, value in {
        "NEIGHBORS": 4,
        "REFERENCE_NEIGHBORS": 5,
        "TOP_GENES": 3,
        "MIN_PER_LABEL": 5,
        "BLOCK": 7,
    }.items():
        monkeypatch.setattr(module, name, value)
    random = np.random.default_rng(0)
    positions, latent = random.normal(size=(60, 2)), random.normal(size=(40, 2))
    reference_expression, expression, labels = random.random((60, 8)), random.random((40, 8)), random.integers(0, 3, 60)
    found = neighborhood_shift(
        ReferenceCells(positions, sparse.csr_matrix(reference_expression), labels),
        QueryCells(latent, sparse.csr_matrix(expression), np.full(40, "b")),
        min_cells=40,
    )
    differences, given = [], []
    for cell in latent:
        own = np.argsort(np.linalg.norm(latent - cell, axis=1))[:4]
        near = np.argsort(np.linalg.norm(positions - latent[own].mean(axis=0), axis=1))[:5]
        differences.append(expression[own].mean(axis=0) - reference_expression[near].mean(axis=0))
        given.append(np.bincount(labels[near], minlength=3).argmax())
    differences, given = np.array(differences), np.array(given)
    differences -= np.median(
        [differences[given == label].mean(axis=0) for label in range(3) if (given == label).sum() >= 5], axis=0
    )
    assert found == pytest.approx(np.sort(np.abs(differences), axis=1)[:, -3:].mean(axis=1), rel=1e-5)
