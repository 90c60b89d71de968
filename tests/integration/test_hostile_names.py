"""Real cells under hostile names of folder, files, batches, labels and genes, through the workflow to labels.csv and
the report as a browser shows it.
"""

import json
import re
import shutil
import subprocess

import anndata as ad
import pandas as pd
import pytest

from conftest import snakemake
from hostile import BATCHES, FOLDER, LABELS, write_hostile_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(real, tmp_path_factory):
    """A folder with the results, and the query's true labels. UMAPs are short, and there are no folds."""
    folder = tmp_path_factory.mktemp("hostile") / FOLDER
    folder.mkdir()
    cheap = {
        "genes": {"n_top": 300},
        "evaluation": {"folds": 0},
        "umap": {"n_epochs": 10},
        "integration": {"max_cells": 200, "metrics": ["kmeans_nmi"]},
    }
    truth = write_hostile_project(folder, ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad")), **cheap)
    snakemake(folder, "--cores", "2", "results/report/index.html")
    return folder, truth


def test_labels_are_delivered_under_their_names(project):
    folder, truth = project
    labels = pd.read_csv(folder / "results/queries/null/labels.csv", keep_default_na=False)
    assert len(labels) == len(truth)
    assert set(labels["label"]) <= set(LABELS)
    assert (labels["label"] == truth).mean() > 0.8
    assert labels["cell"].str.contains(";$(touch pwned)<i>", regex=False).all()


def test_no_name_was_a_command_or_a_path(project):
    folder, _ = project
    assert not list(folder.parent.rglob("*pwned")) + [path for path in folder.rglob("*") if path.name == "pwned"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [FOLDER]
    assert {path.name for path in folder.iterdir()} >= {"results", "logs"}
    scan = json.loads((folder / "results/reference/datasets/NA/scan.json").read_text())
    assert all(name.startswith("NA:") and name.endswith(tuple(BATCHES)) for name in scan["batches"])


def test_the_browser_shows_html_in_names_as_text(project, tmp_path):
    folder, _ = project
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    # Without the page's content security policy: names must be harmless by themselves.
    page = tmp_path / "page.html"
    page.write_text(
        re.sub(
            '<meta http-equiv="Content-Security-Policy"[^>]*>', "", (folder / "results/report/index.html").read_text()
        )
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path}/profile",
    ]
    run = subprocess.run(
        [browser, *flags, "--dump-dom", f"file://{page}"], capture_output=True, text=True, timeout=600, check=True
    )
    assert "<title>refatlas report</title>" in run.stdout
    assert not [element for element in ("<script", "<img src=x", "<b>", "<i>") if element in run.stdout]
    assert "&lt;script&gt;document.title='pwned'&lt;/script&gt;" in run.stdout
    assert "&lt;img src=x onerror=" in run.stdout
