"""The locked environment and the conda definition are the same, and name no address."""

import subprocess
import sys

from conftest import REPO


def test_conda_definition_matches_the_lock():
    subprocess.run([sys.executable, REPO / "envs" / "make_conda.py", "--check"], check=True)


def test_lock_names_no_address():
    lock = (REPO / "envs" / "requirements.lock").read_text()
    assert not any(word in lock for word in ("://", "file:", "index-url", "find-links"))
