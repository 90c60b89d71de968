"""Jobs run without a home folder that they can write to."""

import os
import stat
from pathlib import Path

import pytest

from refatlas.cache_folders import use_writable_caches

VARIABLES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")


@pytest.fixture(autouse=True)
def without_variables(monkeypatch, tmp_path):
    for variable in VARIABLES:
        # Set before it is deleted, so that it is restored after the test.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def test_caches_stay_in_a_writable_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    use_writable_caches()
    assert not [variable for variable in VARIABLES if variable in os.environ]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_caches_go_to_a_private_temporary_folder_without_a_home(monkeypatch):
    # Root may write anywhere but below a file.
    monkeypatch.setenv("HOME", "/dev/null/home")
    use_writable_caches()
    folder = Path(os.environ["XDG_CACHE_HOME"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Path(os.environ["MPLCONFIGDIR"]).parent == folder
    before = dict(os.environ)
    use_writable_caches()
    assert dict(os.environ) == before


def test_a_folder_that_others_can_write_to_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/dev/null/home")
    theirs = tmp_path / "tmp" / f"refatlas_cache_{os.getuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)
    use_writable_caches()
    assert Path(os.environ["XDG_CACHE_HOME"]) != theirs
    assert Path(os.environ["XDG_CACHE_HOME"]).is_dir()


def test_folders_that_the_user_has_named_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "mpl"))
    use_writable_caches()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "cache")
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "mpl")
