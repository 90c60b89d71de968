"""What the screen shows at the end of a run: verdicts, places of results, and failed jobs."""

import json

import pytest

from refatlas.jobs import summary
from refatlas.jobs.summary import Delivered, failure_summary, query_lines, run_summary
from refatlas.jobs.watch import WatchedJob

REASON = "97% of the labels are estimated to be right (93% to 100%)"


def delivered(folder, name="q", verdict="pass", statuses=("assigned",)) -> Delivered:
    """Return a query with its files."""
    place = folder / "queries" / name
    place.mkdir(parents=True)
    (place / "verdict.json").write_text(
        json.dumps({"query": name, "verdict": verdict, "reason": REASON, "n_cells": len(statuses)})
    )
    rows = [f'c{i},"B, naive",{status}' for i, status in enumerate(statuses)]
    (place / "labels.csv").write_text("\n".join(["cell,label,status", *rows]) + "\n")
    return Delivered(name, str(place / "labels.csv"), str(place / "verdict.json"))


def test_a_query_has_a_line_with_its_verdict_and_its_doubtful_cells(tmp_path):
    one = delivered(tmp_path, statuses=["novel"] * 3 + ["ambiguous"] + ["assigned"] * 1200)
    assert query_lines([one]) == [f"query q: pass: {REASON}; of 1,204 cells, 3 novel and 1 ambiguous"]


def test_without_doubtful_cells_the_line_is_the_verdict(tmp_path):
    assert query_lines([delivered(tmp_path)]) == [f"query q: pass: {REASON}"]


def test_cells_of_a_large_file_are_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "MAX_COUNTED_BYTES", 10)
    assert query_lines([delivered(tmp_path, statuses=["novel"])]) == [f"query q: pass: {REASON}"]


def test_the_worst_verdict_comes_first_and_the_places_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    queries = [delivered(tmp_path, name, verdict) for name, verdict in (("a", "pass"), ("b", "fail"), ("c", "warn"))]
    (tmp_path / "index.html").write_text("")
    lines = run_summary(queries, {"report": "index.html", "page": "missing.html"}).splitlines()
    assert [line.split(": 97%")[0] for line in lines[:3]] == ["query b: fail", "query c: warn", "query a: pass"]
    assert lines[3:] == [f"labels: {tmp_path}/queries/QUERY/labels.csv", f"report: {tmp_path}/index.html"]


def test_of_a_single_query_the_labels_have_their_own_path(tmp_path):
    assert run_summary([delivered(tmp_path)], {}).splitlines()[-1] == f"labels: {tmp_path}/queries/q/labels.csv"


def test_of_many_queries_those_that_do_not_pass_are_listed(tmp_path):
    queries = [delivered(tmp_path, f"q{i:02}", "pass") for i in range(20)]
    queries += [delivered(tmp_path, "bad", "fail"), delivered(tmp_path, "doubtful", "warn")]
    lines = query_lines(queries)
    assert lines[0] == "22 queries: 1 fail, 1 warn, 20 pass"
    assert [line.split(": 97%")[0] for line in lines[1:]] == ["  query bad: fail", "  query doubtful: warn"]
    queries += [delivered(tmp_path, f"w{i:02}", "warn") for i in range(25)]
    assert len(query_lines(queries)) == 22
    assert query_lines(queries)[-1] == "  and 7 more that do not pass"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"verdict": "other", "reason": "x", "n_cells": 1}'])
def test_a_verdict_that_cannot_be_read_is_left_out(tmp_path, content):
    one = delivered(tmp_path)
    (tmp_path / "queries/q/verdict.json").write_text(content)
    assert query_lines([one]) == []
    assert query_lines([Delivered("p", "missing", "missing")]) == []


def test_a_run_without_queries_and_report_says_nothing():
    assert run_summary([], {}) == ""


def test_failed_jobs_are_listed_with_their_logs_and_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = WatchedJob("train_reference", {"split": "reference", "model": "scvi"}, ("logs/a.log", "slurm.log"))
    assert failure_summary([job, WatchedJob("b")]).splitlines() == [
        "2 jobs failed:",
        f"  train_reference reference scvi: {tmp_path}/logs/a.log",
        "  b: no log",
        "What was made before is kept: correct the cause, and run the same command again to go on from there.",
    ]
    assert failure_summary([job]).startswith("1 job failed:\n")


def test_a_run_that_was_stopped_goes_on_with_the_same_command():
    assert failure_summary([]) == "The run stopped.\nRun the same command again to go on from there."
