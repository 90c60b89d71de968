"""A damaged result of an earlier job is named. Other errors are reported first, and are not mistaken for damage."""

import os

import h5py
import numpy as np
import pandas as pd
import pytest

from conftest import NamedPaths, make_job, small_counts
from refatlas.errors import InputError
from refatlas.jobs import damaged_inputs
from refatlas.jobs.damaged_inputs import find_damage, report_damaged_inputs
from refatlas.jobs.run import run_job

NAMES = ["a.parquet", "a.json", "a.npz", "a.h5ad", "a.csv"]


def write_file(path) -> None:
    """Write a good file of the kind that its name says."""
    {
        "parquet": lambda: pd.DataFrame({"a": range(3000), "b": "text"}).to_parquet(path, row_group_size=1000),
        "json": lambda: path.write_text('{"a": 1}'),
        "npz": lambda: np.savez(path, a=np.arange(999)),
        "h5ad": lambda: small_counts().write_h5ad(path),
        "csv": lambda: path.write_text("a,b\n1,2\n3,4\n"),
    }[path.suffix[1:]]()


def failing(smk):
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("name", NAMES)
def test_a_readable_file_is_not_damaged(tmp_path, name):
    write_file(tmp_path / name)
    assert find_damage(str(tmp_path / name)) == ""


# None is the first half of the file. That of a csv file is a csv file.
@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in NAMES for content in (b"", b"garba\xffge,,\n" * 50)]
    + [(name, None) for name in NAMES if name != "a.csv"],
)
def test_a_damaged_result_is_named(tmp_path, capfd, name, content):
    path = tmp_path / name
    write_file(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(SystemExit):
        run_job(failing, make_job(tmp_path, table=str(path)))
    log = (tmp_path / "job.log").read_text()
    assert f"Error: {path} is damaged (" in log
    assert "delete it and run the same command again" in log
    assert f"{path} is damaged" in capfd.readouterr().err
    # What failed at first stays in the log.
    assert log.index("ZeroDivisionError: a bug") < log.index("is damaged")


def test_a_flipped_byte_of_arrays_is_found(tmp_path):
    write_file(tmp_path / "a.npz")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[2000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "BadZipFile" in find_damage(str(tmp_path / "a.npz"))


def test_the_traceback_is_printed_before_inputs_are_read(tmp_path, monkeypatch, capsys):
    write_file(tmp_path / "a.json")
    printed = []
    monkeypatch.setattr(damaged_inputs, "find_damage", lambda path: printed.append(capsys.readouterr().err) or "")
    with pytest.raises(ZeroDivisionError), report_damaged_inputs([str(tmp_path / "a.json")]):
        failing(None)
    assert "ZeroDivisionError: a bug" in printed[0]


def test_errors_stay_as_they_are_where_nothing_is_damaged(tmp_path):
    write_file(tmp_path / "a.json")
    inputs = [str(tmp_path / "a.json"), str(tmp_path / "gone.npz")]
    with pytest.raises(ZeroDivisionError), report_damaged_inputs(inputs):
        failing(None)


@pytest.mark.parametrize("error", [InputError("a mistake"), MemoryError()])
def test_inputs_are_not_read_after_a_mistake_or_a_lack_of_memory(tmp_path, monkeypatch, error):
    (tmp_path / "a.json").write_text("{")
    monkeypatch.setattr(damaged_inputs, "find_damage", lambda path: pytest.fail("was read"))
    with pytest.raises(type(error)), report_damaged_inputs([str(tmp_path / "a.json")]):
        raise error


def test_files_of_the_user_are_not_called_damaged_results(tmp_path):
    (tmp_path / "user.json").write_text("{")
    inputs = NamedPaths(files=str(tmp_path / "user.json"))
    with pytest.raises(ZeroDivisionError), report_damaged_inputs(inputs):
        failing(None)


def test_large_files_are_read_in_blocks(tmp_path, monkeypatch):
    """A file with more values than a block, of which no more than a block is read at a time."""
    monkeypatch.setattr(damaged_inputs, "BLOCK_VALUES", 1000)
    sizes = []
    read = h5py.Dataset.__getitem__

    def counted(self, key):
        values = read(self, key)
        sizes.append(np.size(values))
        return values

    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file["wide"] = np.zeros((90, 50))
        file["long"] = np.zeros(4500)
        file["scalar"], file["empty"] = 1, np.zeros((0, 3))
    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    assert find_damage(str(tmp_path / "a.h5ad")) == ""
    assert max(sizes) <= 1000
    assert sum(sizes) == 9000


def test_a_lack_of_memory_while_looking_is_no_damage(tmp_path, monkeypatch):
    def fail(path):
        raise MemoryError

    write_file(tmp_path / "a.json")
    monkeypatch.setattr(damaged_inputs, "_read_json", fail)
    assert find_damage(os.fspath(tmp_path / "a.json")) == ""
