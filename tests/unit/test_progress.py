"""What the screen shows while a run lasts: jobs, trainings, failed jobs."""

import json
import logging
import time

import pytest

from refatlas.errors import InputError
from refatlas.io import progress_file
from refatlas.io.progress_file import TrainingProgress, announced_progress, read_progress, tell_progress
from refatlas.jobs.progress import ProgressReport, duration, pause, progress_lines, progress_seconds, training_line
from refatlas.jobs.run import run_job
from refatlas.jobs.screen import SCREEN_HANDLER, QuietScreen, failure_text, quieten
from refatlas.jobs.watch import JobWatch, RunState, WatchedJob, counted
from refatlas.models.recorder import Recorder

HALF = TrainingProgress("scvi", 12, 400, 512.34, 9800.4, 0.5, 194.0)


def event(name, level=logging.INFO, message="", **fields) -> logging.LogRecord:
    """Return a log record as Snakemake makes it."""
    return logging.makeLogRecord({"msg": message, "levelno": level, "event": name, **fields})


def started(jobid, rule, log="", **wildcards) -> logging.LogRecord:
    """Return the event of a job that starts."""
    return event("job_info", jobid=jobid, rule_name=rule, wildcards=wildcards, log=[str(log)] if log else [])


def failed(jobid, rule, *logs, **fields) -> logging.LogRecord:
    """Return the event of a job that fails."""
    logs = list(map(str, logs))
    return event("job_error", logging.ERROR, jobid=jobid, rule_name=rule, log=logs, rule_msg=None, **fields)


@pytest.fixture
def job(tmp_path):
    """A job that trains on the reference, with its progress file."""
    log = tmp_path / "train_reference" / "reference" / "scvi.log"
    log.parent.mkdir(parents=True)
    with announced_progress(log):
        tell_progress(HALF)
        yield WatchedJob("train_reference", {"split": "reference", "model": "scvi"}, (str(log),), time.time())


def test_a_training_is_one_line_below_the_count_of_jobs(job):
    others = [WatchedJob("map_query", {"query": "queries/q", "model": "linear"}), WatchedJob("select_genes")]
    state = RunState(12, 46, (others[0], job, others[0], others[1]))
    assert progress_lines(state, time.time()) == [
        "12 of 46 jobs done",
        "  scvi, reference: epoch 12/400, loss 512.3, 9,800 cells/s, at most 3 min left",
        "  also running: map_query (2), select_genes",
    ]


def test_without_a_training_only_jobs_are_shown():
    assert progress_lines(RunState(0, 1_046), 0.0) == ["0 of 1,046 jobs done"]
    state = RunState(3, 46, (WatchedJob("select_genes"),))
    assert progress_lines(state, 0.0, "submitted") == ["3 of 46 jobs done", "  submitted: select_genes"]


def test_many_trainings_are_counted(job):
    lines = progress_lines(RunState(0, 99, (job,) * 23), time.time())
    assert len(lines) == 22
    assert lines[-1] == "  and 3 more trainings"


@pytest.mark.parametrize(
    ("wildcards", "stage", "expected"),
    [
        ({"model": "scvi", "split": "reference"}, "scvi", "scvi, reference: "),
        ({"model": "scanvi", "split": "reference"}, "scvi", "scanvi (scvi), reference: "),
        ({"model": "scpoli", "split": "evaluation/fold_1"}, "pretrain", "scpoli (pretrain), fold_1: "),
        ({"model": "scvi", "query": "queries/inflamed"}, "surgery", "scvi, query inflamed: "),
        ({"model": "scvi", "query": "evaluation/fold_2/heldout"}, "surgery", "scvi, fold_2, held-out cells: "),
        ({}, "train", "my_rule, reference: "),
    ],
)
def test_a_line_says_what_is_trained_on_what(wildcards, stage, expected):
    found = TrainingProgress(stage, 1, 2, -0.01234, 10.0, 1.0, 5.0)
    line = training_line(WatchedJob("my_rule", wildcards), found)
    assert line == f"{expected}epoch 1/2, loss -0.0123, 10 cells/s, at most 5 s left"


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")])
def test_times_are_for_people(seconds, expected):
    assert duration(seconds) == expected


def test_progress_of_a_killed_job_is_not_shown(job, tmp_path):
    path, now = progress_file.progress_file(job.logs[0]), time.time()
    assert read_progress(path, job.started, now) == HALF
    # Of an attempt before this job was submitted.
    assert read_progress(path, now + 60, now + 61) is None
    # It does not change any more.
    assert read_progress(path, job.started, now + 119) == HALF
    assert read_progress(path, job.started, now + 125) is None
    path.write_text(json.dumps({**vars(HALF), "epoch_seconds": 600.0}))
    assert read_progress(path, job.started, now + 1700) is not None
    assert read_progress(path, job.started, now + 1900) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"epoch": 1}', "\x00"])
