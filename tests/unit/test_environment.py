"""The locked environment and the conda definition are the same, and name no address."""

import subprocess
import sys

import pytest

from conftest import REPO


def test_conda_definition_matches_the_lock():
    subprocess.run([sys.executable, REPO / "envs" / "make_conda.py", "--check"], check=True)


@pytest.mark.parametrize("name", ["requirements.lock", "mvtcr.lock", "refatlas.post-deploy.sh"])
def test_lock_names_no_address(name):
    lock = (REPO / "envs" / name).read_text()
    assert not any(word in lock for word in ("://", "file:", "index-url", "find-links"))
