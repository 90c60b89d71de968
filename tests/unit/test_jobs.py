"""What a job prints lands in its log, and files appear whole or not at all."""

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import REPO
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path, write_json, write_table, write_tables, write_text
from refatlas.jobs.provenance import read_records, summary, versions
from refatlas.jobs.run import run_job
from refatlas.models.interface import Training, train_again_if_not_finite
from refatlas.models.linear import Linear


def job(tmp_path):
    return SimpleNamespace(
        rule="a_rule",
        wildcards={"x": "1"},
        params={"seed": 3},
        input=["a.h5ad"],
        output=[str(tmp_path / "out")],
        threads=2,
        resources={"mem_mb": 500, "runtime": 10},
        log=[str(tmp_path / "job.log")],
    )


def test_native_output_lands_in_the_log(tmp_path):
    run_job(lambda smk: subprocess.run(["echo", "from a child"], check=True), job(tmp_path))
    assert (tmp_path / "job.log").read_text().startswith("a_rule x=1\nfrom a child\ndone in")


@pytest.mark.parametrize("runner", ["refatlas.jobs:run_job", "refatlas.apart:run_in_child_process"])
def test_a_job_ends_at_once_and_loses_nothing_by_it(tmp_path, runner):
    module, name = runner.split(":")
    script = f"""
import sys
sys.path[:0] = {[str(REPO / "workflow/scripts"), str(REPO / "tests/unit")]!r}
import atexit, ctypes, pathlib, tempfile, test_jobs
from {module} import {name}
class Slow:
    def __del__(self):
        print("taken apart", flush=True)
slow, kept = Slow(), tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
atexit.register(print, "told at exit")
snakemake = test_jobs.job(pathlib.Path({str(tmp_path)!r}))
def main(smk):
    ctypes.CDLL(None).printf(b"by a C library%c", 10)
    print("by Python", end="")
{name}(main, snakemake)
print("not reached")
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("told at exit\n", "")
    said = (tmp_path / "job.log").read_text()
    assert "by a C library" in said
    assert "by Python" in said
    assert not list(tmp_path.glob("tmp*"))


def test_a_job_leaves_a_record_of_what_it_was(tmp_path):
    run_job(lambda smk: Path(smk.output[0]).write_text("done"), job(tmp_path))
    (record,) = read_records(tmp_path, {"x": ["1"]})
    assert (record["rule"], record["params"], record["inputs"], record["threads"]) == (
        "a_rule",
        {"seed": 3},
        ["a.h5ad"],
        2,
    )
    assert record["packages"]["pandas"] == pd.__version__
    assert record["peak_mb"] > 10
    assert record["asked"] == {"mem_mb": 500, "runtime": 10}
    assert read_records(tmp_path, {"x": ["2"]}) == []
    (found,) = summary([record, {**record, "seconds": record["seconds"] + 1, "peak_mb": 5, "device": "a GPU"}])
    assert (found["jobs"], found["peak_mb"], found["devices"]) == (
        2,
        record["peak_mb"],
        sorted({record["device"], "a GPU"}),
    )
    assert versions([record, {**record, "packages": {"pandas": "0.1"}}])["pandas"] == sorted(["0.1", pd.__version__])
    (tmp_path / "out").unlink()
    assert read_records(tmp_path, {}) == []


def test_a_failed_job_leaves_no_record(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_job(lambda smk: 1 / 0, job(tmp_path))
    assert not (tmp_path / "job.json").exists()


def test_a_users_mistake_is_told_without_a_traceback(tmp_path, capfd):
    def main(smk):
        raise InputError("column 'x' is missing")

    with pytest.raises(SystemExit) as stop:
        run_job(main, job(tmp_path))
    assert stop.value.code == 1
    assert (tmp_path / "job.log").read_text() == "a_rule x=1\nError: column 'x' is missing\n"
    assert capfd.readouterr().err == "\nError in a_rule: column 'x' is missing\n\n"


def test_another_error_leaves_its_traceback_in_the_log(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_job(lambda smk: 1 / 0, job(tmp_path))
    assert "ZeroDivisionError" in (tmp_path / "job.log").read_text()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def fail_half_way():
        with atomic_path(str(tmp_path / "a.txt")) as part:
            part.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with atomic_path(str(tmp_path / "a.txt")) as part:
        part.write_text("all")
    assert (tmp_path / "a.txt").read_text() == "all"


def test_tables_of_cells_are_parquet_and_others_csv(tmp_path):
    cells = pd.DataFrame({"a": [1.0]}, index=pd.Index(["c"], name="cell"))
    write_tables(
        {"scores": cells, "programs": pd.DataFrame({"n": [3]}, index=pd.Index(["p"], name="program"))},
        str(tmp_path / "tables"),
    )
    assert pd.read_parquet(tmp_path / "tables/scores.parquet").equals(cells)
    assert (tmp_path / "tables/programs.csv").read_text() == "program,n\np,3\n"
    write_tables({}, str(tmp_path / "none"))
    assert list((tmp_path / "none").iterdir()) == []


def test_a_loss_that_is_not_finite_is_tried_once_more_at_a_lower_rate():
    rates = []

    def train(spec, bad=1):
        rates.append(spec["train"]["lr"])
        if len(rates) <= bad:
            raise FloatingPointError("train: elbo is nan after epoch 3")
        return SimpleNamespace(training=Training())

    model = train_again_if_not_finite(train, {"seed": 0, "train": {"lr": 0.1, "max_epochs": 3}})
    assert rates == pytest.approx([0.1, 0.01])
    assert "tenth of the learning rate" in model.training.notes[0]
    rates.clear()
    with pytest.raises(InputError, match=r"elbo is nan after epoch 3, also with a tenth of the learning rate"):
        train_again_if_not_finite(lambda spec: train(spec, bad=9), {"train": {"lr": 0.1}})
    assert len(rates) == 2


def test_only_model_rules_import_torch_or_scvi():
    code = f"""
