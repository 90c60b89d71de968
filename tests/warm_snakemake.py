"""Dry runs in forks of a process that has Snakemake loaded, which takes most of the time of a dry run."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["snakemake.cli", "smart_open", "jsonschema", "snakemake_executor_plugin_slurm"])


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    """Run Snakemake with these arguments in `/`, as `subprocess.run` with captured text would."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / "stdout", Path(folder) / "stderr"]
        process = FORKS.Process(target=_run, args=(arguments, streams, dict(os.environ)))
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, *(path.read_text() for path in streams))


def _run(arguments: list[str], streams: list[Path], environment: dict[str, str]) -> None:
    from snakemake.cli import main

    for descriptor, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir("/")
    # The modules of tests are not at hand for a user's Snakemake.
    tests = str(Path(__file__).parent)
    sys.argv, sys.path = ["snakemake", *arguments], [folder for folder in sys.path if not folder.startswith(tests)]
    main(arguments)
