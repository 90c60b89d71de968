"""The targets that publish: when they are planned and refused, and what a run leaves behind."""

import pytest
import yaml

from conftest import planned, small_counts, snakemake, write_sheets
from loopback_huggingface import running_hub
from loopback_zenodo import running_zenodo
from refatlas.io.atomic import read_json
from small_bundle import FILES, write_small_bundle

TOKEN = "secretsecretsecret"
TARGETS = ("publish_huggingface", "publish_zenodo")
# As if nothing else could make the files that are there.
ALONE = ("--allowed-rules", *TARGETS, "make_hub_model")


@pytest.fixture
def project(tmp_path):
    """A folder with a dataset, a configuration, and a bundle of a few bytes."""
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    write_small_bundle(tmp_path / "results/bundle")
    configure(tmp_path)
    return tmp_path


def configure(project, kind="linear", **publish):
    settings = {"publish": publish} if publish else {}
    reference = [{"dataset": "a", "path": "a.h5ad"}]
    write_sheets(project, reference, [], evaluation={"folds": 1}, models={kind: {"type": kind}}, **settings)


def said(run):
    return run.stdout + run.stderr


def test_everything_does_not_publish(project):
    configure(project, huggingface={"repo": "lab/atlas"}, zenodo={})
    jobs = planned(snakemake(project, "--dry-run"))
    assert "train_reference" in jobs
    assert not {*TARGETS, "make_hub_model"} & set(jobs)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_without_settings_is_refused_at_planning(project, target):
    run = snakemake(project, "--dry-run", target, check=False)
    assert run.returncode != 0
    assert f"config: publish: {target.removeprefix('publish_')} is not set" in said(run)


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("publish_huggingface", {"huggingface": {"repo": "atlas"}}, "'atlas' is not of the form OWNER/NAME"),
        ("publish_huggingface", {"huggingface": {"repo": "a/b", "endpoint": "http://example.org"}}, "https://"),
        ("publish_zenodo", {"zenodo": {"url": "https://me:pw@zenodo.org"}}, "without user name"),
        ("publish_zenodo", {"zenodo": {"token": "x"}}, "unknown key 'token'"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_planning(project, target, settings, message):
    configure(project, **settings)
    run = snakemake(project, "--dry-run", target, check=False)
    assert run.returncode != 0
    assert message in said(run)


def test_a_model_of_scvi_tools_is_published_with_the_bundle(project):
    configure(project, "scvi", huggingface={"repo": "lab/atlas"})
    (project / "results/reference/models/scvi").mkdir(parents=True)
    for name in ("models/scvi/model.pt", "counts.h5ad"):
        (project / "results/reference" / name).touch()
    jobs = planned(snakemake(project, "--dry-run", "publish_huggingface", *ALONE))
    assert jobs == {"make_hub_model": 1, "publish_huggingface": 1}


def test_a_run_without_a_model_for_scvi_hub_says_so(project):
    run = snakemake(project, "--dry-run", "make_hub_model", check=False)
    assert "none is of type scvi or scanvi" in said(run)


def test_both_targets_publish_once_and_leave_no_token_behind(project, monkeypatch):
    for name in ("HF_TOKEN", "ZENODO_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HOME", str(project / "home"))
    with running_hub(TOKEN) as hub, running_zenodo(TOKEN) as zenodo:
        settings = {"huggingface": {"repo": "lab/atlas", "endpoint": hub.url}, "zenodo": {"url": zenodo.url}}
        configure(project, **settings, dry_run=True)
        shown = said(snakemake(project, "--cores", "1", *TARGETS, *ALONE))
        assert (hub.asked, zenodo.asked) == ([], [])
        configure(project, **settings)
        shown += said(snakemake(project, "--cores", "1", *TARGETS, *ALONE))
        assert len(hub.commits("lab/atlas")) == 2
        assert sorted(zenodo.contents[100]) == sorted(FILES)
        before = len(hub.asked) + len(zenodo.asked)
        shown += said(snakemake(project, "--cores", "1", *TARGETS, *ALONE))
        assert len(hub.asked) + len(zenodo.asked) == before
    bundle = project / "results/bundle"
    kinds = [f"{kind}_{service}.json" for kind in ("dry_run", "published") for service in ("huggingface", "zenodo")]
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*FILES, *kinds, "zenodo.json", "model_card.md"])
    commit = hub.commits("lab/atlas")[-1]["id"]
    record = read_json(bundle / "published_huggingface.json")
    assert record["config"] == f"atlas: {{path: hf:lab/atlas@{commit}, sha256: {record['sha256']}}}"
    assert TOKEN not in shown
    written = [path for path in project.rglob("*") if path.is_file()]
    assert [str(path) for path in written if TOKEN.encode() in path.read_bytes()] == []


def test_a_refused_token_stops_the_run_with_a_message(project, monkeypatch):
    monkeypatch.setenv("ZENODO_TOKEN", "another" + TOKEN)
    with running_zenodo(TOKEN) as zenodo:
        configure(project, zenodo={"url": zenodo.url})
        run = snakemake(project, "--cores", "1", "publish_zenodo", *ALONE, check=False)
    assert run.returncode != 0
    assert "refused the token in the environment variable ZENODO_TOKEN" in said(run)
    assert TOKEN not in said(run)
    assert yaml.safe_load((project / "config.yaml").read_text())["publish"] == {"zenodo": {"url": zenodo.url}}
