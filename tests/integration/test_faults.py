"""Kills, as benchmarks/faults.py deals them out, on a small real project: whatever dies, the final
results are those of a run that was left alone.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from conftest import REPO

sys.path.insert(0, str(REPO / "benchmarks"))
import faults


@pytest.fixture(scope="module")
def project(real, tmp_path_factory):
    """A project whose reference is built, trained without a neural network, and mapped to; its
    untouched results are made.
    """
    data = Path(real("kang_ctrl_8donors_1287g.h5ad")).parent
    project = faults.small_project(tmp_path_factory.mktemp("faults"), data, neural=False)
    project.targets = ("results/atlas/models/linear/queries/q/latent.parquet",)
    project.leave_alone()
    return project


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the harness reads /proc")
def test_killed_jobs_and_a_killed_snakemake_leave_the_results_of_an_untouched_run(project):
    kinds = {"job": 1, "writing": 3, "after": 2, "group": 1, "snakemake": 1}
    killed = faults.kill_round(project, seed=3, most=6, kinds=kinds)
    assert len(killed) >= 3, Counter(kill["kind"] for kill in killed)
    assert all(kill["wrong"] == [] for kill in killed)
    assert not [path for path in project.results.rglob(".*") if faults.PART.search(path.name)]


def test_the_comparison_sees_a_changed_value_a_missing_file_and_one_too_many(project, tmp_path):
    faults.shutil.copytree(project.untouched, tmp_path / "results")
    assert faults.differences(project.untouched, tmp_path / "results") == ([], [])
    latent = tmp_path / "results/atlas/models/linear/reference/latent.parquet"
    table = faults.pd.read_parquet(latent)
    (table + 1e-7).to_parquet(latent)
    (tmp_path / "results/.left.1-12345678.part").write_text("half")
    counts = tmp_path / "results/atlas/counts.h5ad"
    os.truncate(counts, counts.stat().st_size // 2)
    (tmp_path / "results/atlas/genes.parquet").unlink()
    wrong, close = faults.differences(project.untouched, tmp_path / "results")
    assert [line.split(":")[0] for line in close] == ["atlas/models/linear/reference/latent.parquet"]
    assert sorted(line[:30].split(":")[0] for line in wrong) == [
        ".left.1-12345678.part",
        "atlas/counts.h5ad",
        "atlas/genes.parquet",
    ]
