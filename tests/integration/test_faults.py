"""Jobs and Snakemake are killed by measurements/faults.py on a small real project: the final results are those of an
undisturbed run.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

import faults


@pytest.fixture(scope="module")
def project(real, tmp_path_factory):
    """A project with the results of an undisturbed run: a reference without neural networks, and a mapped query."""
    data = Path(real("kang_ctrl_8donors_1287g.h5ad")).parent
    project = faults.small_project(tmp_path_factory.mktemp("faults"), data, neural=False)
    project.targets = ("results/queries/q/models/linear/latent.parquet",)
    project.make_expected()
    return project


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the harness reads /proc")
def test_killed_jobs_and_a_killed_snakemake_leave_the_results_of_an_undisturbed_run(project):
    kinds = {"job": 1, "writing": 3, "after": 2, "group": 1, "snakemake": 1}
    killed = faults.kill_round(project, seed=3, most=6, kinds=kinds)
    assert len(killed) >= 3, Counter(kill["kind"] for kill in killed)
    assert all(kill["wrong"] == [] for kill in killed)
    assert not [path for path in project.results.rglob(".*") if faults.PART.search(path.name)]


def test_the_comparison_finds_a_changed_value_a_missing_and_an_extra_file(project, tmp_path):
    faults.shutil.copytree(project.expected, tmp_path / "results")
    assert faults.differences(project.expected, tmp_path / "results") == ([], [])
    latent = tmp_path / "results/reference/models/linear/latent.parquet"
    table = faults.pd.read_parquet(latent)
    (table + 1e-7).to_parquet(latent)
    (tmp_path / "results/.left.1-12345678.part").write_text("half")
    counts = tmp_path / "results/reference/counts.h5ad"
    os.truncate(counts, counts.stat().st_size // 2)
    (tmp_path / "results/reference/genes.parquet").unlink()
    wrong, close = faults.differences(project.expected, tmp_path / "results")
    assert [line.split(":")[0] for line in close] == ["reference/models/linear/latent.parquet"]
    assert sorted(line.split(":")[0] for line in wrong) == [
        ".left.1-12345678.part",
        "reference/counts.h5ad",
        "reference/genes.parquet",
    ]
