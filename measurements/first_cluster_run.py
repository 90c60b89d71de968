"""Types the manual's first run on a cluster ("On a cluster" in config/README.md), line by line and
as written, on a SLURM of one node, this machine.

usage: .venv/bin/python benchmarks/first_cluster_run.py

To be run as root in a fresh clone: it leaves profiles/mysite, demo/ and results/ there. The SITE
lines are set for the test cluster: partitions cpu and gpu, no accounting (so that sacctmgr's
line fails, as the manual says). Prints each line, what it said (its end, if it is long), its exit
code and seconds.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))
from slurm_cluster import running_cluster  # noqa: E402

SITE = {"partition": '"cpu"', "gpu_partition": '"gpu"', "accounting": "false"}
SHOWN_LINES = 25


def manual_lines() -> list[str]:
    """Return the commands of the manual's section, without their remarks."""
    section = (REPO / "config/README.md").read_text().split("\n## On a cluster\n")[1]
    return [line.split("  #")[0].rstrip() for line in section.split("```")[1].strip().splitlines()]


def set_site() -> None:
    """Set the SITE lines of the copied profile."""
    path = REPO / "profiles/mysite/profile.v9+.yaml"
    text = path.read_text()
    for key, value in SITE.items():
        text, n = re.subn(rf"^  {key}: [^ \n]+", f"  {key}: {value}", text, flags=re.MULTILINE)
        if n != 1:
            sys.exit(f"{path}: {n} lines set {key}, expected one")
    path.write_text(text)


def main() -> None:
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    codes, prelude = {}, ""
    with running_cluster():
        for line in manual_lines():
            started = time.monotonic()
            said = subprocess.run(
                ["bash", "-c", prelude + line], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            codes[line] = said.returncode
            print(
                f"$ {line}\n"
                + "\n".join(said.stdout.splitlines()[-SHOWN_LINES:])
                + f"\n-> {said.returncode} after {time.monotonic() - started:.0f} s\n",
                flush=True,
            )
            if "activate" in line:
                prelude = "source .venv/bin/activate && "
            if line.startswith("cp -r"):
                set_site()
    failed = [line for line, code in codes.items() if code and not line.startswith("sacctmgr")]
    sys.exit(f"failed: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
