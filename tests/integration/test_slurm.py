"""The workflow on a real SLURM of one node, with the shipped profile and the lines that a site
would set in it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from conftest import REPO, planned, site_profile, small_counts, snakemake, write_sheets

GPU_JOBS = {"train_reference_reference_scvi": 2, "map_query_queries_q_scvi": 1}
QUERY = "query_q_assess_query_deliver_labels_map_query_match_query_transfer_labels"
SITE = {"partition": '"cpu"', "gpu_partition": '"gpu"', "accounting": "false", "node_cores": "2"}
STAND_IN = """
configfile: "config.yaml"
include: "{repo}/workflow/rules/common.smk"

rule train_reference:
    output: "gpu_of_{{model}}.txt"
    resources: gpu=gpus_of, mem_mb=600, runtime=3
    shell: "printenv CUDA_VISIBLE_DEVICES > {{output}} || true"

rule count_attempts:
    output: "started.txt"
    group: "killed"
    resources: mem_mb=scaled_mem_mb(base=500), runtime=minutes(3)
    shell: "echo once more >> attempts.txt && touch {{output}}"

rule take_memory:
    input: "started.txt"
    output: "memory.txt"
    group: "killed"
    resources: mem_mb=scaled_mem_mb(base=500), runtime=minutes(3)
    shell: "python -c 'import time; x = [0] * (50 * 2**20); time.sleep(3)' && echo {{resources.mem_mb}} > {{output}}"

rule part:
    output: "part_{{i}}.txt"
    group: "wide"
    resources: mem_mb=600, runtime=3
    shell: "touch {{output}}"

rule join_parts:
    input: expand("part_{{i}}.txt", i=range(3))
    output: "parts.txt"
    group: "wide"
    resources: mem_mb=500, runtime=2
    shell: "touch {{output}}"
"""


def on_cluster(folder: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Snakemake on the cluster; it asks for the jobs' state after a second, not after 40,
    because these jobs are short.
    """
    return snakemake(
        folder, "--workflow-profile", profile, "--slurm-init-seconds-before-status-checks", "1", *arguments
    )


def jobs_since(cluster, known: set[str]) -> dict[str, dict]:
    """Return SLURM's records of new jobs by "rule_wildcards", of groups by "group_rules".

    Of a job that was tried again, it is the record of the last attempt.
    """
    shown = {job: cluster.show(job) for job in cluster.finished() if job not in known}
    return {re.sub("^rule_|wildcards_", "", j["Comment"]).replace("/", "_"): j for j in shown.values()}


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
def jobs(folder, cluster) -> dict[str, dict]:
    """The submissions from both models' training to the query's labels; files are read and cells drawn before,
    without the cluster, to save time.
    """
    read = ("results/reference/sample.h5ad", "results/queries/q/counts.h5ad")
    snakemake(folder, "--cores", "2", *read)
    known = set(cluster.finished())
    on_cluster(folder, site_profile(folder / "profile", **SITE), "results/queries/q/labels.csv")
    return jobs_since(cluster, known)


def test_gpu_rules_get_their_gpus_alone_and_the_other_jobs_of_a_query_are_one_submission(jobs, cluster):
    alone = {f"{rule}_reference_linear" for rule in ("train_reference", "index_reference")}
    assert set(jobs) == {*GPU_JOBS, *alone, "index_reference_reference_scvi", QUERY}
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


def test_cores_and_time_are_those_that_the_rules_request(jobs):
    requested = {name: (allotted(job, "cpu"), minutes(job["TimeLimit"])) for name, job in jobs.items()}
    assert requested["train_reference_reference_scvi"] == (2, 720)
    assert requested["train_reference_reference_linear"] == (1, 240)
    # The largest number of cores, and the sum of the times; match_query runs beside map_query, and takes longer.
    assert requested[QUERY] == (2, 120 + 120 + 120 + 30)


def test_memory_is_what_the_rules_request(jobs):
    requested = {name: allotted(job, "mem") for name, job in jobs.items()}
    assert 2000 <= requested["train_reference_reference_linear"] < 2100
    # Two processes with the counts, and the one that starts them.
    assert 6000 <= requested["train_reference_reference_scvi"] < 6200
    # match_query and map_query run at the same time.
    assert 4500 <= requested[QUERY] < 5000


