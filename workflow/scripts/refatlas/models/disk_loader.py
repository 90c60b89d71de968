"""Minibatches of cells whose counts stay in their file, for scvi-tools.

Random blocks of rows are read into a pool while the model trains on the previous pool. A minibatch
is drawn from a pool of some 64 blocks of 256 rows each, so that cells of one dataset, which are
neighbours in the file, are not together in a minibatch.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS, settings
from scvi.data._utils import registry_key_to_default_dtype
from scvi.dataloaders import AnnDataLoader, DataSplitter, SemiSupervisedDataLoader, SemiSupervisedDataSplitter

from refatlas.io.row_reader import BLOCK, on_disk, take_rows

# A pool takes less memory than the imported packages, also where most genes have counts.
POOL_CELLS, POOL_VALUES = 64 * BLOCK, 8_000_000
# Validation cells are runs of neighbours in the file, so that not all of it is read for a tenth of
# the cells; short runs where there are few cells.
LONGEST_RUN, MIN_RUNS = 64, 200


def data_loader(manager: Any, *args: Any, **options: Any) -> "DiskLoader | AnnDataLoader":
    """Return a loader of a model's cells, of scvi-tools if they are in memory.

    Args:
        manager: AnnDataManager of scvi-tools.
        args, options: of AnnDataLoader.
    """
    loader = DiskLoader if on_disk(manager.get_from_registry(REGISTRY_KEYS.X_KEY)) else AnnDataLoader
    return loader(manager, *args, **options)


class DiskLoader:
    """Minibatches like those of scvi-tools' AnnDataLoader, without worker processes.

    Attributes:
        rows: cells of an epoch.
        n_pool: most cells in a pool, a multiple of the batch size.
        ahead: random numbers, pools and the pool being read of the next epoch.
    """

    def __init__(
        self,
        manager: Any,
        indices: np.ndarray | None = None,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        **_worker_options: Any,
    ) -> None:
        columns = {key: manager.get_from_registry(key) for key in manager.data_registry}
        self.counts = columns.pop(REGISTRY_KEYS.X_KEY)
        self.columns = {key: np.asarray(values) for key, values in columns.items()}
        rows = np.arange(self.counts.shape[0]) if indices is None else np.asarray(indices)
        # The splitters of scvi-tools shuffle the cells; here blocks of cells are shuffled.
        self.rows = np.sort(rows) if shuffle else rows
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        per_cell = max(self.counts.group["data"].shape[0] / max(self.counts.shape[0], 1), 1)
        self.n_pool = max(int(min(POOL_CELLS, POOL_VALUES / per_cell)) // batch_size, 1) * batch_size
        self.ahead: tuple[np.random.Generator, list[np.ndarray], Future[sparse.csr_matrix]] | None = None

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size if self.drop_last else -(-len(self.rows) // self.batch_size)

    def read_ahead(self) -> "tuple[np.random.Generator, list[np.ndarray], Future[sparse.csr_matrix]]":
        """Draw the order of the next epoch, start to read its first pool, and return `ahead`.

        A single pool is read once, and kept.
        """
        kept = self.ahead[2] if self.ahead and len(self.rows) <= self.n_pool else None
        random = np.random.default_rng(int(torch.empty((), dtype=torch.int64).random_()))
        pools = self.pools(random)
        self.ahead = random, pools, kept or self._reading(pools[0])
        return self.ahead

    def pools(self, random: np.random.Generator) -> list[np.ndarray]:
        """Return the rows of each pool of an epoch, from random blocks if shuffled."""
        rows = self.rows
        if self.shuffle and len(rows) > self.n_pool:
            rank = random.permutation(int(rows[-1]) // BLOCK + 1)
            rows = rows[np.argsort(rank[rows // BLOCK], kind="stable")]
        # As equal as complete minibatches allow: a small last pool would have cells of few blocks.
        n_minibatches, n_pools = -(-len(rows) // self.batch_size), -(-len(rows) // self.n_pool)
        pools = np.split(rows, np.arange(1, n_pools) * n_minibatches // max(n_pools, 1) * self.batch_size)
        # In the order of the file, as they are read; minibatches are drawn at random.
        return [np.sort(pool) for pool in pools] if self.shuffle else pools

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        random, pools, reading = self.ahead or self.read_ahead()
        for rows, following in zip(pools, [*pools[1:], None], strict=True):
            cells = reading.result()
            if following is not None:
                reading = self._reading(following)
            elif self.shuffle:
                self.read_ahead()
            order = random.permutation(len(rows)) if self.shuffle else np.arange(len(rows))
            for start in range(0, len(rows), self.batch_size):
                drawn = order[start : start + self.batch_size]
                if len(drawn) == self.batch_size or not self.drop_last:
                    yield self._minibatch(cells[drawn], rows[drawn])

    def _minibatch(self, cells: sparse.csr_matrix, rows: np.ndarray) -> dict[str, torch.Tensor]:
        found = {REGISTRY_KEYS.X_KEY: cells.toarray().astype(np.float32, copy=False)}
        found |= {
            key: values[rows].astype(registry_key_to_default_dtype(key), copy=False)
            for key, values in self.columns.items()
        }
        return {key: torch.from_numpy(values) for key, values in found.items()}

    def _reading(self, rows: np.ndarray) -> "Future[sparse.csr_matrix]":
        """Return rows that a thread reads; its errors are raised where the result is used."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="stored-cells")
        future = reader.submit(take_rows, self.counts, rows)
        reader.shutdown(wait=False)
        return future


