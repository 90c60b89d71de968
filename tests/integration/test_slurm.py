"""The workflow on a real SLURM of one node, with the shipped profile and the lines that a site
would set in it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from conftest import REPO, site_profile, small_counts, snakemake, write_sheets

GPU_JOBS = {"train_reference_scvi": 2, "map_query_scvi_q": 1}
PARTITIONS = {"partition": '"cpu"', "gpu_partition": '"gpu"', "accounting": "false"}
STAND_IN = """
configfile: "config.yaml"
include: "{repo}/workflow/rules/common.smk"

rule train_reference:
    output: "gpu_of_{{model}}.txt"
    resources: gpu=gpus_of, mem_mb=600, runtime=3
    shell: "printenv CUDA_VISIBLE_DEVICES > {{output}} || true"

rule take_memory:
    output: "memory.txt"
    resources: mem_mb=scaled_mem_mb(base=500), runtime=minutes(3)
    shell: "python -c 'import time; x = [0] * (50 * 2**20); time.sleep(3)' && echo {{resources.mem_mb}} > {{output}}"
"""


def on_cluster(folder: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Snakemake on the cluster; it asks for the jobs' state after a second, not after 40,
    because these jobs are short.
    """
    return snakemake(
        folder, "--workflow-profile", profile, "--slurm-init-seconds-before-status-checks", "1", *arguments
    )


def jobs_since(cluster, known: set[str]) -> dict[str, dict]:
    """Return what SLURM says of new jobs, by "rule wildcards"; of a job that was tried again the
    last attempt.
    """
    shown = {job: cluster.show(job) for job in cluster.finished() if job not in known}
    return {
        re.sub("rule_|_wildcards", "", said["Comment"], count=2).replace("atlas_", ""): said for said in shown.values()
    }


def allotted(job: dict, kind: str) -> int:
    """Return the cores, or the memory in MB, that SLURM gave a job."""
    amount = dict(part.split("=") for part in job["TRES"].split(","))[kind]
    return int(float(amount[:-1]) * {"M": 1, "G": 1024}[amount[-1]]) if kind == "mem" else int(amount)


def minutes(time: str) -> float:
    """Return SLURM's [days-]hours:minutes:seconds in minutes."""
    days, _, clock = time.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cluster) -> Path:
    folder = tmp_path_factory.mktemp("slurm")
    for i, name in enumerate(("a", "q")):
        small_counts(n_cells=300, n_genes=200, seed=i).write_h5ad(folder / f"{name}.h5ad")
    training = {"train": {"max_epochs": 2}, "surgery": {"max_epochs": 2}}
    config = {
        "models": {"scvi": {"type": "scvi", "gpus": 2, **training}},
        "evaluation": {"folds": 0},
        "genes": {"n_top": 100},
    }
    write_sheets(folder, [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "q.h5ad"}], **config)
    (folder / "Snakefile").write_text(STAND_IN.format(repo=REPO))
    return folder


@pytest.fixture(scope="module")
def jobs(folder, cluster) -> Iterator[dict[str, dict]]:
    """The jobs of both models' training and mapping, and of the baseline's vote; files are read
    before, without the cluster, to save time.
    """
    snakemake(folder, "--cores", "2", "results/atlas/counts.h5ad", "results/atlas/queries/q/counts.h5ad")
    known = set(cluster.finished())
    profile = site_profile(folder / "profile", **PARTITIONS)
    on_cluster(
        folder,
        profile,
        *(f"results/atlas/models/{file}.parquet" for file in ("scvi/queries/q/latent", "linear/queries/q/labels")),
    )
    return jobs_since(cluster, known)


def test_gpu_rules_get_their_gpus_and_cpu_rules_none(jobs, cluster):
    assert set(jobs) == {
        *GPU_JOBS,
        "train_reference_linear",
        "map_query_linear_q",
        "index_reference_linear",
        "transfer_labels_linear_q",
    }
    for name, job in jobs.items():
        n_gpus = GPU_JOBS.get(name, 0)
        assert job["JobState"] == "COMPLETED"
        assert job.get("TresPerJob") == (f"gres:gpu:{n_gpus}" if n_gpus else None)
        seen = cluster.environment(job["JobId"]).get("CUDA_VISIBLE_DEVICES", "")
        assert len(set(seen.split(",")) & {"0", "1"}) == n_gpus


def test_partitions_come_from_the_profile_alone(jobs):
    assert {name: job["Partition"] for name, job in jobs.items()} == {
        name: "gpu" if name in GPU_JOBS else "cpu" for name in jobs
    }
    assert not [path for path in (REPO / "workflow/rules").iterdir() if "partition" in path.read_text()]


