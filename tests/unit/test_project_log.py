"""The project log as JSON and as Markdown, and the logs of earlier runs."""

import json
import runpy
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from test_query_summary import CHECK, GROUPS, LABELS, MAPPINGS, VERDICT, query_summary

from conftest import REPO, NamedPaths
from refatlas.models.interface import Training
from refatlas.models.training import training_report
from refatlas.report.project_log import as_markdown, keep_run, model_entry, run_log, training_facts

DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CODE = {"version": "9.9", "commit": "0123456789abcdef", "changed": True, "sha256": "f"}
SCAN = {
    "name": "a",
    "path": "a.h5ad",
    "n_cells": 1200,
    "n_kept": 1100,
    "n_genes": 2000,
    "median_counts": 1000.0,
    "median_genes": 500.0,
    "batches": {"a:1": 600, "a:2": 600},
    "low_quality": {"outlier": 100},
    "checksums": {"a.h5ad": {"sha256": "aaa", "bytes": 1, "modified": ""}},
    "notes": ["not in the log"],
}
INTEGRATION = pd.DataFrame(
    {
        "model": ["m", "m", "m", "other"],
        "metric": ["ilisi", "kbet", "total", "ilisi"],
        "kind": ["batch", "batch", "total", "batch"],
        "value": [0.25, float("nan"), 0.5, 0.9],
    }
)
STABILITY = pd.DataFrame(
    {
        "resolution": [0.5, 1.0],
        "n_clusters": [5, 9],
        "stability": [0.7, 0.9],
        "stability_low": [0.6, 0.8],
        "stability_high": [0.8, 1.0],
        "suggested": [False, True],
    }
)


def record(batch="a|1<b>", monitor="elbo_validation", epochs=2):
    """Return the text of a training.md."""
    counts = ad.AnnData(
        np.ones((3, 2), dtype=np.float32), obs=pd.DataFrame({"batch": [batch] * 2 + ["c"]}, index=list("xyz"))
    )
    history = pd.DataFrame({"epoch": range(1, epochs + 1), "elbo_validation": [12.5, -10.25][:epochs]})
    training = Training(history=history, monitor=monitor, converged=monitor is None, device="cpu")
    settings = {"type": "scvi", "train": {"max_epochs": 2}}
    return training_report("m", settings, 0, counts, training, 1234.5, ["model.pt"])


def summary():
    return query_summary("q", CHECK, MAPPINGS, LABELS, VERDICT, GROUPS)


def a_log(**changes):
    model = model_entry("m", record(), INTEGRATION, STABILITY, "abc  model.pt\n")
    return run_log(
        **{
            "name": "p",
            "date": DATE,
            "code": CODE,
            "seed": 3,
            "datasets": [SCAN],
            "models": [model],
            "queries": [summary()],
        }
        | changes
    )


def test_facts_are_read_back_from_the_record_of_a_training():
    facts = training_facts(record())
    assert facts["batches"] == "2: a|1<b> (2), c (1)"
    assert facts["epochs"] == "2"


def test_entry_of_a_model():
    found = model_entry("m", record(), INTEGRATION, STABILITY, "abc  model.pt\n")
    assert (found["epochs"], found["loss"], found["loss_name"], found["converged"]) == (
        2,
        -10.25,
        "elbo_validation",
        False,
    )
    assert (found["type"], found["cells"], found["genes"], found["batches"], found["seconds"]) == (
        "scvi",
        3,
        2,
        2,
        1234.5,
    )
    assert found["clusters"] == {
        "resolution": 1.0,
        "clusters": 9,
        "stability": 0.9,
        "stability_low": 0.8,
        "stability_high": 1.0,
    }
    assert found["integration"] == {"ilisi": 0.25, "kbet": None, "total": 0.5}
    assert found["batch_metrics"] == ["ilisi", "kbet"]
    assert found["sha256"] == "abc"


def test_entry_of_a_model_without_epochs_and_clusters():
    found = model_entry("m", record(monitor=None, epochs=0), INTEGRATION)
    assert (found["epochs"], found["loss"], found["converged"], found["clusters"]) == (0, None, True, None)


def test_log_has_all_of_a_run_as_plain_values():
    log = json.loads(json.dumps(a_log(), allow_nan=False))
    assert (log["name"], log["date"], log["seed"]) == ("p", "2026-01-02T03:04:05+00:00", 3)
    assert log["refatlas"] == {"version": "9.9", "commit": "0123456789abcdef", "changed": True}
    assert log["datasets"][0]["sha256"] == {"a.h5ad": "aaa"}
    assert "notes" not in log["datasets"][0]
    query = log["queries"][0]
    assert (query["novel_groups"][0]["n_cells"], query["batches"], query["status"]["assigned"]) == (20, 2, 2)
    assert query["mappings"] == {"scvi": {"epochs": 5, "final_loss": 1.5, "converged": True}}
    assert "labels" not in query
    assert log["artifacts"]["labels"] == "queries/{query}/labels.csv"
    assert "labels" not in a_log(queries=[query_summary("q", CHECK, MAPPINGS)])["artifacts"]


