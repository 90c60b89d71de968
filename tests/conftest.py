"""What all tests share: real data, small files, and Snakemake run as a user would."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

import warm_snakemake
from refatlas.config.addresses import MARKER

REPO = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("REFATLAS_TEST_DATA", REPO.parent / "shared" / "data"))

# Files that take longest come first, so that no worker waits at the end while another runs one of them. The two that
# need the one SLURM cluster stand apart: side by side, one would wait for the other.
LONGEST = (
    *("slurm", "kang", "all_types", "from_scratch", "golden", "demo", "bundle", "slurm_checkpoints", "tuning_run"),
    *("scarches_types", "default_folds", "further_types"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; all others follow in the order in which they were found."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def real():
    """A function that returns the path of a real data set, or skips the test."""

    def path(name: str) -> str:
        if not (DATA / name).exists():
            pytest.skip(f"{name} is not in {DATA}; set REFATLAS_TEST_DATA to the folder that has it")
        return str(DATA / name)

    return path


@pytest.fixture(scope="session")
def config():
    """The configuration with all defaults."""
    from refatlas.config.settings import complete_config

    return complete_config({"reference": "reference.tsv", "queries": "queries.tsv"})


# Shared by the tests of one file alone: a machine has one cluster, and other processes may run tests at the same time.
@pytest.fixture(scope="module")
def cluster():
    """A SLURM cluster of one node on this machine, or a skip with the reason."""
    from slurm_cluster import CannotStart, running_cluster

    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(running_cluster())
        except CannotStart as reason:
            pytest.skip(str(reason))
        yield cluster


def sheet_row(path, **keys) -> dict:
    """Return a row as `load_sheets` would."""
    return {
        "path": str(path),
        "layer": None,
        "batch_key": "batch",
        "batch_is_default": True,
        "label_keys": ["cell_type"],
        "gene_key": None,
        "protein_key": None,
        "protein_is_default": True,
        "metadata": None,
    } | keys


def small_counts(n_cells: int = 60, n_genes: int = 80, seed: int = 0) -> ad.AnnData:
    """Return gamma-Poisson counts of two batches and two labels, as AnnData with symbols."""
    random = np.random.default_rng(seed)
    means = random.gamma(0.8, 2.0, n_genes)
    types = np.arange(n_cells) % 2
    mean = means * np.where(types[:, None] == 0, 1, np.roll(random.gamma(2, 0.5, n_genes), 1))
    x = sparse.csr_matrix(random.poisson(random.gamma(2, mean / 2)).astype(np.float32))
    obs = pd.DataFrame(
        {"batch": np.where(np.arange(n_cells) < n_cells // 2, "b1", "b2"), "cell_type": np.where(types == 0, "A", "B")},
        index=[f"cell{i}" for i in range(n_cells)],
    )
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)]))


class NamedPaths(list):
    """Paths with names, as Snakemake's input and output: a list, whose named members are attributes too."""

    def __init__(self, *paths: str, **named: str):
        super().__init__([*paths, *named.values()])
        self._named = named
        self.__dict__.update(named)

    def items(self):
        return self._named.items()

    def get(self, name: str, default=None):
        return self._named.get(name, default)


def make_job(folder: Path, **inputs: str) -> SimpleNamespace:
    """Return what Snakemake passes to a script, for a job with these inputs and the output and log in a folder."""
    return SimpleNamespace(
        rule="a_rule",
        wildcards={"x": "1"},
        params={"seed": 3, "revision": "revision 2 of a_rule"},
        input=NamedPaths(**inputs),
        output=[str(folder / "out")],
        threads=2,
        resources={"mem_mb": 500, "runtime": 10},
        log=[str(folder / "job.log")],
    )


