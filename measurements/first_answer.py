"""Measures the first answer (target quick) against the labels of the whole run.

usage: .venv/bin/python measurements/first_answer.py WORK DATA [TIMES]
    WORK   new folder
    DATA   folder of kang_ctrl_8donors_1287g.h5ad: six donors are the reference, two the queries
    TIMES  runs of each (default: 2), in turn, on two cores, with the baseline as the only model; the first pair, which
           may compile functions, is left out

Prints wall time, CPU time of all processes and macro-F1 of target quick, of quick without forked jobs, and of target
labels from its start; and what target labels takes after quick.
"""

import os
import resource
import shutil
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import yaml
from sklearn.metrics import f1_score

from annotation import QUERIES, write_inputs
from overhead import timed, workflow

FIRST, WHOLE = "quick/labels.csv", "labels.csv"
CASES = {"quick": ("quick", FIRST, {}), "not forked": ("quick", FIRST, {"REFATLAS_FORK_JOBS": "0"})}
CASES["labels"] = ("labels", WHOLE, {})


def write_case(folder: Path, data: Path) -> None:
    """Write sheets and configuration of one run."""
    folder.mkdir()
    rows = [{"dataset": "kang", "path": str(data / "reference.h5ad")}]
    pd.DataFrame(rows).to_csv(folder / "reference.tsv", sep="\t", index=False)
    queries = [{"query": f"donor_{donor}", "path": str(data / f"donor_{donor}.h5ad")} for donor in QUERIES]
    pd.DataFrame(queries).to_csv(folder / "queries.tsv", sep="\t", index=False)
    config = {"reference": "reference.tsv", "queries": "queries.tsv", "models": {"linear": {"type": "linear"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def measured(folder: Path, target: str, environment: dict[str, str]) -> tuple[float, float]:
    """Return wall time and CPU time, in seconds, of a target on two cores."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed(workflow("--cores", "2", target), folder, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def macro_f1(folder: Path, data: Path, name: str) -> float:
    """Return the macro-F1 of the labels of both queries."""
    truth, given = [], []
    for donor in QUERIES:
        labels = pd.read_csv(folder / f"results/queries/donor_{donor}/{name}", index_col="cell")["label"]
        given.append(labels)
        truth.append(ad.read_h5ad(data / f"donor_{donor}.h5ad").obs["cell_type"].astype(str).loc[labels.index])
    return float(f1_score(pd.concat(truth), pd.concat(given), average="macro"))


def measure(work: Path, data: Path, times: int) -> pd.DataFrame:
    """Return wall time, CPU time and macro-F1 of each case and run."""
    rows = []
    for i in range(times + 1):
        for case, (target, name, environment) in CASES.items():
            folder = work / "run"
            write_case(folder, data)
            wall, cpu = measured(folder, target, environment)
            rows.append({"run": i, "case": case, "wall": wall, "cpu": cpu, "f1": macro_f1(folder, data, name)})
            if case == "quick":
                wall, cpu = measured(folder, "labels", {})
                f1 = macro_f1(folder, data, WHOLE)
                rows.append({"run": i, "case": "labels after quick", "wall": wall, "cpu": cpu, "f1": f1})
            shutil.rmtree(folder)
    return pd.DataFrame(rows)


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    work, data = Path(sys.argv[1]).resolve(), sys.argv[2]
    write_inputs(data, work)
    found = measure(work, work, int(sys.argv[3]) if len(sys.argv) == 4 else 2)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    print(found[found["run"] > 0].groupby("case")[["wall", "cpu", "f1"]].median().round(3).to_markdown())


if __name__ == "__main__":
    main()
