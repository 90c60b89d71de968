"""Speed of training on a CPU: scvi-tools as it is, with likelihoods on non-zero counts alone, and with everything that
this workflow omits from a step.

usage: .venv/bin/python measurements/likelihood.py

Sides are measured in turn. Speed is that of the second epoch, in cells per second of one thread's CPU time, which
depends little on other work on the machine.
"""

import os
import platform
import sys
import time
from contextlib import ExitStack, nullcontext, redirect_stdout
from types import SimpleNamespace
from unittest.mock import patch

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy import sparse

from refatlas.models import recorder, scvi_training
from refatlas.models.interface import JobContext
from refatlas.models.library_patches.scvi_tools import LogFirstStepOnly

N_CELLS, N_GENES, DEPTH, REPEATS = 10_000, 2_000, 170, 3
SETTINGS = {"max_epochs": 2, "lr": 1e-3, "patience": 10, "min_delta": 1e-4, "kl_warmup": 0.25}
SIDES = ("scvi-tools", "likelihood alone", "all")


def synthetic() -> ad.AnnData:
    """Return gamma-Poisson counts of two batches, with genes and cells of unequal means."""
    random = np.random.default_rng(0)
    genes = random.gamma(0.3, size=N_GENES)
    means = DEPTH * random.lognormal(0, 0.4, (N_CELLS, 1)) * genes / genes.sum()
    blocks = [
        sparse.csr_matrix(random.poisson(random.gamma(2, block / 2)).astype(np.float32))
        for block in np.array_split(means, 10)
    ]
    return ad.AnnData(
        sparse.vstack(blocks).tocsr(),
        obs=pd.DataFrame({"batch": np.arange(N_CELLS) % 2}, index=np.arange(N_CELLS).astype(str)).astype(str),
    )


def left_in(side: str) -> ExitStack:
    """Return a context in which training runs as on a side."""
    context = ExitStack()
    if side == "scvi-tools":
        context.enter_context(patch.object(scvi_training, "use_sparse_likelihood", nullcontext))
    if side != "all":
        context.enter_context(patch.object(LogFirstStepOnly, "setup", lambda *_, **__: None))
        context.enter_context(patch.object(scvi_training, "skip_unused_dropout", nullcontext))
    return context


def trained(counts: ad.AnnData, side: str, gene_likelihood: str, batch_size: int) -> dict:
    """Return cells per second and the ELBO of the last epoch."""
    scvi_training.start_training(JobContext())
    model = scvi.model.SCVI(
        counts, n_layers=2, n_latent=20, gene_likelihood=gene_likelihood, **scvi_training.SURGERY_READY
    )
    with left_in(side), patch.object(recorder, "time", SimpleNamespace(monotonic=time.process_time)):
        settings = SETTINGS | {"batch_size": batch_size}
        last = scvi_training.train(model, settings, side, on_reference=True, job=JobContext()).rows[-1]
    return {
        "likelihood": gene_likelihood,
        "batch": batch_size,
        "side": side,
        "speed": last["cells_per_second"],
        "elbo": last["elbo_validation"],
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per likelihood and batch size: median speeds, median ratios of one turn with their range, and the
    largest difference of ELBOs.
    """
    by_turn = rows.pivot_table(index=["likelihood", "batch", "turn"], columns="side", values="speed")[list(SIDES)]
    ratios = by_turn.div(by_turn["scvi-tools"], axis=0).drop(columns="scvi-tools").groupby(level=[0, 1])
    shown = ratios.agg(lambda values: f"{values.median():.2f} ({values.min():.2f}–{values.max():.2f})").add_suffix(
        ", ratio"
    )
    elbo = (
        rows.groupby(["likelihood", "batch"])["elbo"]
        .agg(lambda values: np.ptp(values) / np.median(values))
        .rename("ELBO, largest relative difference")
    )
    return by_turn.groupby(level=[0, 1]).median().round(0).join(shown).join(elbo).reset_index()


def main() -> None:
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    if torch.cuda.is_available():
        sys.exit("training on a CPU is measured: hide the GPU, CUDA_VISIBLE_DEVICES=")
    counts = synthetic()
    scvi.model.SCVI.setup_anndata(counts, batch_key="batch")
    cases = [
        (name, size, turn, side)
        for name in ("nb", "zinb")
        for size in (128, 512)
        for turn in range(REPEATS)
        for side in SIDES
    ]
    with redirect_stdout(sys.stderr):
        rows = pd.DataFrame([{"turn": turn} | trained(counts, side, name, size) for name, size, turn, side in cases])
    print(
        f"{N_CELLS:,} cells, {N_GENES:,} genes, {counts.X.nnz / N_CELLS / N_GENES:.1%} not 0; medians of {REPEATS}"
        " turns, of the ratios too (and their range)"
    )
    print(
        f"scvi-tools {scvi.__version__}, torch {torch.__version__}, numpy {np.__version__}; {platform.machine()},"
        f" {os.cpu_count()} cores, one thread used, no GPU used"
    )
    print(table(rows).to_markdown(index=False, floatfmt=".5g"))


if __name__ == "__main__":
    main()
