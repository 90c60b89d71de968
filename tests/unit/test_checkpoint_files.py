"""Checkpoints of one job; integration/test_checkpoints.py trains with them."""

from types import SimpleNamespace

from refatlas.models.checkpoints import Checkpoints, identity, open_checkpoints
from refatlas.models.interface import JobContext


def recorder(stage: str) -> SimpleNamespace:
    return SimpleNamespace(stage=stage, state=lambda: {"rows": []})


def test_one_job_context_serves_several_trainings():
    """A stage of the same name in the next training must not be taken as finished."""
    job = JobContext()
    job.checkpoints.finish(recorder("scvi"))
    job.checkpoints.begin_again()
    assert job.checkpoints.finished == {}
    assert job.checkpoints.attempt == 1


def test_a_job_with_a_folder_remembers_its_finished_stages(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.finish(recorder("scvi"))
    assert list(checkpoints.finished) == ["scvi"]
    checkpoints.begin_again()
    assert (checkpoints.finished, checkpoints.attempt) == ({}, 2)


def test_the_identity_covers_settings_seed_and_inputs(tmp_path):
    counts = tmp_path / "counts.h5ad"
    counts.write_text("1")
    first = identity({"train": {"lr": 0.1}}, 0, [str(counts)], "1")
    assert identity({"train": {"lr": 0.1}}, 0, [str(counts)], "1") == first
    assert identity({"train": {"lr": 0.2}}, 0, [str(counts)], "1")["settings"] != first["settings"]
    assert identity({"train": {"lr": 0.1}}, 1, [str(counts)], "1")["settings"] != first["settings"]
    assert identity({"train": {"lr": 0.1}}, 0, [str(counts)], "2")["revision"] != first["revision"]
    counts.write_text("12")
    assert identity({"train": {"lr": 0.1}}, 0, [str(counts)], "1")["inputs"] != first["inputs"]
    assert "torch" in first["versions"]


def test_checkpoints_are_beside_the_model(tmp_path):
    found = open_checkpoints(str(tmp_path / "scvi" / "model.pt"), {"type": "scvi"}, 0, [], "1", 60)
    assert found.file == tmp_path / "scvi" / ".checkpoint" / "state.ckpt"
    assert found.found is None