def test_a_damaged_progress_file_is_ignored(job, content):
    path = progress_file.progress_file(job.logs[0])
    path.write_text(content)
    assert read_progress(path, job.started, time.time()) is None
    assert read_progress(path.with_name("missing"), 0.0, 0.0) is None


def test_a_progress_file_is_whole_and_ends_with_the_job(tmp_path):
    log = tmp_path / "a.b.log"
    path = progress_file.progress_file(log)
    path.write_text("left by a killed job")
    tell_progress(HALF)
    with announced_progress(log):
        assert not path.exists()
        tell_progress(HALF)
        assert [file.name for file in tmp_path.iterdir()] == [".a.b.progress"]
        assert TrainingProgress(**json.loads(path.read_text())) == HALF
    assert list(tmp_path.iterdir()) == []
    tell_progress(HALF)
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_the_first_tells_and_a_full_disk_stops_nothing(tmp_path, monkeypatch):
    with announced_progress(tmp_path / "a.log"):
        monkeypatch.setenv("RANK", "1")
        tell_progress(HALF)
        assert list(tmp_path.iterdir()) == []
    with announced_progress(tmp_path / "missing" / "a.log"):
        monkeypatch.setenv("RANK", "0")
        tell_progress(HALF)
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_tells_the_progress_of_the_job_that_trains(tmp_path):
    from conftest import make_job

    def main(smk):
        recorder = Recorder("scvi", "loss", patience=9, min_delta=0.0, warmup=0, n_cells=100)
        recorder.start()
        recorder.take(1, 4, {"loss": 7.0})
        found = TrainingProgress(**json.loads((tmp_path / ".job.progress").read_text()))
        assert (found.stage, found.epoch, found.max_epochs, found.loss) == ("scvi", 1, 4, 7.0)
        assert found.seconds_left == pytest.approx(3 * found.epoch_seconds, rel=0.5)
        assert found.cells_per_second == pytest.approx(100 / found.epoch_seconds)

    run_job(main, make_job(tmp_path))
    assert not (tmp_path / ".job.progress").exists()


def test_a_watch_follows_jobs_from_start_to_end(tmp_path):
    watch = JobWatch()
    for record in (
        started(1, "scan_dataset", "a.log", dataset="a"),
        started(2, "map_query", "b.log", query="queries/q", model="scvi"),
        event("job_finished", job_id=1),
        event("progress", done=1, total=7),
        event(None, message="Select jobs to execute..."),
        event("job_info", message="of another version"),
    ):
        watch.handle(record)
    state = watch.state()
    assert (state.done, state.total) == (1, 7)
    assert [job.title() for job in state.running] == ["map_query queries/q scvi"]
    watch.handle(failed(2, "map_query", "b.log"))
    assert watch.state().running == ()
    assert [job.logs for job in watch.failed.values()] == [("b.log",)]
    watch.handle(started(2, "map_query", "b.log"))
    assert watch.failed == {}


def test_of_a_failed_group_the_job_that_did_not_end_is_the_one_that_failed(tmp_path):
    told = []
    watch = JobWatch(lambda jobs, message, logs: told.append(([job.rule for job in jobs], logs)))
    texts = {"a": "a\ndone in 0.1 s\n", "b": "b\nTraceback\nKeyError: 3\n"}
    for number, name in enumerate("abc"):
        watch.handle(started(number, f"rule_{name}", tmp_path / f"{name}.log"))
        if name in texts:
            (tmp_path / f"{name}.log").write_text(texts[name])
    group = [{"jobid": i, "rule_name": f"rule_{name}", "log": [], "output": []} for i, name in enumerate("abc")]
    watch.handle(event("group_error", logging.ERROR, job_error_info=group, aux_logs=["slurm.log"]))
    for number, name in enumerate("abc"):
        watch.handle(failed(number, f"rule_{name}", indent=True))
    assert told == [(["rule_b"], ["slurm.log"])]
    assert [job.rule for job in watch.failed.values()] == ["rule_b"]
    assert watch.state().running == ()


