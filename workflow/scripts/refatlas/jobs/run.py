"""How a rule's script runs as a job: all its output goes to its log, and its results appear
complete or not at all.
"""

import atexit
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import refatlas
from refatlas.errors import InputError
from refatlas.io.atomic import JobLog, write_text
from refatlas.io.exhaustion import report_out_of_memory
from refatlas.jobs.damaged_inputs import report_damaged_inputs
from refatlas.jobs.gpus import own_gpus
from refatlas.jobs.provenance import job_record, record_file


def run_job(main: Callable, smk) -> None:
    """Run a rule's script as `run_logged` does, and then end the process if it is the job's own."""
    run_logged(main, smk)
    exit_quickly(smk)


def exit_quickly(smk) -> None:
    """End this process with success, if it runs the job `smk` alone, without unloading what it has
    imported.

    Unloading takes a third of a second after anndata, and two seconds after scvi-tools.
    """
    if getattr(sys.modules["__main__"], "snakemake", None) is smk:
        # What Python itself does before it unloads modules; it has no public name.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run_logged(main: Callable, smk) -> None:
    """Run `main(smk)` with all output in the rule's log, on GPUs of its own, and write a record of
    the job beside the log.

    The message of an InputError is also printed on the screen.

    Raises:
        SystemExit: with code 1 after an InputError, whose message stands alone in the log, without
            a traceback.
            A full disk and a lack of memory are reported in the same way.
    """
    started = time.monotonic()
    with redirect_output(smk.log[0]) as screen:
        print(f"{smk.rule} {' '.join(f'{k}={v}' for k, v in smk.wildcards.items())}".rstrip(), flush=True)
        try:
            require_own_package(smk)
            with (
                own_gpus(smk.resources.get("gpu", 0)),
                report_damaged_inputs(smk.input),
                report_out_of_memory(smk.rule),
            ):
                main(smk)
            write_text(json.dumps(job_record(smk, started), indent=1, default=str), record_file(smk.log[0]))
        except InputError as error:
            # The screen first: with a full disk the log may take no more.
            os.write(screen, f"\nError in {smk.rule}: {error}\n\n".encode(errors="backslashreplace"))
            print(f"Error: {error}", flush=True)
            raise SystemExit(1) from None
        print(f"done in {time.monotonic() - started:.1f} s", flush=True)


def require_own_package(smk) -> None:
    """Raise an InputError if Python imported another copy of refatlas than the one beside the
    rule's script.

    Snakemake appends the script's folder to Python's search path, so that an installed copy, or one
    in PYTHONPATH, comes first.
    """
    beside, imported = Path(getattr(smk, "scriptdir", "")) / "refatlas", Path(refatlas.__file__).parent
    if getattr(smk, "scriptdir", "") and beside.is_dir() and not beside.samefile(imported):
        raise InputError(
            f"Python imported refatlas {refatlas.__version__} from {imported}, but this workflow's own copy is"
            f" {beside}; uninstall the other copy (pip uninstall refatlas), or remove its folder from PYTHONPATH"
        )


@contextmanager
def redirect_output(log: str) -> Iterator[int]:
    """Send both output streams to a new file while the block runs, at the level of file descriptors
    so that C libraries follow.

    Yields:
        The descriptor of the former error stream.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # A new file, not the old one emptied: by its log a job knows whether Snakemake still waits for
    # it.
    Path(log).unlink(missing_ok=True)
    with open(log, "w", encoding="utf-8") as file, JobLog.claim(log, file.fileno()):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (_text_stream(descriptor) for descriptor in (1, 2))
        try:
            yield saved[1]
        finally:
            _flush(log, saved[1])
            sys.stdout, sys.stderr = streams
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _text_stream(descriptor: int):
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _flush(log: str, screen: int) -> None:
    """Write out what Python and C libraries have buffered."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)
    except OSError as error:
        os.write(screen, f"{log}: its end could not be written: {error}\n".encode())
