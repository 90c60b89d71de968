"""Time of training to a held-out ELBO: scvi-tools with its defaults, and this workflow with small and large
minibatches.

usage: .venv/bin/python measurements/time_to_elbo.py KANG_H5AD [EPOCHS [EVERY]]
    EPOCHS  of each training (default 100)
    EVERY   use every so many-th cell of the file of eight donors (default 2)

All sides have the same model, cells and held-out tenth; three seeds in turn. scvi-tools has minibatches of 128, a
learning rate of 0.001 and a KL warm-up of 400 epochs. The target is its best held-out ELBO. Time is one thread's CPU
time until a side first reaches it, which depends little on other work on the machine.
"""

import sys
import time
from contextlib import redirect_stdout
from types import SimpleNamespace
from unittest.mock import patch

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch

from likelihood import left_in
from refatlas.models import recorder, scvi_training
from refatlas.models.interface import JobContext

SEEDS = 3
SIDES = {  # batch size, learning rate
    "scvi-tools": (128, 1e-3),
    "refatlas, 128": (128, 1e-3),
    "refatlas, 256": (256, 2e-3),
    "refatlas, 512": (512, 2e-3),
    "refatlas, 512, lr x 4": (512, 4e-3),
}


def trained(counts: ad.AnnData, side: str, epochs: int, seed: int) -> pd.DataFrame:
    """Return held-out ELBO and CPU seconds since the start after each epoch."""
    job = JobContext(seed)
    scvi_training.start_training(job)
    model = scvi.model.SCVI(counts, n_layers=2, n_latent=20, gene_likelihood="nb", **scvi_training.SURGERY_READY)
    stock, (size, lr) = side == "scvi-tools", SIDES[side]
    settings = {
        "max_epochs": epochs,
        "batch_size": size,
        "lr": lr,
        "patience": epochs,
        "min_delta": 0,
        "kl_warmup": 400 / epochs if stock else 0.25,
    }
    with (
        left_in("scvi-tools" if stock else "all"),
        patch.object(recorder, "time", SimpleNamespace(monotonic=time.process_time)),
    ):
        rows = pd.DataFrame(scvi_training.train(model, settings, side, on_reference=True, job=job).rows)
    return pd.DataFrame({"elbo": rows["elbo_validation"], "seconds": rows["seconds"].cumsum()})


def seconds_to(run: pd.DataFrame, target: float) -> float:
    """Return the CPU seconds until a run first has a held-out ELBO (as a loss) of the target or
    less; NaN if it never has.
    """
    reached = run["seconds"][run["elbo"] <= target]
    return float(reached.iloc[0]) if len(reached) else np.nan


def main() -> None:
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    if torch.cuda.is_available():
        sys.exit("training on a CPU is measured: hide the GPU, CUDA_VISIBLE_DEVICES=")
    epochs, every = (int(value) for value in [*sys.argv[2:], *(["100", "2"][len(sys.argv) - 2 :])])
    counts = ad.read_h5ad(sys.argv[1])[::every].copy()
    counts.X = counts.X.tocsr().astype(np.float32)
    scvi.model.SCVI.setup_anndata(counts, batch_key="batch")
    rows = []
    for seed in range(SEEDS):
        with redirect_stdout(sys.stderr):
            runs = {side: trained(counts, side, epochs, seed) for side in SIDES}
        stock = runs["scvi-tools"]
        target = stock["elbo"].min()
        for side, run in runs.items():
            total, to_target = run["seconds"].iloc[-1], seconds_to(run, target)
            rows.append(
                {
                    "side": side,
                    "seed": seed,
                    "total": total,
                    "best ELBO": run["elbo"].min(),
                    "to target": to_target,
                    "faster": seconds_to(stock, target) / to_target,
                }
            )
        print(pd.DataFrame(rows[-len(SIDES) :]).round(2).to_markdown(index=False), flush=True)
    found = pd.DataFrame(rows).groupby("side", sort=False).agg(["median", "min", "max"]).drop(columns="seed")
    print(
        f"{counts.n_obs:,} cells, {counts.n_vars:,} genes, {epochs} epochs; scvi-tools {scvi.__version__}, torch"
        f" {torch.__version__}; medians, least and most of {SEEDS} seeds"
    )
    print(found.round(2).to_markdown())


if __name__ == "__main__":
    main()