class SemiSupervisedDiskLoader(SemiSupervisedDataLoader):
    """Pairs of minibatches, of all cells and of labelled cells.

    Labelled cells are drawn for each epoch, as many of each label as scvi-tools draws, and repeated
    until the epoch ends.
    """

    # Of scvi-tools' ConcatDataLoader.
    dataloaders: list[Any]

    def __init__(self, manager: Any, **options: Any) -> None:
        super().__init__(manager, **options)
        self.options = {name: options[name] for name in ("batch_size", "shuffle", "drop_last") if name in options}
        self.dataloaders = [
            DiskLoader(manager, indices=np.sort(loader.indices), **self.options) for loader in self.dataloaders
        ]
        self.largest_dl = self.dataloaders[0]
        self.following: DiskLoader | None = None

    def resample_labels(self) -> None:
        """Take other labelled cells, read during the last epoch, and start to read the next."""
        self.dataloaders[1] = self.following or self._labelled()
        self.following = following = self._labelled()
        following.read_ahead()

    def _labelled(self) -> DiskLoader:
        return DiskLoader(self.adata_manager, indices=self.subsample_labels(), **self.options)

    def __iter__(self) -> Iterator[tuple[dict, dict]]:
        everything, labelled = self.dataloaders
        with closing(_repeated(labelled)) as minibatches:
            yield from zip(everything, minibatches, strict=False)


def _repeated(loader: DiskLoader) -> Generator[dict[str, torch.Tensor]]:
    while True:
        yield from loader


class _InRuns:
    """Mix-in for a splitter of scvi-tools: training and validation cells by `split_in_runs`."""

    n_val: int

    def __init__(self, adata_manager: Any, **options: Any) -> None:
        super().__init__(adata_manager=adata_manager, **options)  # type: ignore[call-arg]  # of the splitter
        self.train_idx, self.val_idx = split_in_runs(adata_manager.adata.n_obs, self.n_val, settings.seed)
        self.n_train, self.n_val, self.test_idx = len(self.train_idx), len(self.val_idx), np.array([], dtype=int)

    def setup(self, stage: str | None = None) -> None:
        """Do nothing: the cells are split on construction."""


class DiskSplitter(_InRuns, DataSplitter):
    """The cells of a model without labels."""

    data_loader_cls = DiskLoader


class SemiSupervisedDiskSplitter(_InRuns, SemiSupervisedDataSplitter):
    """The cells of a model that learns from labels too."""

    def __init__(self, adata_manager: Any, **options: Any) -> None:
        super().__init__(adata_manager, **options)
        labelled = len(self._labeled_indices) > 0
        self.data_loader_class = SemiSupervisedDiskLoader if labelled else DiskLoader
        self.data_loader_kwargs |= {"n_samples_per_label": self.n_samples_per_label} if labelled else {}


def split_in_runs(n_cells: int, n_validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return training cells and validation cells, ascending.

    Validation cells are runs of up to LONGEST_RUN rows; at least MIN_RUNS runs, if there are as
    many validation cells.
    """
    length = int(np.clip(n_validation // MIN_RUNS, 1, LONGEST_RUN))
    runs = np.random.default_rng(seed).permutation(-(-n_cells // length))
    held_out = np.isin(np.arange(n_cells) // length, runs[: round(n_validation / length)])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
