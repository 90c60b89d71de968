"""Files of results appear complete or not at all, also on a full disk and after a kill."""

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import REPO
from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path, write_json, write_table, write_tables
from refatlas.models.linear import Linear


def test_a_file_appears_complete_or_not_at_all(tmp_path):
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


def test_parts_of_a_killed_job_are_removed_and_other_files_stay(tmp_path):
    writer = f"""
import os, signal
from refatlas.io.atomic import atomic_path
with atomic_path({str(tmp_path / "a.csv")!r}) as part:
    part.write_text("half")
    part.with_suffix("").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "workflow" / "scripts")}
    assert subprocess.run([sys.executable, "-c", writer], check=False, env=environment).returncode == -9
    others = [tmp_path / name for name in (".a.csv.keep", ".b.csv.12-0123abcd.part.csv", "a.csv.part")]
    for file in others:
        file.write_text("other")
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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("write failed: error message = 'No space left on device'"),
    ],
)
def test_a_full_disk_is_reported_with_the_file_and_the_remedy(tmp_path, error):
    def write():
        with atomic_path(str(tmp_path / "out")) as part:
            part.write_text("half")
            raise error

    with pytest.raises(InputError) as stop:
        write()
    assert f"{tmp_path / 'out'}: no space left to write it" in str(stop.value)
    assert f"MB are free in {tmp_path}" in str(stop.value)
    assert "run the same command again" in str(stop.value)
    assert list(tmp_path.iterdir()) == []


def test_another_error_while_writing_is_not_reported_as_a_full_disk(tmp_path):
    with pytest.raises(OSError, match="a network error"), atomic_path(str(tmp_path / "a")):
        raise OSError(errno.EIO, "a network error")


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
