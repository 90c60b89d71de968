"""A small workflow with the real screen, and stand-ins for rules: trainings of seconds, two queries, a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import REPO

REASON = "97% of the labels are estimated to be right (93% to 100%)"
SNAKEFILE = f"""
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from refatlas.errors import InputError

include: "{REPO}/workflow/rules/screen.smk"

rule all:
    input: "results/report/index.html", expand("results/queries/{{name}}/labels.csv", name=["p", "q"])

rule train_reference:
    output: "results/{{split}}/models/{{model}}/model.pt"
    log: "logs/train_reference/{{split}}/{{model}}.log"
    script: "train.py"

rule assess_query:
    input: expand("results/{{split}}/models/scvi/model.pt", split=["reference", "evaluation/fold_1"])
    output: "results/queries/{{name}}/verdict.json"
    shell: "cp verdict.json {{output}}"

rule deliver_labels:
    input: verdict="results/queries/{{name}}/verdict.json"
    output: labels="results/queries/{{name}}/labels.csv"
    shell: "printf 'cell,status\\\\nc1,novel\\\\nc2,assigned\\\\n' > {{output}}"

rule write_report:
    input: "results/reference/models/scvi/model.pt"
    output: page="results/report/index.html"
    shell: "touch {{output}}"
"""
TRAIN = """
import os, time
from pathlib import Path
from refatlas.errors import InputError
from refatlas.jobs.run import print_on_screen, run_job
from refatlas.models.recorder import Recorder

def main(smk):
    print_on_screen("a line of a job")
    kind = os.environ.get("FAILS", "") if smk.wildcards.split == "reference" else ""
    if kind == "input":
        raise InputError("counts of 'q' are missing")
    recorder = Recorder("scvi", "loss", patience=99, min_delta=0.0, warmup=0, n_cells=100)
    recorder.start()
    for epoch in range(1, 6):
        time.sleep(0.7)
        recorder.take(epoch, 40, {"loss": 512.3})
        if kind == "error":
            raise KeyError("of a programmer")
    Path(smk.output[0]).touch()

run_job(main, snakemake)
"""


def write_workflow(folder: Path) -> Path:
    """Write the workflow into a folder, and return it."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "train.py").write_text(TRAIN)
    (folder / "verdict.json").write_text(json.dumps({"verdict": "pass", "reason": REASON, "n_cells": 2}))
    return folder


def run_stand_in(
    folder: Path, *arguments: str, seconds: str | None = "0.5", fails: str = ""
) -> subprocess.CompletedProcess:
    """Run Snakemake from another folder, by default with the profile of a workstation."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", folder / "Snakefile", "--directory", folder]
    profile = [] if "--workflow-profile" in arguments else ["--workflow-profile", REPO / "profiles/default"]
    environment = {**os.environ, "PYTHONPATH": str(REPO / "workflow/scripts"), "FAILS": fails}
    environment.pop("REFATLAS_PROGRESS_SECONDS", None)
    if seconds is not None:
        environment["REFATLAS_PROGRESS_SECONDS"] = seconds
    return subprocess.run(
        list(map(str, [*command, *profile, *arguments])),
        capture_output=True,
        text=True,
        cwd="/",
        env=environment,
        check=False,
    )
