"""Run the commands of the manual's first run on a cluster (docs/atlas-builder-slurm.md), line by line,
on a SLURM of one node, this machine.

usage: .venv/bin/python measurements/first_cluster_run.py

Run it as root in a fresh clone: it leaves profiles/mysite, demo/ and results/ there. The SITE lines
are set for the test cluster: partitions cpu and gpu, the cores of this machine, no accounting (so
that sacctmgr's line fails, as the manual says). Prints each line, the end of its output, its exit
code and seconds; at the end the number of submissions, and the state, requests and use of each.
"""

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

REPO = Path(__file__).resolve().parents[1]
SITE = {"partition": '"cpu"', "gpu_partition": '"gpu"', "accounting": "false", "node_cores": str(os.cpu_count())}
SHOWN_LINES = 25


def load_cluster() -> ModuleType:
    """Return the tests' module of the cluster; the tests are no package."""
    spec = importlib.util.spec_from_file_location("slurm_cluster", REPO / "tests/slurm_cluster.py")
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def manual_lines() -> list[str]:
    """Return the commands of the manual's section, without their comments."""
    section = (REPO / "docs/atlas-builder-slurm.md").read_text().split("\n## First run\n")[1]
    block = section.split("```sh\n")[1].split("```")[0]
    return [line.split("  #")[0].rstrip() for line in block.strip().splitlines()]


def set_site() -> None:
    """Set the SITE lines of the copied profile."""
    path = REPO / "profiles/mysite/profile.v9+.yaml"
    text = path.read_text()
    for key, value in SITE.items():
        text, n = re.subn(rf"^  {key}: [^ \n]+", f"  {key}: {value}", text, flags=re.MULTILINE)
        if n != 1:
            sys.exit(f"{path}: {n} lines set {key}, expected one")
    path.write_text(text)


def run(line: str, prelude: str) -> int:
    """Run one line in a shell, print the end of its output, and return its exit code."""
    started = time.monotonic()
    ended = subprocess.run(
        ["bash", "-c", prelude + line], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shown = "\n".join(ended.stdout.splitlines()[-SHOWN_LINES:])
    print(f"$ {line}\n{shown}\n-> {ended.returncode} after {time.monotonic() - started:.0f} s\n", flush=True)
    return ended.returncode


def print_submissions(cluster: Any) -> None:
    """Print the number of submissions, and of each its state, requests, use and jobs."""
    ended = cluster.finished()
    print(f"{len(ended)} submissions")
    for job in ended:
        shown = cluster.show(job)
        facts = (shown[key] for key in ("JobState", "Partition", "TRES", "TimeLimit", "RunTime", "Comment"))
        print(job, f"{cluster.used_mb(job):.0f} MB used", *facts)


def main() -> None:
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    codes, prelude = {}, ""
    with load_cluster().running_cluster() as cluster:
        for line in manual_lines():
            codes[line] = run(line, prelude)
            if "activate" in line:
                prelude = "source .venv/bin/activate && "
            if line.startswith("cp -r"):
                set_site()
        print_submissions(cluster)
    failed = [line for line, code in codes.items() if code and not line.startswith("sacctmgr")]
    sys.exit(f"failed: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
