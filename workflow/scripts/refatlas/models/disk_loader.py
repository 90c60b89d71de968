"""Minibatches of cells whose counts stay in their file, for scvi-tools: random blocks of rows are
read into a pool while the pool before is trained on.

A minibatch is drawn from a pool of some 64 blocks of 256 rows each, so that cells of one dataset,
which lie together in the file, do not come together in training.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import numpy as np
import torch
from scvi import REGISTRY_KEYS, settings
from scvi.data._utils import registry_key_to_default_dtype
from scvi.dataloaders import AnnDataLoader, DataSplitter, SemiSupervisedDataLoader, SemiSupervisedDataSplitter

from refatlas.io.row_reader import BLOCK, on_disk, take_rows

# A pool is small beside the packages that are imported, also where most genes have counts.
POOL_CELLS, POOL_VALUES = 64 * BLOCK, 8_000_000
# Validation cells lie in runs, so that the file need not be read as a whole for a tenth of it:
# short ones where there are few cells.
LONGEST_RUN, MIN_RUNS = 64, 200


def data_loader(manager, *args, **options):
    """Return the loader of a model's cells: scvi-tools' own if they are in memory."""
    loader = DiskLoader if on_disk(manager.get_from_registry(REGISTRY_KEYS.X_KEY)) else AnnDataLoader
    return loader(manager, *args, **options)


class DiskLoader:
    """Minibatches as of scvi-tools' AnnDataLoader; its options for worker processes have no meaning
    here.

    Attributes:
        rows: cells of an epoch. n_pool: most cells in a pool, a multiple of the batch size.
    """

    def __init__(
        self,
        manager,
        indices=None,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        **_worker_options,
    ) -> None:
        columns = {key: manager.get_from_registry(key) for key in manager.data_registry}
        self.counts = columns.pop(REGISTRY_KEYS.X_KEY)
        self.columns = {key: np.asarray(values) for key, values in columns.items()}
        rows = np.arange(self.counts.shape[0]) if indices is None else np.asarray(indices)
        # scvi-tools' splitters shuffle what they hold out; here the blocks are shuffled.
        self.rows = np.sort(rows) if shuffle else rows
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        per_cell = max(self.counts.group["data"].shape[0] / max(self.counts.shape[0], 1), 1)
        self.n_pool = max(int(min(POOL_CELLS, POOL_VALUES / per_cell)) // batch_size, 1) * batch_size
        self.ahead: tuple[np.random.Generator, list[np.ndarray], Future] | None = None

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size if self.drop_last else -(-len(self.rows) // self.batch_size)

    def read_ahead(self) -> None:
        """Draw the order of the next epoch, and begin to read its first pool; a single pool is read
        once, and kept.
        """
        kept = self.ahead[2] if self.ahead and len(self.rows) <= self.n_pool else None
        random = np.random.default_rng(int(torch.empty((), dtype=torch.int64).random_()))
        pools = self.pools(random)
        self.ahead = random, pools, kept or self._reading(pools[0])

    def pools(self, random: np.random.Generator) -> list[np.ndarray]:
        """Return the rows of each pool of an epoch: those of random blocks, or all in their order
        where nothing is shuffled.
        """
        rows = self.rows
        if self.shuffle and len(rows) > self.n_pool:
            rank = random.permutation(int(rows[-1]) // BLOCK + 1)
            rows = rows[np.argsort(rank[rows // BLOCK], kind="stable")]
        # As equal as whole minibatches allow: few cells left over for a last pool would be of few
        # blocks.
        n_minibatches, n_pools = -(-len(rows) // self.batch_size), -(-len(rows) // self.n_pool)
        pools = np.split(rows, np.arange(1, n_pools) * n_minibatches // max(n_pools, 1) * self.batch_size)
        # In the file's order, as they are read; minibatches are drawn from a pool at random.
        return [np.sort(pool) for pool in pools] if self.shuffle else pools

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        if self.ahead is None:
            self.read_ahead()
        random, pools, reading = self.ahead
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

    def _minibatch(self, cells, rows: np.ndarray) -> dict[str, torch.Tensor]:
        found = {REGISTRY_KEYS.X_KEY: cells.toarray().astype(np.float32, copy=False)}
        found |= {
            key: values[rows].astype(registry_key_to_default_dtype(key), copy=False)
            for key, values in self.columns.items()
        }
        return {key: torch.from_numpy(values) for key, values in found.items()}

    def _reading(self, rows: np.ndarray) -> Future:
        """Return rows that are being read by a thread, which ends with that; an error is raised
        where the result is asked for.
        """
        reader = ThreadPoolExecutor(1, thread_name_prefix="stored-cells")
        future = reader.submit(take_rows, self.counts, rows)
        reader.shutdown(wait=False)
        return future


class SemiSupervisedDiskLoader(SemiSupervisedDataLoader):
    """Pairs of minibatches, of all cells and of labelled ones: as many of each label as scvi-tools
    draws, anew for each epoch, as often as it takes.
    """

    def __init__(self, manager, **options) -> None:
        super().__init__(manager, **options)
        self.options = {name: options[name] for name in ("batch_size", "shuffle", "drop_last") if name in options}
        self.dataloaders = [
            DiskLoader(manager, indices=np.sort(loader.indices), **self.options) for loader in self.dataloaders
        ]
        self.largest_dl = self.dataloaders[0]
        self.following = None

    def resample_labels(self) -> None:
        """Take other labelled cells, which were read while the last epoch trained, and begin to
        read those of the next.
        """
        self.dataloaders[1] = self.following or self._labelled()
        self.following = self._labelled()
        self.following.read_ahead()

    def _labelled(self) -> DiskLoader:
        return DiskLoader(self.adata_manager, indices=self.subsample_labels(), **self.options)

    def __iter__(self) -> Iterator[tuple[dict, dict]]:
        everything, labelled = self.dataloaders
        with closing(_repeated(labelled)) as labelled:
            yield from zip(everything, labelled, strict=False)


def _repeated(loader: DiskLoader) -> Iterator[dict]:
    while True:
        yield from loader


class _InRuns:
    """Put before a splitter of scvi-tools: training and validation cells by `split_in_runs`, read
    from the file.
    """

    def __init__(self, manager, **options) -> None:
        super().__init__(adata_manager=manager, **options)
        self.train_idx, self.val_idx = split_in_runs(manager.adata.n_obs, self.n_val, settings.seed)
        self.n_train, self.n_val, self.test_idx = len(self.train_idx), len(self.val_idx), np.array([], dtype=int)

    def setup(self, stage: str | None = None) -> None:
        """Do nothing: cells are split already."""


class DiskSplitter(_InRuns, DataSplitter):
    """The cells of a model without labels."""

    data_loader_cls = DiskLoader


class SemiSupervisedDiskSplitter(_InRuns, SemiSupervisedDataSplitter):
    """The cells of a model that learns from labels too."""

    def __init__(self, manager, **options) -> None:
        super().__init__(manager, **options)
        labelled = len(self._labeled_indices) > 0
        self.data_loader_class = SemiSupervisedDiskLoader if labelled else DiskLoader
        self.data_loader_kwargs |= {"n_samples_per_label": self.n_samples_per_label} if labelled else {}


def split_in_runs(n_cells: int, n_validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cells to train on and cells to validate on, ascending; the latter in runs of up to
    LONGEST_RUN rows, of which there are at least MIN_RUNS if there are as many cells.
    """
    length = int(np.clip(n_validation // MIN_RUNS, 1, LONGEST_RUN))
    runs = np.random.default_rng(seed).permutation(-(-n_cells // length))
    held_out = np.isin(np.arange(n_cells) // length, runs[: round(n_validation / length)])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
