"""Runs the whole workflow, with scvi, scanvi and scpoli of default size, on one reference of the benchmark of trust.

usage: .venv/bin/python measurements/trust/whole_workflow.py DATA WORK
    DATA  folder of the files that pairs.py names
    WORK  folder to work in; it must not exist

The reference is donors 1, 2 and 4 of Baron's pancreas, with three folds; the queries are donor 3, as it is and damaged.
Prints accuracy, macro-F1 and ECE of the delivered labels, the macro-F1 of the best single source, and the verdict.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trust import pairs as graded

REPO = Path(__file__).resolve().parents[2]
REFERENCE, QUERY = "baron/human1,human2,human4", "baron/human3"
DAMAGES = {
    "sound": "",
    "tenth": "depth:0.1",
    "ambient": "ambient:0.5",
    "shuffled": "exchanged:1",
    "doublets": "doublets:0.25",
}
CONFIG = {
    "reference": "reference.tsv",
    "queries": "queries.tsv",
    "label_key": "label",
    "models": {
        "scvi": {"type": "scvi"},
        "scanvi": {"type": "scanvi", "init_from": "scvi"},
        "scpoli": {"type": "scpoli"},
    },
    "evaluation": {"folds": 3},
    "integration": {"metrics": ["ilisi"]},
    # The damaged cells are judged, not left out.
    "qc": {"mads": None, "max_mito_share": None},
}


def write_inputs(data: str, work: Path) -> None:
    """Write the reference, the queries, their sheets and the configuration."""
    work.mkdir(parents=True)
    reference = graded.reference(data, graded.Pair("", "", REFERENCE, QUERY), 0)
    reference.write_h5ad(work / "reference.h5ad")
    rows = []
    for name, damage in DAMAGES.items():
        query = graded.query(data, graded.Pair("", "", REFERENCE, QUERY, damage), 0)
        query.write_h5ad(work / f"{name}.h5ad")
        rows.append({"query": name, "path": f"{name}.h5ad", "label_key": "label"})
    pd.DataFrame(rows).to_csv(work / "queries.tsv", sep="\t", index=False)
    pd.DataFrame([{"dataset": "baron", "path": "reference.h5ad"}]).to_csv(work / "reference.tsv", sep="\t", index=False)
    (work / "config.yaml").write_text(yaml.safe_dump(CONFIG))


def graded_query(folder: Path) -> dict:
    """Return the grades of one query's results."""
    scores = pd.read_csv(folder / "scores.csv").query("batch == 'all' and level == 1")
    delivered = scores[scores["model"] == "delivered"].iloc[0]
    others = scores[~scores["model"].isin(["delivered", "majority"])]
    verdict = json.loads((folder / "verdict.json").read_text())
    return {
        "query": folder.name,
        **delivered[["accuracy", "macro_f1", "ece"]],
        "best source": others["macro_f1"].max(),
        "verdict": verdict["verdict"],
        "estimated accuracy": verdict["estimated_accuracy"]["value"],
    }


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, work = sys.argv[1], Path(sys.argv[2])
    write_inputs(data, work)
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", REPO / "Snakefile", "--directory", work]
    subprocess.run([*snakemake, "--configfile", work / "config.yaml", "--cores", "2"], check=True)
    table = pd.DataFrame([graded_query(work / "results/queries" / name) for name in DAMAGES])
    print(table.round(3).to_markdown(index=False))


if __name__ == "__main__":
    main()
