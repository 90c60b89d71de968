"""One model trained by several processes together, on the CPU here."""

import os
import signal
import subprocess
import sys
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import REPO, small_counts, snakemake, write_sheets
from refatlas.errors import InputError
from refatlas.io.model_counts import write_matrix
from refatlas.models.interface import JobContext
from refatlas.models.multi_gpu import fit_on_multiple_gpus, require_one_group
from refatlas.models.scvi import ScVI

pytestmark = pytest.mark.slow
SETTINGS = {
    "type": "scvi",
    "model": {"n_latent": 10, "n_layers": 1, "n_hidden": 64, "dropout_rate": 0.1, "gene_likelihood": "nb"},
    "train": {"max_epochs": 10, "batch_size": 64, "lr": 2e-3, "patience": 10, "min_delta": 1e-4, "kl_warmup": 0.25},
}
JOB = JobContext()


@pytest.fixture(scope="module")
def kang(real, tmp_path_factory):
    """The path of 2,000 real cells × 400 genes of eight donors, as select_genes and build_reference
    leave them, and the cells.
    """
    import h5py

    cells = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::6, :400].copy()
    cells = cells[np.asarray(cells.X.sum(1)).ravel() > 0].copy()
    cells.X = cells.X.astype(np.float32)
    path = tmp_path_factory.mktemp("kang") / "counts.h5ad"
    cells.write_h5ad(path)
    with h5py.File(path, "a") as file:
        write_matrix(file, cells.X)
    return str(path), cells


@pytest.fixture(scope="module")
def together(kang):
    """A model that two processes trained."""
    return fit_on_multiple_gpus("scvi", *kang, {**SETTINGS, "gpus": 2}, JOB)


def test_processes_train_one_model_as_good_as_one_does(together, kang):
    alone = ScVI.fit(kang[1].copy(), {**SETTINGS, "train": {**SETTINGS["train"], "batch_size": 128}}, JOB)
    histories = together.training.history, alone.training.history
    assert len(histories[0]) == len(histories[1]) == SETTINGS["train"]["max_epochs"]
    fallen = [h["elbo_validation"].iloc[0] - h["elbo_validation"].iloc[-1] for h in histories]
    assert abs(histories[0]["elbo_validation"].iloc[-1] - histories[1]["elbo_validation"].iloc[-1]) < 0.1 * fallen[1]
    assert together.training.monitor == "elbo_validation"
    # Processes that each saw all cells would take twice as many steps.
    n_steps = int(np.ceil(np.ceil(0.9 * kang[1].n_obs) / 2 / SETTINGS["train"]["batch_size"]))
    assert together.training.notes == [
        f"trained by 2 processes together, each on its share of the cells: {n_steps} steps per epoch"
    ]


def test_what_they_trained_is_a_model_like_any(together, kang, tmp_path):
    together.save(tmp_path / "model.pt")
    latent = ScVI.load(tmp_path / "model.pt", kang[1]).latent(kang[1])
    np.testing.assert_allclose(latent, together.latent(kang[1]), atol=1e-5)
    settings = {"surgery": {**SETTINGS["train"], "max_epochs": 1}}
    mapped = together.map_query(kang[1][:200].copy(), settings, JOB)
    assert mapped.latent(kang[1][:200].copy()).shape == (200, 10)


def test_a_loss_that_is_not_finite_is_raised(kang):
    with pytest.raises(FloatingPointError, match="scvi"):
        fit_on_multiple_gpus("scvi", *kang, {**SETTINGS, "gpus": 2, "train": {**SETTINGS["train"], "lr": 1e6}}, JOB)


def test_too_few_gpus_are_refused(kang, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="2 are requested, but this job sees 1"):
        fit_on_multiple_gpus("scvi", *kang, {**SETTINGS, "gpus": 2}, JOB)


def test_processes_that_train_alone_are_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"2 processes were started .* in a group of 1"):
        require_one_group(1)


def processes_in(folder) -> list[str]:
    """Return the commands of running processes that name a folder."""
    lines = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if str(folder) in line and not line.startswith("Z")]


def test_no_process_outlives_a_job_that_is_ended(kang, tmp_path):
    settings = {**SETTINGS, "gpus": 2, "train": {**SETTINGS["train"], "max_epochs": 400, "patience": 400}}
    code = (
        "from refatlas.models.interface import JobContext\n"
        "from refatlas.models.multi_gpu import fit_on_multiple_gpus\n"
        f"fit_on_multiple_gpus('scvi', {kang[0]!r}, None, {settings!r}, JobContext())"
    )
    log = tmp_path / "log"
    with log.open("w") as out:
        job = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(REPO / "workflow/scripts"), "TMPDIR": str(tmp_path)},
        )
    waited = time.monotonic()
    while "scvi: epoch 1" not in log.read_text() and time.monotonic() - waited < 120:
        time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(120) == 128 + signal.SIGTERM, log.read_text()
    ended = time.monotonic()
    while (left := processes_in(tmp_path)) and time.monotonic() - ended < 20:
        time.sleep(0.2)
    assert left == []
    assert list(tmp_path.iterdir()) == [log]


def test_through_the_workflow_where_they_stop_early_together(tmp_path):
    """No fall is large enough to count: one that went on alone would wait for the other for ever."""
    small_counts(400).write_h5ad(tmp_path / "cells.h5ad")
    row = {"path": "cells.h5ad", "label_key": "cell_type"}
    train = {"max_epochs": 50, "patience": 2, "min_delta": 0.9, "kl_warmup": 0.0}
    model = {"type": "scvi", "gpus": 2, "model": {"n_hidden": 16}, "train": train}
    write_sheets(
        tmp_path,
        [{"dataset": "d", **row}],
        [{"query": "q", **row}],
        models={"mine": model},
        genes={"n_top": 60},
        qc={"min_genes": 1},
    )
    run = snakemake(tmp_path, "--cores", "2", "--quiet", "host", "--", "results/reference/models/mine/model.pt")
    assert "gpu=2" in run.stderr
    folder = tmp_path / "results/reference/models/mine"
    assert "trained by 2 processes together" in (folder / "training.md").read_text()
    log = (tmp_path / "logs/train_reference/reference/mine.log").read_text()
    assert log.count("scvi: epoch 3/50") == 1
    assert len(pd.read_csv(folder / "training.csv")) == 3
    assert "converged | yes" in (folder / "training.md").read_text()
    assert not [path for path in tmp_path.rglob("*") if path.name == "lightning_logs"]
