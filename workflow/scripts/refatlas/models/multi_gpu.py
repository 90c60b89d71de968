"""One model on several GPUs: a process for each, started by torchrun, trains on its own share of
the cells, and all take the same step by their mean gradient (Lightning's DDP).

On a machine without a GPU they are processes on the CPU, which is slower than one: of use to try a
configuration.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from refatlas.errors import InputError
from refatlas.models.checkpoints import SIGNALS

SCRIPTS = Path(__file__).parents[2]
FAILURES = {"FloatingPointError": FloatingPointError, "InputError": InputError}


def fit_on_multiple_gpus(kind: str, counts_file: str, counts, spec: dict):
    """Return a model that `spec["gpus"]` processes trained together; every one loads the counts.

    Args:
        counts_file: what `read_counts` reads. counts: what it returned.

    Raises:
        InputError: there are fewer GPUs, or a process failed with one. FloatingPointError: the loss
            is not finite. RuntimeError: a process failed otherwise; its output says why.
    """
    import pandas as pd
    import torch

    from refatlas.models.interface import Training
    from refatlas.models.registry import MODEL_TYPES

    n = spec["gpus"]
    if torch.cuda.is_available() and torch.cuda.device_count() < n:
        raise InputError(
            f"config: models: gpus: {n} are asked for, this job sees {torch.cuda.device_count()}; set gpus to that, or"
            " run where there are more"
        )
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "kind": kind,
            "counts": str(Path(counts_file).absolute()),
            "spec": {key: value for key, value in spec.items() if key != "checkpoints"},
        }
        (Path(folder) / "job.json").write_text(json.dumps(job))
        _run_together(n, folder)
        model = MODEL_TYPES[kind].load_class().load(Path(folder) / "model.pt", counts)
        model.training = Training(
            pd.read_parquet(Path(folder) / "history.parquet"),
            **json.loads((Path(folder) / "training.json").read_text()),
        )
    return model


def _run_together(n: int, folder: str) -> None:
    """Run this module in n processes and wait for them; a signal that ends the job ends them first."""
    path = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={n}",
        "-m",
        __name__,
        folder,
    ]
    # There, because scvi-tools writes a log of its own to the working directory when it trains on
    # several devices, and torch leaves files among the temporary ones.
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": folder}
    )
    try:
        with ending_on_signals():
            code = process.wait()
    finally:
        # Not in the handler of a signal: it runs within the wait.
        process.terminate()
        process.wait()
    failure = Path(folder) / "failure.json"
    if failure.exists():
        name, message = json.loads(failure.read_text())
        raise FAILURES[name](message)
    if code:
        raise RuntimeError(f"training on {n} devices ended with {code}; see above")


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise SystemExit in the block where a signal would end the process at once."""

    def end(number: int, _frame) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def world_size() -> int:
    """Return how many processes train together, 1 outside of torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def devices() -> dict:
    """Return the trainer's arguments that say on what it runs."""
    n = world_size()
    return {"devices": 1} if n == 1 else {"devices": n, "strategy": "ddp_find_unused_parameters_true"}


def require_together(n_in_group: int) -> None:
    """Raise a RuntimeError if processes that were to train together each train alone, as Lightning
    lets them where a scheduler's variables mislead it.
    """
    if n_in_group != world_size():
        raise RuntimeError(f"{world_size()} processes were started to train together, {n_in_group} do")


def _train_as_one_of_them(folder: Path) -> None:
    first = os.environ["RANK"] == "0"
    if not first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    from refatlas.io.model_counts import read_counts
    from refatlas.models.registry import MODEL_TYPES

    job = json.loads((folder / "job.json").read_text())
    try:
        model = MODEL_TYPES[job["kind"]].load_class().fit(read_counts(job["counts"]), job["spec"])
    except tuple(FAILURES.values()) as error:
        (folder / "failure.json").write_text(json.dumps([type(error).__name__, str(error)]))
        raise
    if first:
        training = model.training
        n_steps = model.model.trainer.num_training_batches
        training.notes.append(
            f"trained by {world_size()} processes together, each on its share of the cells: {n_steps:,} steps an epoch"
        )
        training.history.to_parquet(folder / "history.parquet")
        (folder / "training.json").write_text(
            json.dumps({key: value for key, value in asdict(training).items() if key != "history"})
        )
        model.save(folder / "model.pt")


if __name__ == "__main__":
    _train_as_one_of_them(Path(sys.argv[1]))
