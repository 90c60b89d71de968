"""The h5ad files of real cells open in cellxgene and R, as people have them: each in an environment of its own."""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import REPO, planned, snakemake, write_sheets
from exported import unknown_parts

FILES = {
    "query": "results/queries/donor107/donor107.h5ad",
    "reference": "results/reference/reference.h5ad",
    "atlas": "results/atlas/atlas.h5ad",
}
# Columns and layouts that cellxgene must show of each file.
COLUMNS = {
    "query": {"cell_type", "label", "confidence", "status", "set", "novelty", "linear_label", "linear_confidence"},
    "reference": {"dataset", "batch", "label", "cell_type", "original_batch", "cluster_linear"},
    "atlas": {"origin", "dataset", "batch", "label", "confidence", "status"},
}
LAYOUTS = {"umap", "umap_linear", "linear"}
SECONDS = 120
# As browsers ask: cellxgene does not send uncompressed values.
BINARY = {"Accept": "application/octet-stream", "Accept-Encoding": "gzip"}
R_PROGRAM = """
library(rhdf5)
arguments <- commandArgs(TRUE)
obs <- h5read(arguments[1], "obs")
counts <- h5read(arguments[1], "X")
labels <- read.csv(arguments[2], row.names = 1)
label <- obs$label$categories[obs$label$codes + 1]
stopifnot(identical(as.character(obs[["_index"]]), rownames(labels)), identical(as.character(label), labels$label))
places <- h5read(arguments[1], "obsm/X_umap")
cat(length(label), sum(counts$data), dim(places), h5read(arguments[1], "uns/refatlas/verdict"), "\\n")
"""


@pytest.fixture(scope="module")
def folder(real, tmp_path_factory):
    """A finished run on eight donors of PBMC with the baseline alone, all genes of the query, and its atlas."""
    folder = tmp_path_factory.mktemp("exported")
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    query = (data.obs["batch"].astype(str) == "107").to_numpy()
    data[~query][::4].copy().write_h5ad(folder / "reference.h5ad")
    data[query].copy().write_h5ad(folder / "query.h5ad")
    reference = [{"dataset": "kang", "path": "reference.h5ad"}]
    queries = [{"query": "donor107", "path": "query.h5ad"}]
    settings = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}, "genes": {"n_top": 500}}
    write_sheets(folder, reference, queries, **settings, export={"genes": "all"})
    snakemake(folder, "--cores", "2", "atlas")
    return folder


@pytest.fixture(scope="module")
def cellxgene(tmp_path_factory):
    """The program, installed into an environment of its own, or a skip with the reason."""
    uv = REPO / ".tools/bin/uv"
    if not uv.exists():
        pytest.skip("no .tools/bin/uv, which make env installs: no environment for cellxgene can be made")
    home = tmp_path_factory.mktemp("cellxgene") / "env"
    python, log = home / "bin/python", home.with_suffix(".log")
    with log.open("w") as out:
        for command in (
            ["venv", "--quiet", "--python", sys.executable, home],
            ["pip", "sync", "--quiet", "--python", python, "--require-hashes", REPO / "envs/cellxgene.txt"],
        ):
            made = subprocess.run(list(map(str, [uv, *command])), stdout=out, stderr=out, check=False, cwd=home.parent)
            if made.returncode:
                pytest.skip(f"cellxgene cannot be installed here: {log.read_text()[-500:]}")
    return home / "bin/cellxgene"


@contextmanager
def served(program: Path, file: Path, folder: Path):
    """Serve a file with cellxgene, and yield a function that returns what it answers to a request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "launch", file, "--port", port, "--host", "127.0.0.1", "--disable-annotations"]
    log = folder / f"{file.stem}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            list(map(str, command)), stdout=out, stderr=out, cwd=folder, env={**os.environ, "HOME": str(folder)}
        )

    def ask(path: str, **headers: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v0.2/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.read()

    try:
        _wait(ask, process, log)
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(ask, process: subprocess.Popen, log: Path) -> None:
    """Wait until cellxgene answers; fail with its log if it ends."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            ask("config")
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"cellxgene does not answer:\n{log.read_text()[-3000:]}")


