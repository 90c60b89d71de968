"""Measures an atlas bundle: its size, how long it takes to write and unpack, and to map a query from an empty folder.

usage: .venv/bin/python measurements/bundle.py WORK NEW FILE
    WORK  folder of a finished run, with config.yaml
    NEW   new folder
    FILE  a query for the atlas, with the batch column "batch"
"""

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from overhead import timed, workflow


def job(folder: Path, rule: str) -> dict:
    """Return the record of the job of a rule without wildcards."""
    return json.loads((folder / f"logs/{rule}.json").read_text())


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    work, new, file = (Path(argument).resolve() for argument in sys.argv[1:])
    timed(workflow("--cores", "2", "--forcerun", "write_bundle", "--", "bundle"), work)
    archive = work / "results/bundle/atlas.tar"
    new.mkdir()
    shutil.copy(archive, new)
    (new / "queries.tsv").write_text(f"query\tpath\nq\t{file}\n")
    (new / "config.yaml").write_text(yaml.safe_dump({"atlas": "atlas.tar", "queries": "queries.tsv"}))
    print(f"load of the machine: {os.getloadavg()[0]:.1f}; atlas.tar: {archive.stat().st_size / 1e6:,.0f} MB")
    wall = timed(workflow("--cores", "2", "--", "labels"), new)
    for folder, rule in ((work, "write_bundle"), (new, "unpack_atlas")):
        found = job(folder, rule)
        print(f"{rule}: {found['seconds']:.1f} s, {found['peak_mb']} MB")
    print(f"labels of the query, from an empty folder: {wall:.1f} s")


if __name__ == "__main__":
    main()
