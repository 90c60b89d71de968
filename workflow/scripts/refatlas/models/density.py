"""Densities of samples in a model's latent space: of each sample, the mixture of its cells' posteriors.

The aggregated posterior of scvi-tools (`differential_abundance`; Boyeau 2025), for cells that several models have
encoded: the reference's, and those of queries, whose latent space is the reference's. Importing it takes 10 to 30 s.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from refatlas.errors import InputError, listed
from refatlas.io.atomic import read_json
from refatlas.models.expression import LARGEST, CellBlocks
from refatlas.models.model_files import description_file, load_model

# Values of places and components that are computed at once: 80 MB in double precision, a few times.
AT_ONCE = 1e7


class Components(NamedTuple):
    """Normal components, one of each drawn cell, of the mixtures of samples.

    Attributes:
        samples: number of the sample of each, ascending; each number from 0 has one or more.
        places: row of its cell among the places where densities are wanted.
        means, variances: of the posterior, shape (n_components, n_latent).
    """

    samples: np.ndarray
    places: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def posteriors(file: str, counts: str, cells: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the posterior of some cells, each of shape (n_cells, n_latent).

    Args:
        file: model.pt, of the reference or of a query. counts: that it was trained on or mapped to, which stay in
            their file. cells: their names.

    Raises:
        InputError: the counts lack a cell.
    """
    blocks = CellBlocks(counts)
    rows = blocks.obs.index.get_indexer(cells)
    if len(missing := cells[rows < 0]):
        raise InputError(f"{counts}: no counts of {len(missing):,} cells ({listed(missing, 3)}); run the model again")
    kind = read_json(description_file(file))["type"]
    model = load_model(kind, file, blocks.take(np.arange(min(2, len(blocks.obs)))))
    order, found = np.argsort(rows, kind="stable"), []
    for _, block in blocks.blocks(rows[order], LARGEST):
        found.append(model.posterior(block))
        # Otherwise the model would keep every block that it has seen.
        model.model.deregister_manager()
    means, variances = (np.concatenate(parts)[np.argsort(order)] for parts in zip(*found, strict=True))
    return means, variances


def device() -> str:
    """Return where densities are computed: on the GPU, if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.inference_mode()
def log_densities(
    places: np.ndarray, components: Components, leave_out_own: bool = True, device: str = "cpu"
) -> np.ndarray:
    """Return the natural logarithm of each sample's density at each place, shape (n_places, n_samples), float64.

    Args:
        places: latent means of cells, shape (n_places, n_latent).
        components: of the samples' mixtures, which weigh the same within a sample.
        leave_out_own: whether a cell's own component has no say at its own place. There it would be the nearest of
            all, and raise the density of its own sample above that of others.
        device: of torch.
    """
    center = places.mean(axis=0, dtype=np.float64)
    means, variances, at = (
        torch.as_tensor(np.asarray(values, dtype=np.float64), device=device)
        for values in (components.means - center, components.variances, places - center)
    )
    sizes = np.bincount(components.samples)
    # The exponent of each component, a quadratic form of the place, as products of matrices.
    precise, constants = 1 / variances, torch.log(2 * torch.pi * variances).sum(1) + (means**2 / variances).sum(1)
    found = np.empty((len(places), len(sizes)))
    size = max(int(AT_ONCE // len(means)), 1)
    for start in range(0, len(places), size):
        block = at[start : start + size]
        logs = -0.5 * (block**2 @ precise.T - 2 * block @ (means * precise).T + constants)
        counted = torch.as_tensor(sizes, dtype=torch.float64, device=device).repeat(len(block), 1)
        if leave_out_own:
            own = np.flatnonzero((components.places >= start) & (components.places < start + len(block)))
            rows = components.places[own] - start
            logs[rows, own] = -torch.inf
            counted[rows, components.samples[own]] -= 1
        parts = [part.logsumexp(1) for part in logs.split(sizes.tolist(), dim=1)]
        found[start : start + size] = (torch.stack(parts, 1) - counted.log()).cpu().numpy()
    return found