def test_cores_memory_and_time_are_those_that_the_rules_ask_for(jobs, folder):
    counts_mb = (folder / "results/atlas/counts.h5ad").stat().st_size / 2**20
    for model, n in {"scvi": 2, "linear": 1}.items():
        trained = jobs[f"train_reference_{model}"]
        assert (allotted(trained, "cpu"), trained["TimeLimit"]) == (n, "12:00:00")
        assert allotted(trained, "mem") == pytest.approx(n * (3000 + 12 * counts_mb), abs=2)
    voted = jobs["transfer_labels_linear_q"]
    assert (allotted(voted, "cpu"), voted["TimeLimit"]) == (2, "01:00:00")
    assert allotted(voted, "mem") == pytest.approx(1000, abs=10)


def test_training_works_in_a_batch_job_and_logs_are_where_the_manual_says(jobs, folder):
    assert "epoch 2/2" in (folder / "logs/train_reference/atlas/scvi.log").read_text()
    assert len(pd.read_csv(folder / "results/atlas/models/scvi/reference/training.csv")) == 2
    # Lightning takes SLURM's tasks, of which there is one, for its processes, if it is not kept
    # from it.
    assert "trained by 2 processes together" in (folder / "results/atlas/models/scvi/reference/training.md").read_text()
    assert "epoch 2/2" in (folder / "logs/map_query/atlas/scvi/q.log").read_text()
    assert not list((folder / ".snakemake/slurm_logs").rglob("*.log"))


def test_a_table_of_what_was_asked_for_and_used(jobs, folder, cluster, capsys):
    run = subprocess.run(
        [sys.executable, REPO / "benchmarks/slurm_jobs.py", folder / "benchmarks"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {line.split()[0]: line.split() for line in run.stdout.splitlines()}
    assert rows["train_reference"][1:3] == ["2", "2"]
    assert float(rows["train_reference"][3]) == allotted(jobs["train_reference_scvi"], "mem")
    used = {name: cluster.used_mb(job["JobId"]) for name, job in jobs.items()}
    with capsys.disabled():
        print("\njob                          asked MB  used MB  minutes asked  seconds used")
        for name, job in jobs.items():
            print(
                f"{name:27}  {allotted(job, 'mem'):8}  {used[name]:7.0f}  {minutes(job['TimeLimit']):13.0f} "
                f" {60 * minutes(job['RunTime']):12.0f}"
            )
    assert all(100 < used[name] < allotted(job, "mem") for name, job in jobs.items())


@pytest.fixture(scope="module")
def stand_ins(folder, cluster) -> dict[str, dict]:
    """Short jobs instead of training, at a site that asks for GPUs by gres and model, and a job
    that takes more memory than it asked for.
    """
    known = set(cluster.finished())
    profile = site_profile(folder / "gres", **PARTITIONS, gpu_flag='"gres"', gpu_model='"pretend"')
    targets = [folder / name for name in ("gpu_of_scvi.txt", "gpu_of_linear.txt", "memory.txt")]
    run = on_cluster(folder, profile, "--snakefile", folder / "Snakefile", *(path.name for path in targets))
    (folder / "screen.txt").write_text(run.stdout + run.stderr)
    return jobs_since(cluster, known)


def test_a_site_of_gres_and_models(stand_ins, folder):
    assert {
        name: (
            stand_ins[f"train_reference_{name}"].get("TresPerNode"),
            stand_ins[f"train_reference_{name}"]["Partition"],
        )
        for name in ("scvi", "linear")
    } == {
        "scvi": ("gres:gpu:pretend:1", "gpu"),
        "linear": (None, "cpu"),
    }
    assert (folder / "gpu_of_scvi.txt").read_text().strip() in ("0", "1")
    assert (folder / "gpu_of_linear.txt").read_text() == ""


def test_a_job_killed_for_memory_is_tried_again_with_twice_as_much_of_it_and_of_time(stand_ins, folder):
    assert (folder / "memory.txt").read_text() == "1000\n"
    assert allotted(stand_ins["take_memory"], "mem") == 1000
    assert stand_ins["take_memory"]["TimeLimit"] == "00:06:00"
    logs = list((folder / ".snakemake/slurm_logs/rule_take_memory").glob("*.log"))
    assert len(logs) == 1
    assert "exceeded memory limit" in logs[0].read_text()
    assert str(logs[0]) in (folder / "screen.txt").read_text()
