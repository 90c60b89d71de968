"""Training and mapping that are killed continue from a checkpoint, with the same results.

Weights are equal bit by bit, and so is the history.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_unusual import one_epoch

from conftest import REPO, small_counts, snakemake, write_sheets
from refatlas.io.model_counts import read_counts
from refatlas.models import checkpoints
from refatlas.models.checkpoints import Checkpoints, identity
from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES

EPOCHS = 6


class Signalled(Checkpoints):
    """Checkpoints that send the process a signal at the start of the n-th epoch that they see."""

    def __init__(self, *arguments, at: int, number=signal.SIGTERM) -> None:
        super().__init__(*arguments)
        self.left, self.number = at, number

    def at_epoch_start(self, stage, state) -> None:
        super().at_epoch_start(stage, state)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def counts():
    """280 cells with labels and proteins as build_reference stores them, and 90 of a query."""
    made = small_counts(n_cells=280, n_genes=60)
    made.obs = pd.DataFrame(
        {"batch": made.obs["batch"].astype("category"), "label": made.obs["cell_type"].astype("category")},
        index=made.obs_names,
    )
    made.var["symbol"] = made.var_names
    made.obsm["proteins"] = np.random.default_rng(1).poisson(5, (280, 4)).astype(np.float32)
    made.uns["protein_names"] = np.array([f"P{i}" for i in range(4)])
    query = made[:90].copy()
    query.obs = pd.DataFrame({"batch": pd.Categorical(["q"] * 90)}, index=query.obs_names)
    return made, query


def few_epochs(kind: str, tmp_path) -> dict:
    """Return settings of EPOCHS epochs, over half of which the KL weight grows; totalVI's learning
    rate falls as soon as it may.
    """
    gmt = tmp_path / "programs.gmt"
    gmt.write_text(
        "".join(f"program{i}\tnone\t" + "\t".join(f"G{g}" for g in range(i, 60, 4)) + "\n" for i in range(3))
    )
    settings = one_epoch(kind, **({"model": {"gmt": str(gmt)}} if MODEL_TYPES[kind].files else {}))
    for section in settings.values():
        if isinstance(section, dict) and "max_epochs" in section:
            section |= {
                "max_epochs": EPOCHS,
                "kl_warmup": 0.5,
                "batch_size": 64,
                "patience": 2 if kind == "totalvi" else 20,
            }
    if MODEL_TYPES[kind].needs_systems:
        settings["systems"] = {"b1": "a", "b2": "b", "q": "b"}
    return settings


def interrupted(train, folder: Path, at: int, seconds: float = 1e9, **options) -> Checkpoints:
    """Run `train(checkpoints)`, which a signal must end with its own code; return the checkpoints
    that another job would find.
    """
    with pytest.raises(SystemExit) as end:
        train(Signalled(folder, {}, seconds, at=at, **options))
    assert end.value.code == 128 + options.get("number", signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    return Checkpoints(folder, {}, seconds)


def job_with(checkpoints: Checkpoints | None) -> JobContext:
    return JobContext(checkpoints=checkpoints or Checkpoints())


def losses(model) -> pd.DataFrame:
    return model.training.history.drop(columns=["seconds", "cells_per_second"])


@pytest.mark.parametrize(
    ("kind", "at", "place"),
    [
        ("scvi", 4, "scvi: 4"),
        ("scanvi", 10, "scanvi: 4"),
        ("totalvi", 5, "totalvi: 5"),
        ("scpoli", 10, "train: 4"),
        ("expimap", 4, "train: 4"),
        ("trvae", 4, "train: 4"),
        ("drvi", 4, "drvi: 4"),
        ("sysvi", 4, "sysvi: 4"),
        ("peakvi", 4, "peakvi: 4"),
    ],
)
def test_training_and_mapping_that_continue_end_as_those_without_a_break(
    kind, at, place, counts, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(checkpoints, "SHORTEST_SECONDS", 0)
    reference, query = counts
    settings, kind_class = few_epochs(kind, tmp_path), MODEL_TYPES[kind].load_class()

    def fit(checkpoints=None):
        return kind_class.fit(reference.copy(), settings, job_with(checkpoints))

    uninterrupted = fit()
    found = interrupted(fit, tmp_path / "fit", at)
    continued = fit(found)
    stage, epoch = place.split(": ")
    assert f"{stage}: continues from a checkpoint: epoch {epoch}\n" in capsys.readouterr().out
    np.testing.assert_array_equal(continued.latent(reference.copy()), uninterrupted.latent(reference.copy()))
    pd.testing.assert_frame_equal(losses(continued), losses(uninterrupted))

    def map_query(checkpoints=None):
        return uninterrupted.map_query(query.copy(), settings, job_with(checkpoints))

    mapped = map_query()
    mapped_again = map_query(interrupted(map_query, tmp_path / "map", 3))
    assert "surgery: continues from a checkpoint: epoch 3\n" in capsys.readouterr().out
    np.testing.assert_array_equal(mapped_again.latent(query.copy()), mapped.latent(query.copy()))
    pd.testing.assert_frame_equal(losses(mapped_again), losses(mapped))
    assert mapped_again.training.mean_shift == mapped.training.mean_shift


def test_within_a_long_epoch_its_other_minibatches_follow(counts, tmp_path, monkeypatch, capsys):
    """Every checkpoint is due at once here, so that one is written after each minibatch."""
    monkeypatch.setattr(checkpoints, "LONG_EPOCH_SECONDS", 0)
    reference, _ = counts
    settings, scvi = few_epochs("scvi", tmp_path), MODEL_TYPES["scvi"].load_class()

    def fit(checkpoints=None):
        return scvi.fit(reference.copy(), settings, job_with(checkpoints))

    uninterrupted, continued = fit(), fit(interrupted(fit, tmp_path / "fit", 4, seconds=0, number=signal.SIGUSR1))
    assert "scvi: continues from a checkpoint: epoch 4 after 1 minibatches\n" in capsys.readouterr().out
    steps = [
        next(iter(model.model.trainer.optimizers[0].state.values()))["step"].item()
        for model in (uninterrupted, continued)
    ]
    assert steps == [4 * EPOCHS, 4 * EPOCHS]
    assert list(continued.training.history["epoch"]) == list(range(1, EPOCHS + 1))
    assert continued.training.final_loss() == pytest.approx(uninterrupted.training.final_loss(), rel=0.02)


def test_training_from_disk_continues(counts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "SHORTEST_SECONDS", 0)
    counts[0].write_h5ad(tmp_path / "counts.h5ad")
    settings, scvi = few_epochs("scvi", tmp_path), MODEL_TYPES["scvi"].load_class()

    def fit(checkpoints=None):
        return scvi.fit(read_counts(str(tmp_path / "counts.h5ad"), from_disk=True), settings, job_with(checkpoints))

    uninterrupted, continued = fit(), fit(interrupted(fit, tmp_path / "fit", 4))
    assert "scvi: continues from a checkpoint: epoch 4\n" in capsys.readouterr().out
    pd.testing.assert_frame_equal(losses(continued)[:3], losses(uninterrupted)[:3])
    assert continued.training.final_loss() == pytest.approx(uninterrupted.training.final_loss(), rel=0.02)


def saved(folder: Path, identity: dict, attempt: int = 1) -> Path:
    """Return the file of a checkpoint after epoch 2."""
    made = Checkpoints(folder, identity, 0)
    made.attempt = attempt
    made.at_epoch_start("scvi", lambda: {"stage": "scvi", "epoch": 2, "minibatches": 0})
    return made.file


def test_a_checkpoint_of_something_else_or_damaged_is_ignored_with_a_reason(tmp_path, capsys):
    (tmp_path / "counts").write_text("1")
    mine = identity({"train": {"lr": 0.1}}, 0, [tmp_path / "counts"], "1")
    file = saved(tmp_path / "a", mine)
    assert Checkpoints(tmp_path / "a", mine).state_of("scvi")["epoch"] == 2
    capsys.readouterr()
    for other in (identity({"train": {"lr": 0.1}}, 1, [], "1"), identity({"train": {"lr": 0.2}}, 0, [], "1")):
        assert Checkpoints(tmp_path / "a", {**mine, "settings": other["settings"]}).found is None
        printed = capsys.readouterr().out
        assert "is ignored: it does not fit the job's settings; training starts from the beginning" in printed
    assert Checkpoints(tmp_path / "a", {**mine, "revision": "2"}).found is None
    assert "it does not fit the job's revision" in capsys.readouterr().out
    (tmp_path / "counts").write_text("12")
    changed = identity({"train": {"lr": 0.1}}, 0, [tmp_path / "counts"], "1")
    assert Checkpoints(tmp_path / "a", changed | {"versions": "torch 1"}).found is None
    assert "it does not fit the job's inputs and versions" in capsys.readouterr().out
    uninterrupted = file.read_bytes()
    for damaged in (
        uninterrupted[:-1],
        uninterrupted[:40],
        b"",
        uninterrupted[:-9] + bytes([uninterrupted[-9] ^ 1]) + uninterrupted[-8:],
        uninterrupted.replace(b"sha256", b"sha255"),
    ):
        file.write_bytes(damaged)
        found = Checkpoints(tmp_path / "a", mine)
        assert (found.found, found.finished, found.attempt) == (None, {}, 1)
        assert "is ignored: it is damaged" in capsys.readouterr().out


def test_a_second_attempt_continues_as_such(tmp_path):
    from refatlas.models.interface import Training, train_again_if_not_finite

    saved(tmp_path, {}, attempt=2)
    rates = []

    checkpoints = Checkpoints(tmp_path, {})

    def train(settings):
        rates.append(settings["train"]["lr"])
        assert checkpoints.state_of("scvi")["epoch"] == 2
        return type("Model", (), {"training": Training()})

    train_again_if_not_finite(train, {"train": {"lr": 0.1}}, checkpoints)
    assert rates == pytest.approx([0.01])


def test_a_full_disk_stops_no_training(tmp_path, capsys):
    (tmp_path / "in_the_way").write_text("")
    made = Checkpoints(tmp_path / "in_the_way", {}, 0)
    made.at_epoch_start("scvi", lambda: {"stage": "scvi", "epoch": 0, "minibatches": 0})
    assert "Warning: no checkpoint could be written" in capsys.readouterr().out


class Run:
    """A run of Snakemake in a session of its own, whose job of a rule can be found."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            REPO / "Snakefile",
            "--configfile",
            folder / "config.yaml",
            "--cores",
            "1",
            *arguments,
        ]
        with (folder / "screen.txt").open("w") as screen:
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=folder, stdout=screen, stderr=screen, start_new_session=True
            )

    def job(self, script: str) -> int:
        """Return the process of a rule's script."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                named = f"{script}.py" in (path / "cmdline").read_text() and (path / "cwd").readlink() == self.folder
                if named and (path / "comm").read_text().startswith("python"):
                    return int(path.name)
            except OSError:
                continue
        raise LookupError(script)

    def wait_for_checkpoint(self, file: Path, after: int = 0) -> int:
        """Wait until a checkpoint is written; return its time."""
        while not (file.exists() and file.stat().st_mtime_ns > after):
            assert self.process.poll() is None, (self.folder / "screen.txt").read_text()[-3000:]
            time.sleep(0.05)
        return file.stat().st_mtime_ns


def test_jobs_and_snakemake_that_are_killed(tmp_path):
    """SIGTERM to the job, then SIGKILL to the job and all of Snakemake; the third run ends, and
    equals one without a break. Another interval re-runs nothing.
    """
    sheets = [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "a.h5ad"}]
    small_counts(n_cells=300, n_genes=100).write_h5ad(tmp_path / "a.h5ad")
    train = {"max_epochs": 200, "patience": 200}
    config = {"models": {"scvi": {"type": "scvi", "train": train}}, "evaluation": {"folds": 0}, "genes": {"n_top": 80}}
    write_sheets(tmp_path, *sheets, **config, checkpoint={"minutes": 1 / 60})
    outputs, log = tmp_path / "results/reference/models/scvi", tmp_path / "logs/train_reference/reference/scvi.log"
    file, target = outputs / ".checkpoint/state.ckpt", outputs.relative_to(tmp_path) / "latent.parquet"

    run = Run(tmp_path, target)
    run.wait_for_checkpoint(file)
    os.kill(run.job("train_reference"), signal.SIGTERM)
    assert run.process.wait(60) == 1
    assert "SIGTERM: the job ends here" in log.read_text()
    assert [path.name for path in outputs.iterdir()] == [".checkpoint"]

    written = file.stat().st_mtime_ns
    run = Run(tmp_path, target)
    run.wait_for_checkpoint(file, after=written)
    os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()
    assert re.search(r"scvi: continues from a checkpoint: epoch \d+\n", log.read_text())

    snakemake(tmp_path, "--unlock")
    snakemake(tmp_path, "--cores", "1", "--rerun-incomplete", target)
    assert "the job was interrupted; scvi continued from a checkpoint: epoch" in (outputs / "training.md").read_text()
    assert not file.parent.exists()
    counts = read_counts(tmp_path / "results/reference/counts.h5ad")
    settings = one_epoch("scvi", train={"patience": 200})
    settings["train"]["max_epochs"] = 200
    uninterrupted = MODEL_TYPES["scvi"].load_class().fit(counts, settings, JobContext())
    np.testing.assert_array_equal(pd.read_parquet(outputs / "latent.parquet"), uninterrupted.latent(counts))
    found = pd.read_csv(outputs / "training.csv")
    assert list(found["epoch"]) == list(range(1, 201))
    assert found["elbo_validation"].to_numpy() == pytest.approx(
        uninterrupted.training.history["elbo_validation"].to_numpy(), rel=1e-12
    )

    write_sheets(tmp_path, *sheets, **config, checkpoint={"minutes": 5})
    run = snakemake(tmp_path, "--dry-run", target)
    assert "Nothing to be done" in run.stdout + run.stderr