import importlib.util, sys, pathlib
sys.path.insert(0, {str(REPO / "workflow/scripts")!r})
for path in sorted(pathlib.Path({str(REPO / "workflow/scripts")!r}).glob('*.py')):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(sorted({{'scvi', 'torch', 'jax', 'umap', 'scanpy'}} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_conda_definition_matches_the_lock():
    subprocess.run([sys.executable, REPO / "envs" / "make_conda.py", "--check"], check=True)


def test_lock_names_no_address():
    lock = (REPO / "envs" / "requirements.lock").read_text()
    assert not any(word in lock for word in ("://", "file:", "index-url", "find-links"))


def test_what_a_killed_job_left_is_removed_and_files_of_others_stay(tmp_path):
    writer = f"""
import os, signal, sys
sys.path.insert(0, {str(REPO / "workflow/scripts")!r})
from refatlas.io.atomic import atomic_path
with atomic_path({str(tmp_path / "a.csv")!r}) as part:
    part.write_text("half")
    part.with_suffix("").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", writer], check=False).returncode == -9
    others = [tmp_path / name for name in (".a.csv.keep", ".b.csv.12-0123abcd.part.csv", "a.csv.part")]
    for file in others:
        file.write_text("another's")
    assert len(list(tmp_path.iterdir())) == 5
    with atomic_path(str(tmp_path / "a.csv")) as part:
        assert {file.name for file in tmp_path.iterdir()} == {file.name for file in others}
        part.write_text("all")
    assert {file.name for file in tmp_path.iterdir()} == {"a.csv", *(file.name for file in others)}


def test_two_jobs_with_one_output_do_not_write_to_one_file(tmp_path):
    def earlier():
        with atomic_path(str(tmp_path / "a")) as part:
            part.write_text("earlier")
            with atomic_path(str(tmp_path / "a")) as other:
                assert other != part
                other.write_text("later")

    with pytest.raises(FileNotFoundError):
        earlier()
    assert (tmp_path / "a").read_text() == "later"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_job_that_snakemake_forgot_does_not_replace_the_results_of_a_later_one(tmp_path):
    def main(smk):
        run_later = f"""
import sys
sys.path[:0] = {[str(REPO / "workflow/scripts"), str(REPO / "tests/unit")]!r}
import test_jobs, pathlib
from refatlas.io.atomic import write_text
from refatlas.jobs.run import run_job
run_job(lambda smk: write_text("later", smk.output[0]), test_jobs.job(pathlib.Path({str(tmp_path)!r})))
"""
        subprocess.run([sys.executable, "-c", run_later], check=True)
        write_text("earlier", smk.output[0])

    with pytest.raises(RuntimeError, match="a later job has begun"):
        run_job(main, job(tmp_path))
    assert (tmp_path / "out").read_text() == "later"
    assert "done in" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("write failed: error message = 'No space left on device'"),
    ],
)
def test_a_full_disk_is_told_with_the_file_and_what_to_do(tmp_path, capfd, error):
    def main(smk):
        with atomic_path(smk.output[0]) as part:
            part.write_text("half")
            raise error

    with pytest.raises(SystemExit):
        run_job(main, job(tmp_path))
    assert "Traceback" not in (tmp_path / "job.log").read_text()
    said = capfd.readouterr().err
    assert f"{tmp_path / 'out'}: no space left to write it" in said
    assert f"MB are free in {tmp_path}" in said
    assert "run the same command again" in said
    assert [file.name for file in tmp_path.iterdir()] == ["job.log"]


def test_another_error_while_writing_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(OSError, match="a network error"), atomic_path(str(tmp_path / "a")):
        raise OSError(errno.EIO, "a network error")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7. GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried"),
    ],
)
def test_a_lack_of_memory_is_told_with_what_to_do(tmp_path, capfd, error):
    def main(smk):
        raise error

    with pytest.raises(SystemExit):
        run_job(main, job(tmp_path))
    assert "--set-resources a_rule:mem_mb=" in capfd.readouterr().err
    with pytest.raises(RuntimeError, match="something else"):
        run_job(lambda smk: (_ for _ in ()).throw(RuntimeError("something else")), job(tmp_path))


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/full").exists(), reason="mounting a small file system needs root and Linux"
)
def test_every_kind_of_file_on_a_full_disk_leaves_nothing(tmp_path):
    from refatlas.io.model_counts import counts_writer

    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", small], check=False, capture_output=True
    ).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        values = np.random.default_rng(0).random((3000, 60))
        frame = pd.DataFrame(values, columns=[f"c{i}" for i in range(60)])
        genes = pd.DataFrame({"selected": True, "symbol": "g"}, index=[f"g{i}" for i in range(60)])

        def write_h5ad(path: str) -> None:
            with counts_writer(path, pd.DataFrame(index=[f"cell{i}" for i in range(3000)]), genes) as out:
                for start in range(0, 3000, 500):
                    out.append(sparse.csr_matrix(values[start : start + 500].astype(np.float32)))

        writers = {
            "a.parquet": lambda path: write_table(frame, path),
            "a.csv": lambda path: write_table(frame, path),
            "a.json": lambda path: write_json(values.tolist(), path),
            "a.npz": lambda path: Linear({"values": values}).save(path),
            "a.h5ad": write_h5ad,
        }

        def refused(name: str, write) -> None:
            with pytest.raises(InputError, match=f"{name}: no space left to write it"):
                write(str(small / name))

        for name, write in writers.items():
            # A process that could not close an HDF5 file crashes at another one, later: a job ends
            # before that.
            child = multiprocessing.get_context("fork").Process(target=refused, args=(name, write))
            child.start()
            child.join(120)
            child.kill()
            assert child.exitcode == 0, name
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
