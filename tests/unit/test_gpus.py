"""Jobs on a workstation with several GPUs get different ones. GPUs that a scheduler has assigned stay."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from conftest import REPO
from refatlas.jobs.gpus import own_gpus, reserve_gpus, visible_gpus

JOB = """
import os, sys
from refatlas.jobs.gpus import own_gpus
with own_gpus(1):
    print(os.environ["CUDA_VISIBLE_DEVICES"], file=sys.stderr, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_locks(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def start_job() -> tuple[subprocess.Popen, str]:
    """Start a job that holds one GPU until its input is closed; return it, and its GPU."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO / "workflow" / "scripts")},
    )
    return job, job.stderr.readline().strip()


def test_jobs_at_the_same_time_get_different_gpus_and_release_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    with ExitStack() as jobs:
        started = [start_job() for _ in range(4)]
        for job, _ in started:
            jobs.enter_context(job)
            jobs.callback(job.kill)
        gpus = [gpu for _, gpu in started]
        assert gpus == ["3", "5", "7", "3"]
        started[1][0].kill()
        started[1][0].wait()
        job, gpu = start_job()
        jobs.enter_context(job)
        jobs.callback(job.kill)
        assert gpu == "5"


def test_several_gpus_for_one_job():
    with ExitStack() as locks:
        assert reserve_gpus(["a", "b", "c"], 2, locks) == ["a", "b"]
        assert reserve_gpus(["a", "b", "c"], 2, locks) == ["c", "a"]


def test_gpus_are_counted_by_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU-one\necho GPU-two\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert visible_gpus() == ["GPU-one", "GPU-two"]
    with own_gpus(1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-one"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with own_gpus(2):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with own_gpus(0):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_assigned_and_hidden_gpus_stay_as_they_are(monkeypatch):
    for assigned in ("2", "", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", assigned)
        with own_gpus(1):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == assigned
