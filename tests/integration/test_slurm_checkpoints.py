"""Training on a real SLURM that is put back in the queue, then warned by SIGUSR1, and later reaches
its time limit, continues from its checkpoint each time.
"""

import re
import subprocess
import time

import pytest

pytest.importorskip("slurm_cluster", reason="the cluster for tests is not part of this version")
from test_checkpoints import Run

from conftest import site_profile, small_counts, snakemake, write_sheets

SITE = {"partition": '"cpu"', "gpu_partition": '"gpu"', "accounting": "false"}
# More than are ever trained: what ends training here is SLURM, and the test.
TRAIN = {"max_epochs": 20_000, "patience": 20_000}


def scontrol(*arguments: str) -> None:
    subprocess.run(["scontrol", *arguments], check=True)


def wait_for_epoch(log, n: int, seconds: float = 600) -> int:
    """Wait until a new job continues; return the epoch, which must be later than the n-th.
    Snakemake removes the log of the job before.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := re.search(r"continues from a checkpoint: epoch (\d+)", log.read_text() if log.exists() else ""):
            assert int(found[1]) > n
            return int(found[1])
        time.sleep(0.2)
    raise TimeoutError(f"{log}: no job has continued after {seconds} s")


def wait_for_text(log, text: str, seconds: float = 300) -> None:
    """Wait until a log says something: before SLURM says that the job has ended, after which
    Snakemake may remove the log.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{log} does not say {text!r} after {seconds} s")


def only_job() -> str:
    """Return the number of the one job in the queue."""
    (job,) = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True
    ).stdout.split()
    return job


def ended(cluster, job: str) -> str:
    """Wait until a job has ended; return its state."""
    while (state := cluster.show(job)["JobState"]) in ("RUNNING", "COMPLETING"):
        time.sleep(0.2)
    return state


def test_training_continues_after_requeue_signal_and_time_limit(tmp_path, cluster):
    small_counts(n_cells=300, n_genes=100).write_h5ad(tmp_path / "a.h5ad")
    config = {
        "models": {"scvi": {"type": "scvi", "train": TRAIN}},
        "evaluation": {"folds": 0},
        "genes": {"n_top": 80},
        "checkpoint": {"minutes": 1 / 60},
    }
    write_sheets(tmp_path, [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "a.h5ad"}], **config)
    snakemake(tmp_path, "--cores", "2", "results/reference/counts.h5ad")
    outputs, log = tmp_path / "results/reference/models/scvi", tmp_path / "logs/train_reference/reference/scvi.log"
    file, profile = outputs / ".checkpoint/state.ckpt", site_profile(tmp_path / "profile", **SITE)
    run = Run(
        tmp_path,
        "--workflow-profile",
        profile,
        "--slurm-init-seconds-before-status-checks",
        "1",
        "--",
        outputs.relative_to(tmp_path) / "latent.parquet",
    )
    try:
        run.wait_for_checkpoint(file)
        job = only_job()
        scontrol("requeue", job)
        wait_for_text(log, "SIGTERM: the job ends here")
        while cluster.show(job)["JobState"] != "PENDING":
            time.sleep(0.2)
        # By itself it would wait for two minutes.
        scontrol("update", f"JobId={job}", "StartTime=now")
        epoch = wait_for_epoch(log, 1)
        run.wait_for_checkpoint(file, after=file.stat().st_mtime_ns)
        # What sbatch --signal=USR1@SECONDS sends before a time limit.
        subprocess.run(["scancel", "--signal=USR1", job], check=True)
        wait_for_text(log, "SIGUSR1: the job ends here")
        assert ended(cluster, job) == "FAILED"
        log.unlink(missing_ok=True)
        epoch = wait_for_epoch(log, epoch)
        run.wait_for_checkpoint(file, after=file.stat().st_mtime_ns)
        job = only_job()
        scontrol("update", f"JobId={job}", "TimeLimit=1")
        wait_for_text(log, "SIGTERM: the job ends here")
        assert ended(cluster, job) == "TIMEOUT"
        log.unlink(missing_ok=True)
        wait_for_epoch(log, epoch)
    finally:
        run.process.kill()
        run.process.wait()
        subprocess.run(["scancel", "--user=root"], check=False)
