"""Measures what follows the labels: contrasts, densities, abundance, markers, checks and expression by models.

usage: .venv/bin/python measurements/after_labels.py DATA WORK [COPIES [EPOCHS]]
    DATA    folder of kang_ctrl_8donors_1287g.h5ad
    WORK    new folder to work in
    COPIES  of each donor, thinned by a tenth, as further donors (default: 1, the donors themselves)
    EPOCHS  of each training at most (default: 20)

Donor 107 and its copies are a query, the others the reference. With one copy there are 12,261 cells, with eight
98,088. Prints, for each rule: jobs, seconds and peak memory of the largest job, and what the checks say of each model.
"""

import json
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from scipy import sparse

from overhead import timed, workflow

QUERY, N_GROUP = "107", 4
RULES = (
    *("train_reference", "map_query", "plan_contrast", "compare_conditions", "compare_abundance", "compare_density"),
    *("find_markers", "find_model_markers", "criticize_reference", "criticize_query", "normalize_expression"),
    *("predict_counterfactual", "check_counterfactual"),
)


def copies(cells: ad.AnnData, n: int) -> ad.AnnData:
    """Return the cells, and n − 1 thinned copies of them, whose donors have names of their own."""
    parts = []
    for i in range(n):
        part = cells.copy()
        part.X = sparse.csr_matrix(part.X)
        if i:
            kept = np.random.default_rng(i).binomial(part.X.data.astype(np.int64), 0.9)
            part.X.data = kept.astype(np.float32)
        part.obs["batch"] = [f"{donor}_{i}" for donor in part.obs["batch"]]
        part.obs_names = [f"{name}_{i}" for name in part.obs_names]
        parts.append(part)
    return ad.concat(parts)


def write_inputs(data: Path, work: Path, n_copies: int, epochs: int) -> None:
    """Write files, sheets and the configuration."""
    cells = ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")
    donors = cells.obs["batch"].astype(str)
    order = {donor: i for i, donor in enumerate(sorted(donors.unique()))}
    cells.obs["group"] = ["first" if order[donor] < N_GROUP else "second" for donor in donors]
    is_query = (donors == QUERY).to_numpy()
    for name, part in (("kang", cells[~is_query]), ("q", cells[is_query])):
        copies(part.copy(), n_copies).write_h5ad(work / f"{name}.h5ad")
    (work / "reference.tsv").write_text("dataset\tpath\nkang\tkang.h5ad\n")
    (work / "queries.tsv").write_text("query\tpath\nq\tq.h5ad\n")
    few = {"max_epochs": epochs}
    models = {
        "scvi": {"type": "scvi", "train": few, "surgery": few},
        "scanvi": {"type": "scanvi", "init_from": "scvi", "train": few, "surgery": few},
    }
    contrast = {"condition": "group", "groups": ["first", "second"], "sample": "batch", "density": "scvi"}
    pairs = [{"from": f"q:{QUERY}_0", "to": "kang:1015_0"}, {"from": "kang:1256_0", "to": "kang:1015_0"}]
    config = {
        "reference": "reference.tsv",
        "queries": "queries.tsv",
        "label_key": "cell_type",
        "batch_key": "batch",
        "models": models,
        "evaluation": {"folds": 1, "max_epochs": epochs},
        "clusters": {"resolutions": []},
        "differential": {"contrasts": {"halves": contrast}, "markers": {"models": ["scvi", "scanvi"]}},
        "criticism": {"models": ["scvi", "scanvi"]},
        "expression": {"model": "scanvi", "normalized": True, "counterfactual": pairs, "checks": 2},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))


def measure(data: Path, work: Path, n_copies: int, epochs: int) -> None:
    """Run the workflow, and print what it took and what the checks found."""
    work.mkdir()
    write_inputs(data, work, n_copies, epochs)
    pages = [f"results/report/{name}.html" for name in ("contrasts/halves", "model_markers", "expression", "criticism")]
    seconds = timed(workflow("--cores", "2", "--", *pages), work)
    records = [json.loads(path.read_text()) for path in (work / "logs").rglob("*.json")]
    jobs = pd.DataFrame([{key: job[key] for key in ("rule", "seconds", "peak_mb")} for job in records])
    found = jobs.groupby("rule").agg(jobs=("seconds", "size"), seconds=("seconds", "max"), peak_mb=("peak_mb", "max"))
    print(found.reindex([rule for rule in RULES if rule in found.index]).round(1).to_markdown())
    print(f"{seconds:.0f} s in all")
    for path in sorted((work / "results").rglob("criticism.csv")):
        print(path.relative_to(work), pd.read_csv(path).round(3).to_string(), sep="\n")
    for path in sorted((work / "results/counterfactual").rglob("error.csv")):
        print(path.relative_to(work), pd.read_csv(path).round(3).to_string(), sep="\n")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    folders = [Path(argument).resolve() for argument in sys.argv[1:3]]
    measure(*folders, *map(int, [*sys.argv[3:], *("1", "20")[len(sys.argv) - 3 :]]))