def test_logs_and_records_are_where_the_manual_says(jobs, folder):
    assert "epoch 2/2" in (folder / "logs/train_reference/reference/scvi.log").read_text()
    assert len(pd.read_csv(folder / "results/reference/models/scvi/training.csv")) == 2
    # Lightning takes SLURM's tasks, of which there is one, for its processes, if it is not kept
    # from it.
    assert "trained by 2 processes together" in (folder / "results/reference/models/scvi/training.md").read_text()
    assert "epoch 2/2" in (folder / "logs/map_query/queries/q/scvi.log").read_text()
    labelling = ("map_query/queries/q/linear", "transfer_labels/queries/q", "match_query/queries/q")
    for file in (*labelling, "assess_query/q", "deliver_labels/q"):
        assert (folder / f"logs/{file}.log").exists()
        assert (folder / f"benchmarks/{file}.tsv").exists()
    assert not list((folder / ".snakemake/slurm_logs").rglob("*.log"))


def test_a_table_of_what_was_requested_and_used(jobs, folder, cluster, capsys):
    run = subprocess.run(
        [sys.executable, REPO / "measurements/slurm_jobs.py", folder / "benchmarks"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {line.split()[0]: line.split() for line in run.stdout.splitlines()}
    assert rows["train_reference"][1:3] == ["2", "2"]
    assert float(rows["train_reference"][3]) == allotted(jobs["train_reference_reference_scvi"], "mem")
    assert rows["transfer_labels"][1:3] == ["1", "2"]
    used = {name: cluster.used_mb(job["JobId"]) for name, job in jobs.items()}
    with capsys.disabled():
        print("\njob                          requested MB  used MB  minutes requested  seconds used")
        for name, job in jobs.items():
            print(
                f"{name:27.27}  {allotted(job, 'mem'):12}  {used[name]:7.0f}  {minutes(job['TimeLimit']):17.0f} "
                f" {60 * minutes(job['RunTime']):12.0f}"
            )
    assert all(100 < used[name] < allotted(job, "mem") for name, job in jobs.items())


def test_results_are_those_of_a_run_without_a_cluster_and_are_up_to_date(jobs, folder):
    query, target = folder / "results/queries/q", "results/queries/q/labels.csv"
    triggers = ("--rerun-triggers", "mtime", "params", "input", "--")
    assert planned(snakemake(folder, "--dry-run", *triggers, target)) == {}
    on_slurm = {name: (query / name).read_bytes() for name in ("labels.csv", "verdict.json")}
    labels = [f"models/{model}/labels.parquet" for model in ("linear", "scvi")]
    for name in (*on_slurm, "delivered.parquet", *labels, "models/linear/latent.parquet"):
        (query / name).unlink()
    run = snakemake(folder, "--cores", "2", *triggers, target)
    assert planned(run) == {"map_query": 1, "transfer_labels": 1, "assess_query": 1, "deliver_labels": 1}
    assert {name: (query / name).read_bytes() for name in on_slurm} == on_slurm


@pytest.fixture(scope="module")
def stand_ins(folder, cluster) -> dict[str, dict]:
    """Short jobs at a site that requests GPUs by gres and model and bounds the memory of submissions, one of
    which takes more memory than it requested.
    """
    known = set(cluster.finished())
    gres = {"gpu_flag": '"gres"', "gpu_model": '"pretend"', "node_mem_mb": "1300"}
    targets = [folder / name for name in ("gpu_of_scvi.txt", "gpu_of_linear.txt", "memory.txt", "parts.txt")]
    profile = site_profile(folder / "gres", **SITE, **gres)
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


def test_a_submission_killed_for_memory_is_tried_again_as_one_with_twice_as_much_of_it_and_of_time(stand_ins, folder):
    killed = stand_ins["killed_count_attempts_take_memory"]
    assert (folder / "memory.txt").read_text() == "1000\n"
    assert (folder / "attempts.txt").read_text() == "once more\n" * 2
    assert (allotted(killed, "mem"), minutes(killed["TimeLimit"])) == (1000, 12)
    logs = list((folder / ".snakemake/slurm_logs/group_killed_count_attempts_take_memory").glob("*.log"))
    assert len(logs) == 1
    assert "exceeded memory limit" in logs[0].read_text()
    assert str(logs[0]) in (folder / "screen.txt").read_text()


def test_parallel_jobs_that_exceed_the_memory_of_a_node_take_turns(stand_ins):
    wide = stand_ins["wide_join_parts_part"]
    # Two of the three at once, then the third, then what joins them.
    assert (allotted(wide, "mem"), allotted(wide, "cpu"), minutes(wide["TimeLimit"])) == (1200, 2, 3 + 3 + 2)
