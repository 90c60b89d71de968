"""SageNet (Heidari 2022), as scArches has it: a network on a graph of genes for each partition of a tissue.

The graph is the graphical lasso of scArches, the network its TransformerConv, and training its loop: cross-entropy,
SGD with momentum and warm restarts, minibatches of 32 spots. Only the minibatches are made otherwise: scArches makes a
graph object for each cell in Python. A test compares both. Its map of all cells × all cells, with a random draw in it,
is left out.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from refatlas.errors import InputError
from refatlas.transfer.logistic import Arrays

if TYPE_CHECKING:
    import torch

# Penalties that the graphical lasso chooses from, by cross-validation.
ALPHAS = [0.1, 0.2, 0.5]
# Of scArches' training and network.
BATCH, HIDDEN, DROPOUT_GNN, DROPOUT_FC = 32, 8, 0.3, 0.2
RATE, MOMENTUM, RESTART, LOWEST_RATE = 0.001, 0.9, 50, 0.00005
# Cells whose regions are computed together, and edges of their graphs: an edge takes about 130 bytes.
APPLIED, MOST_EDGES = 512, 2_000_000
PREFIX = "net:"


def gene_graph(x: np.ndarray) -> np.ndarray:
    """Return the edges between genes, both ways, of the graphical lasso of scArches, shape (2, n_edges).

    Args:
        x: standardised expression, shape (n_spots, n_genes).

    Raises:
        InputError: the genes are too much alike for any of the penalties.
    """
    for first in range(len(ALPHAS)):
        try:
            return _graph(x, ALPHAS[first:])
        except FloatingPointError as error:
            print(f"  graphical lasso: {error} at the penalty {ALPHAS[first]}; it is left out")
    raise InputError(
        f"config: spatial: n_genes: no graph of {x.shape[1]} genes can be made from {len(x)} spots, because these genes"
        " are too much alike; lower n_genes, or leave sagenet out of methods"
    )


def _graph(x: np.ndarray, alphas: list[float]) -> np.ndarray:
    """Return the edges of the graph at the best of these penalties."""
    import anndata as ad
    from sklearn.exceptions import ConvergenceWarning

    from refatlas.models.library_patches.environment import import_scarches

    import_scarches()
    from scarches.models.sagenet.utils import glasso

    data = ad.AnnData(x.astype(np.float64))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        glasso(data, alphas)
    unfinished = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    if unfinished:
        print(f"  graphical lasso: {unfinished} fits have not converged; the graph is that of their last steps")
    adjacency: Any = data.varm["adj"]
    return np.array(adjacency.toarray().nonzero())


def fit_sagenet(x: np.ndarray, codes: np.ndarray, n_regions: int, graph: np.ndarray, epochs: int, seed: int) -> Arrays:
    """Return a trained network as arrays: its parameters, and the graph.

    Args:
        x: standardised expression of spots, shape (n_spots, n_genes).
        codes: region of each spot.
        n_regions: number of regions.
        graph: of `gene_graph`.
        epochs: of training.
        seed: of all draws.
    """
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    values, truth = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(codes.astype(np.int64))
    edges = torch.from_numpy(graph.astype(np.int64))
    with _reproducible(seed):
        net = _network(x.shape[1], n_regions)
        loader = DataLoader(TensorDataset(torch.arange(len(x))), batch_size=BATCH, shuffle=True)
        criterion = torch.nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=RESTART, eta_min=LOWEST_RATE)
        batched = _batched(edges, x.shape[1], BATCH)
        net.train()
        for _ in range(epochs):
            for (rows,) in loader:
                optimizer.zero_grad()
                nodes = values[rows].reshape(-1, 1)
                loss = criterion(net(nodes, batched[:, : len(rows) * edges.shape[1]]), truth[rows])
                loss.backward()
                optimizer.step()
                schedule.step()
    parameters = {f"{PREFIX}{name}": value.numpy() for name, value in net.state_dict().items()}
    return {**parameters, "graph": graph.astype(np.int32), "n_regions": np.array(n_regions)}


def apply_sagenet(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    """Return the probability of each region by `fit_sagenet`, shape (n_cells, n_regions)."""
    import torch
    from scipy.special import softmax

    n_regions, edges = int(arrays["n_regions"]), torch.from_numpy(arrays["graph"].astype(np.int64))
    with _reproducible(0), torch.no_grad():
        net = _network(x.shape[1], n_regions)
        net.load_state_dict(
            {name.removeprefix(PREFIX): torch.from_numpy(arrays[name]) for name in arrays if name.startswith(PREFIX)}
        )
        net.eval()
        size = max(1, min(APPLIED, MOST_EDGES // max(edges.shape[1], 1), len(x)))
        batched = _batched(edges, x.shape[1], size)
        found = np.zeros((len(x), n_regions))
        for start in range(0, len(x), size):
            part = torch.from_numpy(x[start : start + size].astype(np.float32))
            scores = net(part.reshape(-1, 1), batched[:, : len(part) * edges.shape[1]])
            found[start : start + size] = softmax(scores.numpy().astype(np.float64), axis=1)
    return found


def _network(n_genes: int, n_regions: int) -> Any:
    """Return scArches' network with new parameters."""
    from refatlas.models.library_patches.environment import import_scarches

    import_scarches()
    from scarches.models.sagenet.model import TransformerConv

    return TransformerConv(
        n_features=n_genes,
        n_classes=n_regions,
        n_hidden_GNN=[HIDDEN],
        n_hidden_FC=[],
        dropout_FC=DROPOUT_FC,
        dropout_GNN=DROPOUT_GNN,
    )


def _batched(edges: "torch.Tensor", n_genes: int, n_cells: int) -> "torch.Tensor":
    """Return the edges of the graphs of so many cells, one cell after the other, shape (2, n_cells * n_edges)."""
    import torch

    offsets = torch.arange(n_cells).repeat_interleave(edges.shape[1]) * n_genes
    return edges.repeat(1, n_cells) + offsets


@contextlib.contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch within the block, on one thread: sums over edges depend on their number."""
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
