"""Compiled code is cached for other processes, and written by one at a time."""

import fcntl
import os
import subprocess
import sys
import threading

from conftest import REPO
from refatlas.numba_cache import cached_njit

# The package of this checkout, also where another one is installed.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPO / "workflow" / "scripts")}
FUNCTION = """
from refatlas.numba_cache import cached_njit

@cached_njit()
def double(x):
    return 2 * x

assert (double(3), double(1.5)) == (6, 3.0)
print(sum(double.stats.cache_hits.values()), flush=True)
"""


def run(tmp_path) -> subprocess.Popen:
    (tmp_path / "function.py").write_text(FUNCTION)
    return subprocess.Popen(
        [sys.executable, "function.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
    )


def test_another_process_finds_what_one_has_compiled(tmp_path):
    assert run(tmp_path).communicate()[0] == "0\n"
    before = sorted((tmp_path / "cache").rglob("*.nb?"))
    assert run(tmp_path).communicate()[0] == "2\n"
    assert sorted((tmp_path / "cache").rglob("*.nb?")) == before


MEMBERSHIPS = """
import numpy as np
from umap import umap_
from refatlas.evaluate.kbet import memberships

random = np.random.default_rng(0)
distances = np.sort(random.gamma(3, 1, (200, 15)).astype(np.float32), axis=1)
memberships(random.integers(0, 200, (200, 15)), distances)
hits = [sum(f.stats.cache_hits.values()) for f in (umap_.smooth_knn_dist, umap_.compute_membership_strengths)]
functions = umap_.smooth_knn_dist, umap_.smooth_knn_dist.py_func
kept, plain = (f(distances, 15.0, local_connectivity=1.0) for f in functions)
assert all(np.allclose(a, b, rtol=1e-5) for a, b in zip(kept, plain))
print(hits)
"""


def test_code_of_umap_is_cached():
    command = [sys.executable, "-c", MEMBERSHIPS]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert run.stdout == "[1, 1]\n"


EPOCHS = """
import hashlib, sys
import numpy as np
from umap import layouts
from refatlas.report.umap import umap_layout

latent = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
if sys.argv[1] == "plain":
    sys.modules["refatlas.report.umap"].cache_umap_functions = lambda: None
places = umap_layout(latent, {"n_neighbors": 15, "min_dist": 0.5, "n_epochs": 50}, 0)
function = layouts._nb_optimize_layout_euclidean_single_epoch
assert not layouts._nb_optimize_layout_euclidean_single_epoch_parallel.stats.cache_path
print(sum(function.stats.cache_hits.values()), hashlib.sha256(places.tobytes()).hexdigest())
"""


def test_places_of_a_umap_by_cached_code_are_those_of_code_compiled_anew():
    command = [sys.executable, "-c", EPOCHS]
    runs = [
        subprocess.run([*command, kind], check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.split()
        for kind in ("cached", "cached", "plain")
    ]
    assert [run[0] for run in runs[1:]] == ["1", "0"]
    assert runs[0][1] == runs[1][1] == runs[2][1]


def test_a_function_is_compiled_also_where_nothing_can_be_cached(monkeypatch):
    def no_folder(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("refatlas.numba_cache.LockedCache", no_folder)
    assert cached_njit()(lambda x: 2 * x)(3) == 6


def test_a_process_waits_for_one_that_writes(tmp_path):
    run(tmp_path).communicate()
    (lock,) = (tmp_path / "cache").rglob(".compiled.lock")
    for path in (tmp_path / "cache").rglob("*.nb?"):
        path.unlink()
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = run(tmp_path)
        printed = []
        reader = threading.Thread(target=lambda: printed.append(other.stdout.readline()))
        reader.start()
        reader.join(8)
        assert printed == []
        assert not list((tmp_path / "cache").rglob("*.nb?"))
    reader.join(120)
    assert printed == ["0\n"]
    assert other.wait() == 0


def test_code_is_cached_in_a_temporary_folder_where_the_others_are_read_only(monkeypatch, tmp_path):
    for variable in ("XDG_CACHE_HOME", "MPLCONFIGDIR"):
        # Set before it is deleted, so that it is restored after the test.
        monkeypatch.setenv(variable, "x")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("numba.core.caching.InTreeCacheLocator.from_function", lambda *function: None)
    assert cached_njit()(double)(3) == 6
    assert list(tmp_path.rglob("*.nbi"))


def double(x):
    return 2 * x
