"""How well a query covers the reference: which of its cells and labels are present in the query.

Every query cell points at its k nearest reference cells, as in the presence score of the human neural organoid atlas
(HNOCA: He et al., Nature 2024, doi:10.1038/s41586-024-08172-8). How often a reference cell is pointed at is compared
with how often it would be if the query were a random draw of the reference's own cells. The direction matters: the
nearest reference cells of a query cell are defined however far away they are, so that a batch effect that moves the
whole query does not make it absent. Distances, and shares of the query among joint neighbours, are small for every
label of such a query.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from refatlas.neighbors.exact_index import nearest_neighbors

# Cells that are compared: more do not change the answer, and cost time.
MAX_CELLS = 20_000
# Presence from which a reference cell is covered: the query has at least a ninth as many such cells as the reference.
COVERED = 0.1
# Shares of covered cells from which a label is covered, and below which it is absent.
MOST, FEW = 0.5, 0.1
# Fewer query cells than these are expected of a label: then none can be found by chance.
FEW_EXPECTED = 5
TOO_FEW = "too few cells to tell"


def query_presence(
    background_latent: np.ndarray,
    query_latent: np.ndarray,
    seed: int = 0,
    k: int = 30,
    threads: int = 1,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return how present each reference cell is in a query, shape (n_background,), from 0 to 1.

    Presence is f / (1 + f), where f is the frequency of such cells in the query over that in the reference: 0 where no
    query cell is near, 0.5 where both have as many, 0.1 where the query has a ninth. It is a mean over the k nearest
    reference cells, and does not depend on the number of query cells: fewer cells only make it noisier.

    Args:
        background_latent: latent space of reference cells, shape (n_background, n_latent). Of more than MAX_CELLS, a
            random sample is pointed at.
        query_latent: latent space of query cells, shape (n_query, n_latent), at best without those that are novel:
            they point at reference cells too. Of more than MAX_CELLS, a random sample is taken.
        seed: of the samples.
        k: neighbours that a cell points at, and over which the mean is taken.
        weights: number of reference cells that each background cell stands for, where the background is a sample that
            keeps rare labels, shape (n_background,); None where all stand for the same number.

    Raises:
        ValueError: a value is not finite, or the number of dimensions or weights differs.
    """
    background, query = np.asarray(background_latent), np.asarray(query_latent)
    stands_for = np.ones(len(background)) if weights is None else np.asarray(weights, dtype=np.float64)
    _check(background, query, stands_for)
    if not len(background) or not len(query):
        return np.zeros(len(background))
    rng = np.random.default_rng(seed)
    chosen = _sample(len(background), rng)
    anchors, share = background[chosen], stands_for[chosen]
    near = nearest_neighbors(anchors, anchors, k + 1, threads)[0]
    own = _without_itself(near)
    usual = _pointed_at(own, share / share.sum())
    found = nearest_neighbors(anchors, query[_sample(len(query), rng)], own.shape[1], threads)[0]
    got = _pointed_at(found, np.full(len(found), 1 / len(found)), len(anchors))
    if len(anchors) < len(background):
        near = nearest_neighbors(anchors, background, k + 1, threads)[0]
    here, expected = got[near].mean(axis=1), usual[near].mean(axis=1)
    return np.divide(here, here + expected, out=np.zeros(len(background)), where=here > 0)


def label_presence(
    labels: Sequence[str] | pd.Series,
    presence: np.ndarray,
    query_labels: Sequence[str] | pd.Series,
    weights: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return how well a query covers each label of the reference.

    Returns:
        One row per label, the least present first: label, reference_cells, query_cells (given this label),
        expected_cells (if the query were a random draw of the reference), presence (mean), covered (share of cells
        whose presence is at least COVERED), and state: "covered", "partly", "absent", or "too few cells to tell" where
        a random draw as small as the query could miss the label by chance.

    Args:
        labels: of the background cells; those without a label (missing) are left out.
        presence: from `query_presence`, shape (n_background,).
        query_labels: the label given to each query cell; missing where none is given.
        weights: as in `query_presence`.
    """
    cells = pd.DataFrame({"label": np.asarray(labels, dtype=object), "presence": presence})
    cells["weight"] = 1.0 if weights is None else np.asarray(weights, dtype=np.float64)
    cells["covered"] = (cells["presence"] >= COVERED) * cells["weight"]
    cells["presence"] *= cells["weight"]
    table = cells.dropna(subset="label").groupby("label")[["weight", "presence", "covered"]].sum()
    table[["presence", "covered"]] = table[["presence", "covered"]].div(table["weight"], axis=0)
    given = pd.Series(np.asarray(query_labels, dtype=object), dtype=object)
    table["reference_cells"] = table["weight"].round().astype(int)
    table["query_cells"] = given.value_counts().reindex(table.index, fill_value=0)
    table["expected_cells"] = table["weight"] / cells["weight"].sum() * len(given)
    table["state"] = [_state(*row) for row in table[["covered", "query_cells", "expected_cells"]].to_numpy()]
    columns = ["reference_cells", "query_cells", "expected_cells", "presence", "covered", "state"]
    return table.sort_values("presence", kind="stable")[columns].reset_index()


def _state(covered: float, query_cells: float, expected: float) -> str:
    """Return in words whether a label is in the query."""
    if covered >= MOST and query_cells:
        return "covered"
    # Cells of another type can lie at the same places: without a query cell of this label, most must be covered.
    if covered >= (FEW if query_cells else MOST):
        return "partly"
    return "absent" if expected >= FEW_EXPECTED else TOO_FEW


def _check(background: np.ndarray, query: np.ndarray, weights: np.ndarray) -> None:
    """Refuse arrays that do not belong together."""
    if background.ndim != 2 or query.ndim != 2 or background.shape[1] != query.shape[1]:
        raise ValueError(
            f"the latent spaces have shapes {background.shape} and {query.shape}; they must have the same dimensions, "
            "so give those of one model"
        )
    if weights.shape != (len(background),) or not (weights > 0).all():
        raise ValueError(f"weights must be positive, one for each of the {len(background)} background cells")


def _sample(n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of at most MAX_CELLS cells, sorted."""
    if n_cells <= MAX_CELLS:
        return np.arange(n_cells)
    return np.sort(rng.choice(n_cells, MAX_CELLS, replace=False))


def _without_itself(neighbors: np.ndarray) -> np.ndarray:
    """Return neighbours of cells of the same set without the cell itself, or without the last where it is not there.

    A cell is not among its own where more than k others lie at the same place.
    """
    if neighbors.shape[1] == 1:
        return neighbors
    itself = neighbors == np.arange(len(neighbors))[:, None]
    itself[~itself.any(axis=1), -1] = True
    return neighbors[~itself].reshape(len(neighbors), -1)


def _pointed_at(neighbors: np.ndarray, weights: np.ndarray, n_cells: int | None = None) -> np.ndarray:
    """Return how often each reference cell is pointed at, shape (n_cells,).

    Args:
        neighbors: of each pointing cell, shape (n_pointing, k).
        weights: of each pointing cell.
        n_cells: number of reference cells; n_pointing by default.
    """
    width = neighbors.shape[1]
    return np.bincount(neighbors.ravel(), np.repeat(weights, width), minlength=n_cells or len(neighbors))