def test_a_failed_job_is_shown_with_its_log_and_the_end_of_the_clusters(tmp_path):
    log, slurm = tmp_path / "a.log", tmp_path / "slurm.log"
    job = WatchedJob("map_query", {"model": "scvi"}, (str(log),))
    cluster = "\n".join(f"line {i}" for i in range(30))
    slurm.write_text(cluster)
    assert failure_text([job], "", [], True, True) == "Error in map_query scvi: it ended before it wrote a log"
    log.write_text("map_query\nKeyError: 3\n")
    text = failure_text([job], "TIMEOUT", [str(slurm)], True, False)
    assert text.startswith(f"Error in map_query scvi; {log}:\n    map_query\n    KeyError: 3\n    TIMEOUT\n  {slurm}")
    assert text.endswith("line 29")
    assert "line 9\n" not in text
    assert failure_text([job], "", [], False, True) == f"Error in map_query scvi: see {log}"
    # The message of refused input is on the screen of this machine already, and explains itself.
    log.write_text("map_query\nError: wrong file\n")
    assert failure_text([job], "FAILED", [str(slurm)], True, True) == ""
    assert failure_text([job], "FAILED", [str(slurm)], True, False).endswith("Error: wrong file")


def test_the_log_of_an_earlier_attempt_is_not_shown(tmp_path):
    (tmp_path / "a.log").write_text("KeyError: 3")
    job = WatchedJob("map_query", {}, (str(tmp_path / "a.log"),), time.time() + 60)
    assert "KeyError" not in failure_text([job], "NODE_FAIL", [], True, False)


def test_the_screen_leaves_out_what_each_job_does_and_keeps_warnings_and_errors():
    exit_1 = "RuleException:\nCalledProcessError in file a.smk\nCommand 'x' returned non-zero exit status 1."
    hidden = [
        event("job_started", message="Execute 1 jobs..."),
        event("job_finished", message="Finished jobid: 24 (Rule: a)"),
        event("progress", message=None),
        event("resources_info", message="Provided cores: 2"),
        event(None, message="Select jobs to execute..."),
        event(None, message="Job 3 has been submitted with SLURM jobid 7 (log: x)."),
        event("error", logging.ERROR, exit_1),
    ]
    shown = [
        event(None, message="12 of 46 jobs done"),
        event("run_info", message="Job stats:"),
        event(None, logging.WARNING, "left out, because the reference has no labels"),
        event("error", logging.ERROR, exit_1.replace("returned non-zero exit status 1", "died with SIGKILL")),
        event("error", logging.ERROR, "MissingOutputException"),
        event("job_error", logging.ERROR, "Error in rule a"),
    ]
    assert not any(map(QuietScreen().filter, hidden))
    assert all(map(QuietScreen().filter, shown))


def test_only_the_screen_is_quiet_and_only_once():
    logger = logging.Logger("of a test")
    screen, file = logging.StreamHandler(), logging.NullHandler()
    screen.name = SCREEN_HANDLER
    logger.addHandler(screen)
    logger.addHandler(file)
    quieten(logger)
    quieten(logger)
    assert (len(screen.filters), len(file.filters)) == (1, 0)


def test_a_report_is_shown_when_something_changed():
    watch, texts = JobWatch(), []
    report = ProgressReport(watch, texts.append, wanted=0.01)
    watch.handle(event("progress", done=1, total=7))
    report.start()
    time.sleep(0.2)
    watch.handle(event("progress", done=2, total=7))
    time.sleep(0.2)
    report.stop()
    report.join(timeout=5)
    assert [text[8:] for text in texts] == ["  1 of 7 jobs done", "  2 of 7 jobs done"]
    assert report.daemon


def test_long_runs_are_reported_less_often():
    assert [pause(elapsed, True, None) for elapsed in (0, 1200, 86_400)] == [10, 40, 60]
    assert [pause(elapsed, False, None) for elapsed in (0, 3600, 86_400)] == [60, 120, 300]
    assert pause(86_400, False, 1.5) == 1.5


def test_the_user_may_choose_how_often(monkeypatch):
    monkeypatch.delenv("REFATLAS_PROGRESS_SECONDS", raising=False)
    assert progress_seconds() is None
    monkeypatch.setenv("REFATLAS_PROGRESS_SECONDS", "0")
    assert progress_seconds() == 0
    for wrong in ("often", "-1", "nan", "inf"):
        monkeypatch.setenv("REFATLAS_PROGRESS_SECONDS", wrong)
        with pytest.raises(InputError, match=f"REFATLAS_PROGRESS_SECONDS is '{wrong}'; give the seconds"):
            progress_seconds()


def test_equal_names_are_counted():
    assert counted(["a", "b", "a"]) == "a (2), b"