@pytest.mark.parametrize("kind", list(FILES))
def test_cellxgene_shows_columns_layouts_and_genes(folder, cellxgene, kind, tmp_path):
    with served(cellxgene, folder / FILES[kind], tmp_path) as ask:
        schema, config = (json.loads(ask(path)) for path in ("schema", "config"))
        gene = ad.read_h5ad(folder / FILES[kind], backed="r").var_names[0]
        sizes = [
            len(gzip.decompress(ask(path, **BINARY)))
            for path in (
                "annotations/obs?annotation-name=label",
                "layout/obs?layout-name=umap",
                f"data/var?var:name_0={urllib.request.quote(gene)}",
            )
        ]
    found = schema["schema"]
    columns = {column["name"]: column["type"] for column in found["annotations"]["obs"]["columns"]}
    assert set(columns) >= COLUMNS[kind]
    assert columns["label"] == "categorical"
    assert {layout["name"] for layout in found["layout"]["obs"]} >= LAYOUTS
    assert config["config"]["displayNames"]["dataset"] == (folder / FILES[kind]).stem
    # Every answer holds some bytes of each cell.
    n_cells = found["dataframe"]["nObs"]
    assert n_cells == len(ad.read_h5ad(folder / FILES[kind], backed="r"))
    assert min(sizes) > n_cells


@pytest.mark.parametrize("kind", list(FILES))
def test_files_hold_only_what_all_readers_know(folder, kind):
    assert unknown_parts(folder / FILES[kind]) == []


def test_a_query_has_the_cells_and_columns_of_its_file(folder):
    found, own = ad.read_h5ad(folder / FILES["query"]), ad.read_h5ad(folder / "query.h5ad")
    labels = pd.read_csv(folder / "results/queries/donor107/labels.csv", index_col="cell", dtype={"cell": str})
    assert found.obs_names.tolist() == own.obs_names.tolist() == labels.index.tolist()
    assert set(own.obs) <= set(found.obs)
    for name in own.obs:
        assert found.obs[name].dtype.kind == own.obs[name].dtype.kind
        assert found.obs[name].astype(str).tolist() == own.obs[name].astype(str).tolist()
    assert found.obs["label"].tolist() == labels["label"].tolist()
    assert np.array_equal(found.X.toarray(), own.X.toarray())
    assert not np.isnan(found.obsm["X_umap"]).any()


def test_labels_join_by_one_line_of_pandas(folder):
    adata = ad.read_h5ad(folder / "query.h5ad")[::-1].copy()
    labels = pd.read_csv(folder / "results/queries/donor107/labels.csv", index_col="cell", dtype={"cell": str})
    adata.obs = adata.obs.join(labels)
    assert adata.obs["label"].notna().all()
    assert adata.obs["label"].tolist() == labels["label"].tolist()[::-1]


def test_r_reads_the_query_and_its_labels(folder, tmp_path):
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("no R on this machine")
    has = subprocess.run([rscript, "-e", "library(rhdf5)"], capture_output=True, text=True, check=False)
    if has.returncode:
        pytest.skip("R has no package rhdf5")
    (tmp_path / "read.R").write_text(R_PROGRAM)
    files = [folder / FILES["query"], folder / "results/queries/donor107/labels.csv"]
    run = subprocess.run([rscript, tmp_path / "read.R", *files], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    cells = ad.read_h5ad(files[0])
    expected = [len(cells), int(cells.X.sum()), 2, len(cells), cells.uns["refatlas"]["verdict"]]
    assert run.stdout.split() == [str(value) for value in expected]


def test_a_new_query_does_not_write_the_reference_again(folder):
    """It plans what it costs: its own file, and of the reference nothing."""
    rows = [{"query": name, "path": "query.h5ad"} for name in ("donor107", "another")]
    settings = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}, "genes": {"n_top": 500}}
    write_sheets(folder, [{"dataset": "kang", "path": "reference.h5ad"}], rows, **settings, export={"genes": "all"})
    target = ["results/queries/another/another.h5ad", FILES["query"], FILES["reference"]]
    jobs = planned(snakemake(folder, "--dry-run", *target))
    assert jobs["export_query"] == 1
    assert not {"export_reference", "train_reference"} & set(jobs)
    assert planned(snakemake(folder, "--dry-run", FILES["atlas"]))["export_atlas"] == 1