def test_markdown_has_every_part():
    text = as_markdown(a_log(), ["2026-01-01T00-00-00Z"])
    for line in (
        "| refatlas | 9.9 (commit 0123456789, changed since) |",
        "| reference | 1 datasets, 1,200 cells, of which 1,100 are kept, 2 batches |",
        "| a | a.h5ad | 1,200 | 1,100 | 2,000 | 2 | 1,000 |",
        "| m | scvi | 2 | 2 | -10.25 | no | cpu | 1,234 | 9 | 0.9 |",
        "| m | 0.25 |  | 0.5 |",
        "| q | 4 | 2 | warn | 0.8 | 2 | 0 | 1 | 1 | 1 |",
        "| q | 1 | 20 | T |  | A, B |",
        "- labels: `queries/{query}/labels.csv`",
        "- [2026-01-01T00-00-00Z](runs/2026-01-01T00-00-00Z.md)",
    ):
        assert f"\n{line}\n" in text, line
    assert "Earlier runs" not in as_markdown(a_log())
    assert as_markdown(a_log(queries=[])).count("\nNone.\n") == 2, "neither queries nor new types"


def test_names_of_users_start_no_column_link_or_element():
    text = as_markdown(a_log(datasets=[{**SCAN, "name": "<script> | [x](javascript:y)\n# z"}]))
    assert "<script>" not in text
    assert r"| &lt;script> \| \[x\](javascript:y) # z |" in text


def test_every_run_that_differs_is_kept(tmp_path):
    runs = tmp_path / "runs"
    assert keep_run(a_log(), runs) == []
    assert {path.name for path in runs.iterdir()} == {"2026-01-02T03-04-05Z.json", "2026-01-02T03-04-05Z.md"}
    later = {"date": DATE.replace(hour=4)}
    assert keep_run(a_log(**later), runs) == [], "only the date differs: the same run"
    assert len(list(runs.iterdir())) == 2
    assert keep_run(a_log(**later, seed=4), runs) == ["2026-01-02T03-04-05Z"]
    assert keep_run(a_log(**later, seed=4), runs) == ["2026-01-02T03-04-05Z"]
    assert keep_run(a_log(date=DATE.replace(hour=5)), runs) == ["2026-01-02T04-04-05Z", "2026-01-02T03-04-05Z"]
    assert json.loads((runs / "2026-01-02T04-04-05Z.json").read_text())["seed"] == 4


def test_a_damaged_log_of_the_last_run_hinders_nothing(tmp_path):
    runs = Path(tmp_path / "runs")
    keep_run(a_log(), runs)
    (runs / "2026-01-02T03-04-05Z.json").write_text('{"cut')
    (runs / "notes.json").write_text("of a user")
    assert keep_run(a_log(date=DATE.replace(hour=6)), runs) == ["2026-01-02T03-04-05Z"]


@pytest.mark.parametrize("changed", [True, False])
def test_without_a_checkout_there_is_no_commit(changed):
    text = as_markdown(a_log(code={**CODE, "commit": None, "changed": changed}))
    assert "| refatlas | 9.9 |" in text


@pytest.mark.parametrize("clustered", [True, False])
def test_script_writes_the_log_and_the_content_for_multiqc(tmp_path, clustered, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("training.md").write_text(record())
    Path("model.pt.sha256").write_text("abc  model.pt\n")
    STABILITY.to_csv("stability.csv", index=False)
    INTEGRATION.to_csv("integration.csv", index=False)
    Path("scan.json").write_text(json.dumps(SCAN))
    Path("summary.json").write_text(json.dumps(summary()))
    paths = {"scan:a": "scan.json", "training:m": "training.md", "checksum:m": "model.pt.sha256"}
    paths |= {"summary:q": "summary.json", "integration": "integration.csv"}
    files = NamedPaths(**paths, **({"stability:m": "stability.csv"} if clustered else {}))
    out = NamedPaths(json="report/log.json", markdown="report/log.md", multiqc="report/multiqc")
    script = runpy.run_path(str(REPO / "workflow/scripts/write_project_log.py"))
    script["main"](SimpleNamespace(input=files, output=out, params=SimpleNamespace(seed=3)))
    log = json.loads(Path("report/log.json").read_text())
    assert (log["name"], log["seed"]) == (tmp_path.name, 3)
    assert (log["models"][0]["clusters"] is not None) == clustered
    assert Path("report/log.md").read_text() == as_markdown(log)
    assert len(list(Path("report/multiqc").glob("*_mqc.json"))) == 6
    assert len(list(Path("report/runs").iterdir())) == 2
