"""What a job prints lands in its log, errors are reported in plain words, and only the workflow's own package runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import refatlas
from conftest import REPO, make_job
from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path
from refatlas.jobs.run import require_own_package, run_job

SCRIPTS = REPO / "workflow" / "scripts"


def run_python(code: str, *folders: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run Python code with folders in PYTHONPATH, before those of the package and the tests."""
    path = os.pathsep.join(map(str, [*folders, SCRIPTS, REPO / "tests"]))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def raise_error(error: Exception):
    """Return the main function of a job that fails."""

    def main(smk):
        raise error

    return main


def test_output_of_child_processes_lands_in_the_log(tmp_path):
    run_job(lambda smk: subprocess.run(["echo", "from a child"], check=True), make_job(tmp_path))
    assert (tmp_path / "job.log").read_text().startswith("a_rule x=1\nfrom a child\ndone in")


@pytest.mark.parametrize("runner", ["refatlas.jobs.run:run_job", "refatlas.jobs.child_process:run_in_child_process"])
def test_a_job_ends_at_once_and_loses_nothing(tmp_path, runner):
    module, name = runner.split(":")
    code = f"""
import atexit, ctypes, pathlib, tempfile
from conftest import make_job
from {module} import {name}
class Slow:
    def __del__(self):
        print("unloaded", flush=True)
slow, kept = Slow(), tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
atexit.register(print, "at exit")
snakemake = make_job(pathlib.Path({str(tmp_path)!r}))
def main(smk):
    ctypes.CDLL(None).printf(b"by a C library%c", 10)
    print("by Python", end="")
{name}(main, snakemake)
print("not reached")
"""
    run = run_python(code)
    assert (run.returncode, run.stdout, run.stderr) == (0, "at exit\n", "")
    log = (tmp_path / "job.log").read_text()
    assert "by a C library" in log
    assert "by Python" in log
    assert not list(tmp_path.glob("tmp*"))


def test_an_input_error_is_reported_without_a_traceback(tmp_path, capfd):
    with pytest.raises(SystemExit) as stop:
        run_job(raise_error(InputError("column 'x' is missing")), make_job(tmp_path))
    assert stop.value.code == 1
    assert (tmp_path / "job.log").read_text() == "a_rule x=1\nError: column 'x' is missing\n"
    assert capfd.readouterr().err == "\nError in a_rule: column 'x' is missing\n\n"
    assert not (tmp_path / "job.json").exists()


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError("gone"), RuntimeError("else"), SyntaxError("x")])
def test_any_other_error_leaves_one_traceback_in_the_log_and_no_record(tmp_path, error):
    with pytest.raises(type(error)):
        run_job(raise_error(error), make_job(tmp_path))
    log = (tmp_path / "job.log").read_text()
    assert log.count("Traceback (most recent call last)") == 1
    assert log.count(f"{type(error).__name__}: {error}") == 1
    assert not (tmp_path / "job.json").exists()


def test_an_error_before_main_is_in_the_log_too(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("no temporary folder")

    monkeypatch.setattr("refatlas.jobs.run.use_writable_caches", fail)
    with pytest.raises(RuntimeError):
        run_job(lambda smk: None, make_job(tmp_path))
    assert (tmp_path / "job.log").read_text().count("RuntimeError: no temporary folder") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7. GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried"),
    ],
)
def test_a_lack_of_memory_is_reported_and_inputs_are_not_read(tmp_path, capfd, error):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SystemExit):
        run_job(raise_error(error), make_job(tmp_path, table=str(tmp_path / "a.json")))
    reported = capfd.readouterr().err
    assert "not enough memory" in reported
    assert "--set-resources a_rule:mem_mb=" in reported
    assert "damaged" not in (tmp_path / "job.log").read_text()


def test_a_full_disk_is_reported_with_the_file_and_the_remedy(tmp_path, capfd):
    def main(smk):
        with atomic_path(smk.output[0]) as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(SystemExit):
        run_job(main, make_job(tmp_path))
    assert "Traceback" not in (tmp_path / "job.log").read_text()
    assert f"{tmp_path / 'out'}: no space left to write it" in capfd.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["job.log"]


def test_an_outdated_job_does_not_replace_the_results_of_a_later_one(tmp_path):
    later = f"""
from pathlib import Path
from conftest import make_job
from refatlas.io.atomic import write_text
from refatlas.jobs.run import run_job
run_job(lambda smk: write_text("later", smk.output[0]), make_job(Path({str(tmp_path)!r})))
"""

    def main(smk):
        assert run_python(later).returncode == 0
        with atomic_path(smk.output[0]) as part:
            part.write_text("earlier")

    with pytest.raises(RuntimeError, match="a later job has"):
        run_job(main, make_job(tmp_path))
    assert (tmp_path / "out").read_text() == "later"
    assert "done in" in (tmp_path / "job.log").read_text()


def test_another_copy_of_the_package_is_refused(tmp_path):
    shutil.copytree(SCRIPTS / "refatlas", tmp_path / "path" / "refatlas")
    code = f"""
from pathlib import Path
from conftest import make_job
from refatlas.jobs.run import run_job
smk = make_job(Path({str(tmp_path)!r}))
smk.scriptdir = {str(SCRIPTS)!r}
run_job(lambda smk: print("not reached"), smk)
"""
    run = run_python(code, tmp_path / "path")
    assert run.returncode == 1
    assert f"Python imported refatlas {refatlas.__version__} from {tmp_path / 'path' / 'refatlas'}" in run.stderr
    assert f"this workflow's own copy is {SCRIPTS / 'refatlas'}" in run.stderr
    assert "remove its folder from PYTHONPATH" in run.stderr
    assert "Traceback" not in run.stderr
    assert "not reached" not in (tmp_path / "job.log").read_text()


def test_the_own_package_and_an_installed_one_without_a_checkout_run(tmp_path):
    smk = make_job(tmp_path)
    require_own_package(smk)
    for folder in (SCRIPTS, tmp_path):
        smk.scriptdir = str(folder)
        require_own_package(smk)


def test_a_package_of_another_version_than_the_workflow_is_refused(tmp_path, monkeypatch):
    require_own_package(make_job(tmp_path))
    monkeypatch.setenv("REFATLAS_VERSION", "9.9.9")
    with pytest.raises(InputError, match=f"the workflow is refatlas 9.9.9, .* has refatlas {refatlas.__version__}"):
        require_own_package(make_job(tmp_path))


def test_only_scripts_of_models_import_heavy_packages():
    code = f"""
import importlib.util, pathlib, sys
for path in sorted(pathlib.Path({str(SCRIPTS)!r}).glob('*.py')):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(sorted({{'scvi', 'torch', 'jax', 'umap', 'scanpy'}} & set(sys.modules)))
"""
    run = run_python(code)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
