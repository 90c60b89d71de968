"""Which gene programs distinguish groups of cells, by the latent space of an expiMap."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.special import erfc

from refatlas.models.typed_counts import cell_column

# Random pairs of cells that are compared.
N_PAIRS = 5000

# Means and variances of the posterior of each program, each of shape (n_cells, n_programs).
Posterior = tuple[np.ndarray, np.ndarray]


def compared_groups(
    counts: AnnData, reference: AnnData | None = None
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield groups of cells, and the cells that each is compared with.

    For a reference: each label and each batch against the rest, unless there is no rest. For a
    query: all of it, and each of its batches if there are several, against the reference.

    Yields:
        by: "label", "batch" or "query".
        group: name of the group.
        cells: the group's cells, shape (n_cells,), boolean.
        others: the cells that they are compared with, boolean.
    """
    if reference is not None:
        others = np.ones(reference.n_obs, dtype=bool)
        yield "query", "all", np.ones(counts.n_obs, dtype=bool), others
        batches = counts.obs["batch"].astype(str)
        names = batches.unique()
        for batch in names if len(names) > 1 else ():
            yield "batch", batch, (batches == batch).to_numpy(), others
        return
    for by in (name for name in ("label", "batch") if name in counts.obs):
        groups = cell_column(counts, by).astype(object)
        for group in groups.dropna().unique():
            cells = (groups == group).to_numpy()
            if not cells.all():
                yield by, str(group), cells, ~cells


def enrichment(cells: Posterior, others: Posterior, programs: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Return how strongly each program distinguishes cells from others, the strongest first.

    This is the exact test of scArches' latent_enrich: the mean over random pairs of cells of the
    probability that one Gaussian exceeds the other (Lotfollahi 2023).

    Args:
        cells: posterior of the cells.
        others: posterior of the cells that they are compared with.
        programs: names, shape (n_programs,).
        seed: of the pairs.

    Returns:
        Columns program, probability (that a cell scores higher than another), and bayes_factor (its
        log Bayes factor).
    """
    random = np.random.default_rng(seed)
    one, two = (random.integers(len(part[0]), size=N_PAIRS) for part in (cells, others))
    higher = 0.5 * erfc((others[0][two] - cells[0][one]) / np.sqrt(2 * (cells[1][one] + others[1][two])))
    probability = higher.mean(axis=0, dtype=np.float64)
    factor = np.log(probability + 1e-12) - np.log(1 - probability + 1e-12)
    table = pd.DataFrame({"program": programs, "probability": probability, "bayes_factor": factor})
    return table.sort_values("bayes_factor", ascending=False, key=abs)


def enrichment_table(
    counts: AnnData,
    posterior: Posterior,
    programs: np.ndarray,
    reference: AnnData | None = None,
    reference_posterior: Posterior | None = None,
) -> pd.DataFrame:
    """Return the `enrichment` of all `compared_groups`, index by, group, program."""
    others = reference_posterior or posterior
    parts = [pd.DataFrame({"by": [], "group": [], "program": [], "probability": [], "bayes_factor": []})]
    for by, group, cells, rest in compared_groups(counts, reference):
        table = enrichment((posterior[0][cells], posterior[1][cells]), (others[0][rest], others[1][rest]), programs)
        parts.append(table.assign(by=by, group=group))
    return pd.concat(parts).set_index(["by", "group", "program"])
