"""One model trained on several GPUs, with a process for each, started by torchrun.

Each process trains on its own share of the cells, and all take the same step by their mean gradient
(Lightning's DDP). Without a GPU they run on the CPU, more slowly than a single process; this serves
to try a configuration.
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
from types import FrameType
from typing import TYPE_CHECKING, Any

from refatlas.errors import InputError
from refatlas.models.checkpoints import SIGNALS

if TYPE_CHECKING:
    from anndata import AnnData

    from refatlas.models.interface import JobContext, Model, Settings

# The folder that holds the package.
SCRIPTS = Path(__file__).parents[2]
FAILURES: dict[str, type[Exception]] = {"FloatingPointError": FloatingPointError, "InputError": InputError}


def fit_on_multiple_gpus(
    kind: str, counts_file: str, counts: "AnnData", settings: "Settings", job: "JobContext"
) -> "Model":
    """Return a model that `settings["gpus"]` processes trained together; each loads the counts.

    Args:
        kind: of the model.
        counts_file: read by `read_counts`.
        counts: what it returned.
        settings: of the model.
        job: of which seed and threads are used; this training has no checkpoints.

    Raises:
        InputError: there are fewer GPUs, or a process raised one.
        FloatingPointError: the loss is not finite.
        RuntimeError: a process failed otherwise; its output says why.
    """
    import pandas as pd
    import torch

    from refatlas.models.interface import Training
    from refatlas.models.registry import MODEL_TYPES

    n = settings["gpus"]
    if torch.cuda.is_available() and torch.cuda.device_count() < n:
        raise InputError(
            f"config: models: gpus: {n} are requested, but this job sees {torch.cuda.device_count()}; set gpus to that"
            " number, or run on a machine with more"
        )
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "kind": kind,
            "counts": str(Path(counts_file).absolute()),
            "settings": settings,
            "seed": job.seed,
            "threads": job.threads,
        }
        (Path(folder) / "job.json").write_text(json.dumps(request))
        _run_processes(n, folder)
        model: Model = MODEL_TYPES[kind].load_class().load(Path(folder) / "model.pt", counts)
        model.training = Training(
            pd.read_parquet(Path(folder) / "history.parquet"),
            **json.loads((Path(folder) / "training.json").read_text()),
        )
    return model


def _run_processes(n: int, folder: str) -> None:
    """Run this module in n processes and wait; a signal that ends the job ends them first."""
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
    # In the folder, because scvi-tools writes a log to the working directory when it trains on
    # several devices, and torch leaves temporary files.
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": _search_path(), "OMP_NUM_THREADS": "1", "TMPDIR": folder},
    )
    try:
        with ending_on_signals():
            code = process.wait()
    finally:
        # Not in the handler of a signal, which runs within the wait.
        process.terminate()
        process.wait()
    failure = Path(folder) / "failure.json"
    if failure.exists():
        name, message = json.loads(failure.read_text())
        raise FAILURES[name](message)
    if code:
        raise RuntimeError(f"training on {n} devices ended with exit code {code}; its output above says why")


def _search_path() -> str:
    """Return a PYTHONPATH that makes processes import this copy of the package, and no other."""
    return os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise SystemExit in the block where a signal would end the process at once."""

    def end(number: int, _frame: FrameType | None) -> None:
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


def devices() -> dict[str, Any]:
    """Return the trainer's arguments for devices."""
    n = world_size()
    return {"devices": 1} if n == 1 else {"devices": n, "strategy": "ddp_find_unused_parameters_true"}


def require_one_group(n_in_group: int) -> None:
    """Raise a RuntimeError if processes that should train together each train alone.

    Lightning lets them, if the environment variables of a scheduler mislead it.
    """
    if n_in_group != world_size():
        raise RuntimeError(
            f"{world_size()} processes were started to train together, but this one trains in a group of {n_in_group}"
        )


def _train_in_group(folder: Path) -> None:
    """Train as one of the processes; the first writes the model and the record."""
    first = os.environ["RANK"] == "0"
    if not first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    from refatlas.io.model_counts import read_counts
    from refatlas.models.interface import JobContext
    from refatlas.models.registry import MODEL_TYPES

    request = json.loads((folder / "job.json").read_text())
    job = JobContext(request["seed"], request["threads"])
    try:
        model = MODEL_TYPES[request["kind"]].load_class().fit(read_counts(request["counts"]), request["settings"], job)
    except tuple(FAILURES.values()) as error:
        (folder / "failure.json").write_text(json.dumps([type(error).__name__, str(error)]))
        raise
    if first:
        training = model.training
        n_steps = model.model.trainer.num_training_batches
        training.notes.append(
            f"trained by {world_size()} processes together, each on its share of the cells: {n_steps:,} steps per epoch"
        )
        training.history.to_parquet(folder / "history.parquet")
        (folder / "training.json").write_text(
            json.dumps({key: value for key, value in asdict(training).items() if key != "history"})
        )
        model.save(folder / "model.pt")


if __name__ == "__main__":
    _train_in_group(Path(sys.argv[1]))
