"""From the models of a run to the log densities of a contrast's samples."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from refatlas.differential.density import DensityCells, draw_components
from refatlas.differential.participants import FILE
from refatlas.errors import InputError, listed

REFERENCE = "reference"
# How far the mean of a posterior may be from the latent space on disk, which another processor may have computed.
TOLERANCE = 0.05


def read_log_densities(
    cells: DensityCells,
    models: Mapping[str, Mapping[str, str]],
    datasets: Collection[str],
    seed: int,
    leave_out_own: bool = True,
) -> np.ndarray:
    """Return the log density of each sample at each cell, shape (n_cells, n_samples).

    Only cells that mixtures are made of are encoded: the places of all are those of the latent spaces on disk.

    Args:
        cells: of the contrast.
        models: by "reference" and "queries/NAME", paths of model, counts and latent.
        datasets: names of the files that make the reference; others are queries.
        seed: of the draws of cells.
        leave_out_own: see `refatlas.models.density.log_densities`.

    Raises:
        InputError: a latent space lacks a cell, or is not that of its model.
    """
    from refatlas.models.density import Components, device, log_densities, posteriors

    names = cells.table.index
    sources = [REFERENCE if name in datasets else f"queries/{name}" for name in cells.table[FILE]]
    rows = {str(k): np.asarray(own) for k, own in pd.Series(np.arange(len(names))).groupby(sources).groups.items()}
    places = _places(names, rows, models)
    numbers = cells.table["number"].to_numpy()
    drawn = draw_components(numbers, seed)
    means, variances = np.empty((2, len(drawn), places.shape[1]))
    for source, own in rows.items():
        of_source = np.flatnonzero(np.isin(drawn, own))
        if len(of_source):
            paths = models[source]
            found = posteriors(paths["model"], paths["counts"], names[drawn[of_source]])
            means[of_source], variances[of_source] = found
            _require_same(means[of_source], places[drawn[of_source]], paths)
        print(f"{source}: {len(own):,} cells, of which {len(of_source):,} make mixtures", flush=True)
    return log_densities(places, Components(numbers[drawn], drawn, means, variances), leave_out_own, device())


def _places(names: pd.Index, rows: Mapping[str, np.ndarray], models: Mapping[str, Mapping[str, str]]) -> np.ndarray:
    """Return the latent means of cells, shape (n_cells, n_latent)."""
    found: list[np.ndarray] = []
    for source, own in rows.items():
        latent = pd.read_parquet(models[source]["latent"])
        at = latent.index.get_indexer(names[own])
        if len(missing := names[own][at < 0]):
            raise InputError(
                f"{models[source]['latent']}: no place of {len(missing):,} cells ({listed(missing, 3)}); delete it, and"
                " run the workflow again"
            )
        found.append(latent.to_numpy(np.float64)[at])
    places = np.empty((len(names), found[0].shape[1]))
    places[np.concatenate(list(rows.values()))] = np.concatenate(found)
    return places


def _require_same(means: np.ndarray, places: np.ndarray, paths: Mapping[str, str]) -> None:
    """Raise an InputError if the latent space on disk is not the means of the posteriors."""
    far = np.abs(means - places).max()
    if far > TOLERANCE:
        raise InputError(
            f"{paths['latent']}: its cells are up to {far:.2g} from where {paths['model']} has them, so that it is not"
            " the mean of this model's posterior; densities need a model with a normal latent space"
        )
