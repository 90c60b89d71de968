"""Training from disk against training in memory: cells per second, peak memory, and quality of the model.

usage: .venv/bin/python measurements/disk_training.py speed|memory|quality KANG_H5AD WORK [CELLS ...]

speed: sides in turn in one process; EPOCHS epochs of scVI and of scANVI with validation, so that the wait for the first
    pool is included as in a short training. By the clock, and by the CPU time of all threads, which depends little on
    other work on the machine.
memory: one process for each side and size, which trains MEMORY_STEPS steps of scVI (two pools are in memory from the
    first step) and computes the latent space.
quality: held-out ELBO and labels of real cells, three seeds. The file is sorted by donor and label, and blocks are so
    small that a pool is a part of the cells.
Synthetic cells are real cells drawn with replacement, with Poisson counts of their means, sorted by donor, in the
format of counts.h5ad.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.io.model_counts import read_counts, write_matrix
from refatlas.models.interface import JobContext

REPEATS, EPOCHS, MEMORY_STEPS, WRITTEN = 3, 2, 40, 20_000
QUALITY_BLOCK, QUALITY_GENES, TEST_SHARE, K = 32, 600, 0.1, 15
MODEL = {"n_latent": 20, "n_layers": 2, "n_hidden": 128, "dropout_rate": 0.1, "gene_likelihood": "nb"}
TRAIN = {"batch_size": 128, "lr": 1e-3, "patience": 50, "min_delta": 1e-4, "kl_warmup": 0.25}


def settings(epochs: int) -> dict:
    """Return settings of scvi and scanvi."""
    train = TRAIN | {"max_epochs": epochs}
    return {
        "model": MODEL,
        "train": train | {"n_samples_per_label": 100},
        "pretrain": train,
    }


def synthetic(real: str, work: Path, n_cells: int) -> str:
    """Return the path of counts of so many cells, written unless they are there."""
    path = work / f"{n_cells}.h5ad"
    if path.exists():
        return str(path)
    cells, random = ad.read_h5ad(real), np.random.default_rng(0)
    drawn = random.integers(0, cells.n_obs, n_cells)
    drawn = drawn[np.argsort(cells.obs["batch"].cat.codes.to_numpy()[drawn], kind="stable")]
    obs = cells.obs.iloc[drawn][["batch"]].assign(label=cells.obs["cell_type"].iloc[drawn].to_numpy())
    obs.index = np.arange(n_cells).astype(str)
    parts = [resampled(cells.X[drawn[start : start + WRITTEN]], random) for start in range(0, n_cells, WRITTEN)]
    ad.AnnData(obs=obs, var=cells.var[[]]).write_h5ad(path)
    with h5py.File(path, "a") as file:
        write_matrix(file, sparse.vstack(parts, format="csr"))
    return str(path)


def resampled(counts, random: np.random.Generator):
    """Return Poisson counts with these means."""
    counts = counts.tocsr()
    counts.data = random.poisson(counts.data).astype(np.float32)
    counts.eliminate_zeros()
    return counts


def limited(steps: int):
    """Return a context in which an epoch has at most so many minibatches, and a tenth of them for validation."""
    from scvi.train import Trainer

    made = Trainer.__init__
    return patch.object(
        Trainer,
        "__init__",
        lambda self, *args, **options: made(
            self, *args, limit_train_batches=steps, limit_val_batches=steps // 10, **options
        ),
    )


def speed(real: str, work: Path, sizes: list[int]) -> pd.DataFrame:
    """Return medians of cells per second, and of the ratios of one turn, with their range."""
    from refatlas.models.scanvi import ScANVI
    from refatlas.models.scvi import ScVI

    rows = []
    for n_cells in sizes:
        path = synthetic(real, work, n_cells)
        for turn in range(REPEATS):
            for side in ("memory", "disk"):
                counts = read_counts(path, side == "disk")
                base = None
                for name, kind in (("scvi", ScVI), ("scanvi", ScANVI)):
                    with redirect_stdout(sys.stderr), epoch_clock() as spent:
                        model = kind.fit(counts, settings(EPOCHS), JobContext(), base)
                    base, seen = model, EPOCHS * 0.9 * n_cells
                    rows += [
                        {"model": name, "cells": n_cells, "turn": turn, "side": side, "by": by, "speed": seen / seconds}
                        for by, seconds in spent.items()
                    ]
    keys = ["model", "cells", "by"]
    by_turn = pd.DataFrame(rows).pivot_table(index=[*keys, "turn"], columns="side", values="speed")[["memory", "disk"]]
    ratio = (
        (by_turn["disk"] / by_turn["memory"])
        .groupby(level=[0, 1, 2])
        .agg(lambda values: f"{values.median():.2f} ({values.min():.2f}–{values.max():.2f})")
    )
    return by_turn.groupby(level=[0, 1, 2]).median().round(0).join(ratio.rename("ratio")).reset_index()


@contextmanager
def epoch_clock():
    """Yield the seconds of the epochs of the last training in the block, by the clock and as CPU time."""
    from refatlas.models.scvi_training import RecordEpochs

    begin, end, began, spent = RecordEpochs.on_train_start, RecordEpochs.on_train_epoch_end, {}, {}

    def started(self, *args) -> None:
        begin(self, *args)
        began.update({"clock": time.monotonic(), "CPU": time.process_time()})

    def ended(self, *args) -> None:
        spent.update({"clock": time.monotonic() - began["clock"], "CPU": time.process_time() - began["CPU"]})
        end(self, *args)

    with patch.object(RecordEpochs, "on_train_start", started), patch.object(RecordEpochs, "on_train_epoch_end", ended):
        yield spent


def memory(real: str, work: Path, sizes: list[int]) -> pd.DataFrame:
    """Return the peak memory of each size and side, in MB."""
    rows = []
    for n_cells in sizes:
        path = synthetic(real, work, n_cells)
        for side in ("memory", "disk"):
            output = subprocess.run(
                [sys.executable, __file__, "one", path, side], capture_output=True, text=True, check=True
            ).stdout
            rows.append({"cells": n_cells, "side": side, "peak MB": json.loads(output.splitlines()[-1])})
    return (
        pd.DataFrame(rows)
        .pivot_table(index="cells", columns="side", values="peak MB")[["memory", "disk"]]
        .reset_index()
    )


def one(path: str, side: str) -> float:
    """Return the peak memory in MB of a training of a few steps and of the latent space of all cells."""
    from refatlas.jobs.provenance import peak_mb
    from refatlas.models.scvi import ScVI

    counts = read_counts(path, side == "disk")
    with limited(MEMORY_STEPS), redirect_stdout(sys.stderr):
        ScVI.fit(counts, settings(1), JobContext()).latent(counts)
    return peak_mb()


def quality(real: str, work: Path, _sizes: list[int]) -> pd.DataFrame:
    """Return for each seed and side the held-out ELBO, the accuracy of kNN in scVI's latent space,
    and that of scANVI's classifier.
    """
    from refatlas.io import row_reader
    from refatlas.models import disk_loader

    cells = ad.read_h5ad(real)
    cells.obs["label"] = cells.obs["cell_type"]
    cells = cells[:, np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel())[:QUALITY_GENES]]
    donors = cells.obs["batch"].cat.categories[:6]
    cells = cells[
        cells.obs[cells.obs["batch"].isin(donors)].sort_values(["batch", "label"], kind="stable").index
    ].copy()
    held_out = np.random.default_rng(0).random(cells.n_obs) < TEST_SHARE
    test, path = cells[held_out].copy(), str(work / "quality.h5ad")
    reference = cells[~held_out].copy()
    reference.write_h5ad(path)
    with h5py.File(path, "a") as file:
        write_matrix(file, reference.X)
    rows = []
    with (
        patch.object(disk_loader, "BLOCK", QUALITY_BLOCK),
        patch.object(row_reader, "BLOCK", QUALITY_BLOCK),
        patch.object(disk_loader, "POOL_CELLS", 64 * QUALITY_BLOCK),
    ):
        for seed in range(3):
            for side in ("memory", "disk"):
                with redirect_stdout(sys.stderr):
                    rows.append({"seed": seed, "side": side} | judged(read_counts(path, side == "disk"), test, seed))
    return pd.DataFrame(rows)


def judged(counts: ad.AnnData, test: ad.AnnData, seed: int) -> dict[str, float]:
    """Return the scores of a scVI, and of the scANVI that starts from it, on cells that neither has seen."""
    from sklearn.neighbors import KNeighborsClassifier

    from refatlas.models.scanvi import ScANVI
    from refatlas.models.scvi import ScVI

    scvi_model = ScVI.fit(counts, settings(10), JobContext(seed))
    knn = KNeighborsClassifier(K).fit(scvi_model.latent(counts), counts.obs["label"].astype(str))
    scores = {"knn": knn.score(scvi_model.latent(test.copy()), test.obs["label"].astype(str))}
    scores["elbo"] = float(scvi_model.model.get_elbo(test.copy()))
    predicted = ScANVI.fit(counts, settings(5), JobContext(seed), scvi_model).predict(test.copy()).idxmax(axis=1)
    right = predicted.to_numpy() == test.obs["label"].astype(str).to_numpy()
    return scores | {
        "scanvi": right.mean(),
        "scanvi by label": pd.Series(right).groupby(test.obs["label"].astype(str).to_numpy()).mean().mean(),
    }


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "one":
        print(one(*sys.argv[2:]))
        return
    if len(sys.argv) < 4 or sys.argv[1] not in ("speed", "memory", "quality"):
        sys.exit(__doc__)
    import scvi
    import torch

    part, real, work, sizes = (
        sys.argv[1],
        sys.argv[2],
        Path(sys.argv[3]),
        [int(n) for n in sys.argv[4:]] or [50_000, 200_000],
    )
    work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    found = {"speed": speed, "memory": memory, "quality": quality}[part](real, work, sizes)
    print(
        f"{part}: scvi-tools {scvi.__version__}, torch {torch.__version__}, anndata {version('anndata')};"
        f" {os.cpu_count()} cores, one thread for training; {time.monotonic() - started:.0f} s"
    )
    print(found.to_markdown(index=False, floatfmt=".5g"))


if __name__ == "__main__":
    main()
