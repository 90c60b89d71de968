"""Crashes and endless loops of C libraries are reported with the file that was read."""

import ctypes
import faulthandler
import os
import signal

from conftest import make_job
from refatlas.errors import InputError
from refatlas.io import watchdog
from refatlas.jobs.child_process import run_in_child_process


def exit_code(main, smk) -> int:
    """Return the code that a job ends with."""
    try:
        run_in_child_process(main, smk)
    except SystemExit as end:
        return end.code
    return 0


def test_a_crash_is_reported_with_the_file_and_keeps_the_log(tmp_path, capfd):
    def crash(smk):
        print("about to read", flush=True)
        faulthandler.disable()
        ctypes.string_at(0)

    assert exit_code(crash, make_job(tmp_path, files="user.h5ad")) == 1
    log = (tmp_path / "job.log").read_text()
    assert "user.h5ad: the library that reads it crashed with SIGSEGV. The file is probably damaged" in log
    assert "about to read" in log
    assert "user.h5ad" in capfd.readouterr().err


def test_a_read_without_progress_is_ended(tmp_path, monkeypatch):
    def loop(smk):
        with watchdog.watchdog():
            with watchdog.watchdog():
                pass
            # Holds the interpreter's lock, as a native loop does: no signal handler in Python would run.
            ctypes.PyDLL(None).sleep(600)

    monkeypatch.setattr(watchdog, "READ_LIMIT_S", 1)
    assert exit_code(loop, make_job(tmp_path, files="user.h5ad")) == 1
    assert "user.h5ad: the library that reads it made no progress for 1 s" in (tmp_path / "job.log").read_text()


def test_success_and_errors_are_those_of_any_job(tmp_path):
    def refuse(smk):
        raise InputError("column 'x' is missing")

    assert exit_code(lambda smk: print("well"), make_job(tmp_path)) == 0
    assert (tmp_path / "job.log").read_text().startswith("a_rule x=1\nwell\ndone")
    assert (tmp_path / "job.json").exists()
    assert exit_code(refuse, make_job(tmp_path)) == 1
    assert (tmp_path / "job.log").read_text() == "a_rule x=1\nError: column 'x' is missing\n"


def test_a_bug_leaves_one_traceback_in_the_log(tmp_path, capfd):
    assert exit_code(lambda smk: 1 / 0, make_job(tmp_path)) == 1
    assert (tmp_path / "job.log").read_text().count("ZeroDivisionError") == 1
    assert capfd.readouterr().err.count("ZeroDivisionError") == 1


def test_the_job_ends_by_the_signal_that_ended_its_child_process(tmp_path):
    caught = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))

    def main(smk):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    code = exit_code(main, make_job(tmp_path))
    signal.signal(signal.SIGTERM, before)
    assert caught == [signal.SIGTERM]
    assert code != 0
