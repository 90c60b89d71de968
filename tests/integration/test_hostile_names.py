"""Real cells under hostile names of folder, files, batches, labels and genes, through the workflow to labels.csv and
the report as a browser shows it.
"""

import json
import re

import anndata as ad
import pandas as pd
import pytest

from conftest import snakemake
from hostile import BATCHES, FOLDER, LABELS, write_hostile_project
from report_browser import chromium, opened

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(real, tmp_path_factory):
    """A folder with the results, and the query's true labels. Clusters and UMAPs are short, and there are no folds."""
    folder = tmp_path_factory.mktemp("hostile") / FOLDER
    folder.mkdir()
    cheap = {
        "genes": {"n_top": 300},
        "evaluation": {"folds": 0},
        "clusters": {"resolutions": [0.5, 1], "repeats": 2},
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
    report = folder / "results/report"
    with chromium() as browser:
        for path in (report / "index.html", report / "reference.html", *(report / "queries").glob("*.html")):
            # Without the page's content security policy: names must be harmless by themselves.
            bare = tmp_path / "page.html"
            policy = '<meta http-equiv="Content-Security-Policy"[^>]*>'
            bare.write_text(re.sub(policy, "", path.read_text(encoding="utf-8")), encoding="utf-8")
            page, said = opened(browser, bare)
            assert "pwned" not in page.title()
            assert said == []
            assert page.locator("main img[src=x]").count() + page.locator("main b, main i").count() == 0
            page.locator("details").evaluate_all("parts => parts.forEach(part => part.open = true)")
            # The index names no label where no batch is held out.
            shown = page.locator("main").inner_text()
            assert path.name == "index.html" or "document.title='pwned'" in shown