def write_sheets(folder: Path, reference: list[dict], queries: list[dict], **config) -> Path:
    """Write two sheets and a configuration into a folder; return the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("reference", reference), ("queries", queries)):
        pd.DataFrame(rows).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"reference": "reference.tsv", "queries": "queries.tsv", **config}))
    return path


def snakemake(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run Snakemake on the folder's configuration as a user would, from another folder; output is text."""
    command = [
        "--snakefile",
        REPO / "Snakefile",
        "--directory",
        folder,
        "--configfile",
        folder / "config.yaml",
        # They would replace those of a profile.
        *([] if "--workflow-profile" in arguments else ["--resources", "gpu=2"]),
        *arguments,
    ]
    command = list(map(str, command))
    if "--dry-run" in command:
        run = warm_snakemake.run(command)
    else:
        command = [sys.executable, "-m", "snakemake", *command]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    if check and run.returncode:
        pytest.fail(f"snakemake ended with {run.returncode}:\n{run.stdout[-3000:]}\n{run.stderr[-5000:]}")
    return run


def site_profile(folder: Path, **site: str) -> Path:
    """Return a copy of the shipped profile with lines of its SITE block set."""
    shutil.copytree(REPO / "profiles/slurm", folder, dirs_exist_ok=True)
    path = folder / "profile.v9+.yaml"
    text = path.read_text()
    for key, value in site.items():
        text, n = re.subn(rf"^  {key}: [^ \n]+", f"  {key}: {value}", text, flags=re.MULTILINE)
        assert n == 1
    path.write_text(text)
    return folder


def planned(run: subprocess.CompletedProcess) -> dict[str, int]:
    """Return the number of planned jobs of each rule in a dry run, without targets; {} if nothing is to be done.

    A run with neither a table of jobs nor this message fails the test.
    """
    text = run.stdout + run.stderr
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Job stats:")), None)
    if start is None:
        if "Nothing to be done" not in text:
            pytest.fail(f"neither a table of jobs nor 'Nothing to be done':\n{text[-3000:]}")
        return {}
    jobs = {}
    for line in lines[start + 3 :]:
        if not line.strip():
            break
        rule, n = line.split()
        jobs[rule] = int(n)
    return {rule: n for rule, n in jobs.items() if rule not in ("total", "all", "everything")}


def finish(project):
    """Mark everything in a project as done: placeholder files, recorded by Snakemake's own touch.

    All jobs are recorded, also those whose files look new enough: without a record of a job, Snakemake compares neither
    its params nor its inputs, and a plan of nothing would say nothing.
    """
    run = snakemake(project, "--dry-run", "--quiet", "--detailed-summary")
    for line in run.stdout.splitlines()[1:]:
        path = line.split("\t")[0]
        if path.startswith("results"):
            file = project / path
            is_folder = file.name in ("tables", "multiqc")
            (file if is_folder else file.parent).mkdir(parents=True, exist_ok=True)
            if not is_folder:
                file.write_text('{"bytes": 1}' if path.endswith(MARKER) else "placeholder")
    snakemake(project, "--touch", "--forceall", "--cores", "1")
    run = snakemake(project, "--dry-run")
    assert planned(run) == {}
    assert "missing provenance" not in run.stdout + run.stderr
    return project


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file of 700 cells × 30 genes, of which cell 5 has no count, with proteins."""
    import h5py

    from refatlas.io import model_counts

    random = np.random.default_rng(0)
    x = random.poisson(0.5, (700, 30)).astype(np.float32)
    x[5] = 0
    cells = ad.AnnData(
        sparse.csr_matrix(x),
        obsm={"proteins": np.ones((700, 1), dtype=np.float32)},
        uns={"protein_names": np.array(["CD3"], dtype=object)},
    )
    cells.obs["batch"], cells.obs["label"] = np.where(np.arange(700) < 350, "b1", "b2"), np.where(x[:, 0] > 0, "A", "B")
    cells.obs["label"] = cells.obs["label"].astype("category")
    path = tmp_path_factory.mktemp("store") / "counts.h5ad"
    cells.write_h5ad(path)
    with h5py.File(path, "a") as file:
        model_counts.write_matrix(file, cells.X)
    return str(path)
