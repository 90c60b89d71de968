"""The cost of checkpoints in training, and the time until a job that was ended by SIGTERM trains again.

usage: .venv/bin/python measurements/checkpoints.py

Sides are measured in turn: no checkpoints, one every ten minutes (the default), one every second. CPU time of one
thread, which depends little on other work on the machine; the restart is measured by the clock.
"""

import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import anndata as ad
import numpy as np
import scvi
import torch

from likelihood import N_CELLS, N_GENES, synthetic
from refatlas.models.checkpoints import Checkpoints
from refatlas.models.interface import JobContext
from refatlas.models.scvi_settings import VAE
from refatlas.models.scvi_training import SURGERY_READY, start_training
from refatlas.models.scvi_training import train as train_stage

SETTINGS = {"batch_size": 128, "lr": 1e-3, "patience": 1000, "min_delta": 1e-4, "kl_warmup": 0.25}
SIDES, REPEATS, EPOCHS = {"none": None, "every 10 minutes": 600, "every second": 1}, 3, 4


class Timed(Checkpoints):
    """Checkpoints that record the CPU seconds of each copy and each write."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.seconds_of = {"_take": [], "_write": []}

    def _take(self, *arguments) -> None:
        self._measured("_take", *arguments)

    def _write(self) -> None:
        self._measured("_write")

    def _measured(self, name: str, *arguments) -> None:
        started = time.process_time()
        getattr(super(), name)(*arguments)
        self.seconds_of[name].append(time.process_time() - started)


def train(counts: ad.AnnData, checkpoints: Checkpoints | None, n_epochs: int) -> None:
    """Train scVI of the default size."""
    job = JobContext(checkpoints=checkpoints or Checkpoints())
    start_training(job)
    scvi.model.SCVI.setup_anndata(counts, batch_key="batch")
    model = scvi.model.SCVI(counts, **{name: setting["default"] for name, setting in VAE.items()}, **SURGERY_READY)
    train_stage(model, SETTINGS | {"max_epochs": n_epochs}, "scvi", on_reference=True, job=job)


def overhead(counts: ad.AnnData, folder: Path) -> None:
    """Print each side's CPU time relative to no checkpoints, and the share that checkpoints measured themselves."""
    spent, shares, parts = {side: [] for side in SIDES}, {side: [] for side in SIDES}, {"_take": [], "_write": []}
    for turn in range(REPEATS):
        for side, seconds in SIDES.items():
            checkpoints = Timed(folder / f"{turn}{seconds}", {}, seconds) if seconds else None
            started = time.process_time()
            with redirect_stdout(sys.stderr):
                train(counts, checkpoints, EPOCHS)
            spent[side].append(time.process_time() - started)
            own = checkpoints.seconds_of if checkpoints else {}
            shares[side].append(sum(map(sum, own.values())) / spent[side][-1])
            for name, found in own.items():
                parts[name] += found
    print("| checkpoints | CPU time, ratio (range) | of it in checkpoints |\n|---|---|---|")
    for side in SIDES:
        ratios = np.array(spent[side]) / spent["none"]
        print(
            f"| {side} | {np.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f}) |"
            f" {100 * np.median(shares[side]):.2f} % |"
        )
    size = next(folder.rglob("state.ckpt")).stat().st_size / 1e6
    print(
        f"a copy {1000 * np.median(parts['_take']):.0f} ms, a write {1000 * np.median(parts['_write']):.0f} ms of CPU"
        f" time, {size:.1f} MB"
    )


def until(job: subprocess.Popen, text: str) -> float:
    """Read the output of a job up to a text; return the time."""
    for line in job.stdout:
        if text in line:
            return time.monotonic()
    raise RuntimeError(f"the job ended before it printed {text!r}")


def restart(counts: ad.AnnData, folder: Path) -> None:
    """Print the time from SIGTERM to the end of the job, and of a new job to its first epoch."""
    counts.write_h5ad(folder / "counts.h5ad")
    command = [sys.executable, __file__, "job", str(folder)]
    ended, begun, trained = [], [], []
    for turn in range(REPEATS + 1):
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
            if turn:
                begun.append(until(job, "continues from a checkpoint") - started)
            trained.append(until(job, "epoch ") - started)
            time.sleep(2)
            sent = time.monotonic()
            job.send_signal(signal.SIGTERM)
            job.stdout.read()
            job.wait()
            ended.append(time.monotonic() - sent)
            assert job.returncode == 128 + signal.SIGTERM
    seconds = [
        f"{np.median(values):.1f} s ({min(values):.1f}–{max(values):.1f})"
        for values in (ended, begun, trained[1:], trained[:1])
    ]
    print(
        f"SIGTERM to the end of the job {seconds[0]}; start of the next job to its training {seconds[1]}, to the end of"
        f" its first epoch {seconds[2]}; a job without a checkpoint {seconds[3]}"
    )


def main() -> None:
    if sys.argv[1:2] == ["job"]:
        folder = Path(sys.argv[2])
        train(ad.read_h5ad(folder / "counts.h5ad"), Checkpoints(folder / "job", {}, 600), 1000)
        return
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    counts = synthetic()
    print(
        f"{N_CELLS:,} synthetic cells × {N_GENES:,} genes, {EPOCHS} epochs, one thread; torch {torch.__version__},"
        f" scvi-tools {scvi.__version__}, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        overhead(counts, Path(folder))
        restart(counts, Path(folder))


if __name__ == "__main__":
    main()
