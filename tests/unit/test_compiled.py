"""Compiled code is kept for other processes, and written by one at a time."""

import fcntl
import os
import subprocess
import sys
import threading

from conftest import REPO

FUNCTION = """
import sys
sys.path.insert(0, {scripts!r})
from refatlas.compiled import compiled

@compiled()
def double(x):
    return 2 * x

assert (double(3), double(1.5)) == (6, 3.0)
print(sum(double.stats.cache_hits.values()), flush=True)
"""


def run(tmp_path) -> subprocess.Popen:
    (tmp_path / "function.py").write_text(FUNCTION.format(scripts=str(REPO / "workflow" / "scripts")))
    return subprocess.Popen([sys.executable, "function.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")})


def test_another_process_finds_what_one_has_compiled(tmp_path):
    assert run(tmp_path).communicate()[0] == "0\n"
    before = sorted((tmp_path / "cache").rglob("*.nb?"))
    assert run(tmp_path).communicate()[0] == "2\n"
    assert sorted((tmp_path / "cache").rglob("*.nb?")) == before


def test_a_process_waits_for_one_that_writes(tmp_path):
    run(tmp_path).communicate()
    (lock,) = (tmp_path / "cache").rglob(".compiled.lock")
    for path in (tmp_path / "cache").rglob("*.nb?"):
        path.unlink()
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = run(tmp_path)
        said = []
        reader = threading.Thread(target=lambda: said.append(other.stdout.readline()))
        reader.start()
        reader.join(8)
        assert said == []
        assert not list((tmp_path / "cache").rglob("*.nb?"))
    reader.join(120)
    assert said == ["0\n"]
    assert other.wait() == 0
