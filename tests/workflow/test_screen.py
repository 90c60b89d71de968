"""The screen of whole runs, with stand-ins for the rules: progress, failed jobs, the end, and what is left out."""

import re
from pathlib import Path

import pytest

from stand_in_run import REASON, run_stand_in, write_workflow

NOISE = re.compile(r"Select jobs|Execute \d|Finished jobid|steps \(|Provided|Using shell|SNAKEMAKE|\nrule |localrule")
TRAINING = re.compile(
    r"\n\d\d:\d\d:\d\d  0 of 8 jobs done"
    r"\n  scvi, (reference|fold_1): epoch \d/40, loss 512\.3, \d+ cells/s, at most \d+ s left"
)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_workflow(tmp_path)


def test_a_run_shows_progress_verdicts_and_where_results_are_and_little_else(folder):
    screen = run_stand_in(folder, "--cores", "2").stderr
    assert TRAINING.search(screen)
    assert {"\n  scvi, reference: epoch", "\n  scvi, fold_1: epoch"} <= set(re.findall(r"\n  scvi, .*: epoch", screen))
    assert "\n  running: train_reference" in screen
    assert screen.count("a line of a job") == 2
    assert f"query p: pass: {REASON}; of 2 cells, 1 novel\nquery q: pass" in screen
    assert f"labels: {folder}/results/queries/QUERY/labels.csv\nreport: {folder}/results/report/index.html\n" in screen
    assert "Job stats:" in screen
    assert NOISE.findall(screen) == []
    assert not list(folder.rglob(".*.progress"))


def test_the_end_names_only_what_the_targets_of_the_run_need(folder):
    screen = run_stand_in(folder, "--cores", "2", "results/queries/q/labels.csv", seconds="0").stderr
    assert "query p" not in screen
    assert "report:" not in screen
    assert "jobs done" not in screen
    assert f"labels: {folder}/results/queries/q/labels.csv" in screen


def test_an_error_is_shown_with_its_log_and_where_to_go_on(folder):
    ended = run_stand_in(folder, "--cores", "1", "--keep-going", fails="error", seconds=None)
    assert ended.returncode == 1
    assert "Error in train_reference reference scvi; logs/train_reference/reference/scvi.log:\n" in ended.stderr
    assert ended.stderr.count("    KeyError: 'of a programmer'") == 1
    assert f"1 job failed:\n  train_reference reference scvi: {folder}/logs/train_reference/" in ended.stderr
    assert "run the same command again to go on" in ended.stderr
    assert "CalledProcessError" not in ended.stderr
    assert NOISE.findall(ended.stderr) == []


def test_refused_input_is_told_once(folder):
    ended = run_stand_in(folder, "--cores", "1", "results/report/index.html", fails="input", seconds=None)
    assert ended.stderr.count("counts of 'q' are missing") == 1
    assert "1 job failed:" in ended.stderr


def test_a_dry_run_shows_the_plan_and_nothing_new(folder):
    screen = run_stand_in(folder, "--dry-run")
    shown = screen.stdout + screen.stderr
    assert re.search(r"^train_reference +2$", shown, re.MULTILINE)
    assert "jobs done" not in shown
    assert "labels:" not in shown


@pytest.mark.parametrize(
    ("quiet", "progress", "verdicts", "noise"),
    [("all", False, False, False), (("rules", "progress"), False, True, False), ("host", True, True, True)],
)
def test_the_user_may_want_less_or_more(folder, quiet, progress, verdicts, noise):
    asked = [quiet] if isinstance(quiet, str) else quiet
    screen = run_stand_in(folder, "--cores", "2", "--quiet", *asked, "--", "results/queries/q/labels.csv").stderr
    assert ("jobs done" in screen) == progress
    assert ("query q: pass" in screen) == verdicts
    assert ("Finished jobid" in screen) == noise


def test_a_wrong_interval_is_refused_before_any_job(folder):
    ended = run_stand_in(folder, "--cores", "1", seconds="often")
    assert ended.returncode == 1
    assert "REFATLAS_PROGRESS_SECONDS is 'often'; give the seconds" in ended.stderr
    assert not (folder / "logs").exists()
