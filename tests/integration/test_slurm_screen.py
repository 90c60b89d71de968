"""The screen of a run on a real SLURM of one node: progress of trainings that run elsewhere, and their errors."""

from conftest import site_profile
from stand_in_run import run_stand_in, write_workflow

SITE = {"partition": '"cpu"', "accounting": "false", "node_cores": "2"}


def test_trainings_on_nodes_are_shown_where_the_run_was_started_and_so_are_their_errors(cluster, tmp_path):
    folder, profile = write_workflow(tmp_path), site_profile(tmp_path / "profile", **SITE)
    soon = ("--slurm-init-seconds-before-status-checks", "1", "--retries", "0", "--keep-going")
    ended = run_stand_in(folder, "--workflow-profile", str(profile), *soon, seconds="1", fails="input")
    screen = ended.stderr
    assert ended.returncode == 1
    assert "0 of 8 jobs done\n  submitted: train_reference (2)" in screen
    assert "\n  scvi, fold_1: epoch " in screen
    assert "Error in train_reference reference scvi; logs/train_reference/reference/scvi.log:\n" in screen
    assert screen.count("Error: counts of 'q' are missing") == 1
    assert "1 job failed:\n  train_reference reference scvi: " in screen
    assert "has been submitted" not in screen
    assert "Finished jobid" not in screen
