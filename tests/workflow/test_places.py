"""The same bundle, or the same model of the Hub, in another place computes nothing again; by dry runs."""

import hashlib
import json
import shutil

import pytest
import yaml

from conftest import finish, planned, small_counts, snakemake, write_sheets
from refatlas.bundle.archive import write_archive
from refatlas.bundle.manifest import digest_of, settings_to_keep
from refatlas.config.addresses import cached_path
from refatlas.config.settings import complete_config
from refatlas.io.fingerprints import sha256_of

# What writes down the configuration, in which a bundle's place stands.
WRITTEN_DOWN = {"record_provenance", "write_report"}
OF_MODEL = ("model.pt", "model.pt.sha256", "model.json", "training.md", "latent.parquet", "umap.parquet", "index.npz")
FILES = (
    *("genes.parquet", "background.parquet", "sample.h5ad", "datasets/a/scan.json", "datasets/a/cells.parquet"),
    *(f"models/linear/{name}" for name in OF_MODEL),
)
MODEL = b"a model"
SHA256 = hashlib.sha256(MODEL).hexdigest()


def write_bundle(path):
    """Write the archive of a bundle of the baseline alone, with nothing in it but its manifest."""
    settings = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}, "clusters": {"resolutions": []}}
    kept = settings_to_keep(complete_config({"reference": "reference.tsv", **settings}))
    names = [f"reference/{name}" for name in FILES] + ["report/reference.html", "evaluation/integration.csv"]
    manifest = {"format": 1, "refatlas": "0.9.1", "name": "small", "version": "1", "title": None, "settings": kept}
    manifest |= {"counts": "sample", "labels": {"labelled": True, "relabelled": False, "levels": 1, "terms": False}}
    manifest["datasets"] = {"a": {"label_keys": ["cell_type"], "protein_key": None}}
    manifest["files"] = {name: {"sha256": "0" * 64, "bytes": 1} for name in names}
    write_archive(str(path), {}, manifest, "# small")
    return digest_of(manifest)


def configure(folder, atlas):
    (folder / "config.yaml").write_text(yaml.safe_dump({"atlas": atlas, "queries": "queries.tsv"}))


def plan(folder, *arguments):
    run = snakemake(folder, "--dry-run", *arguments)
    # Without a record of a job, Snakemake compares nothing.
    assert "missing provenance" not in run.stdout + run.stderr
    return planned(run)


@pytest.fixture
def project(tmp_path):
    small_counts(seed=2).write_h5ad(tmp_path / "q.h5ad")
    (tmp_path / "queries.tsv").write_text("query\tpath\nq\tq.h5ad\n")
    configure(tmp_path, "atlas.tar")
    return tmp_path


def test_a_bundle_that_was_moved_named_by_its_checksum_or_fetched_maps_nothing_again(project, monkeypatch):
    write_bundle(project / "atlas.tar")
    finish(project)
    (project / "elsewhere").mkdir()
    shutil.move(project / "atlas.tar", project / "elsewhere/renamed.tar")
    moved = project / "elsewhere/renamed.tar"
    configure(project, "elsewhere/renamed.tar")
    assert plan(project, "--", "labels") == {}
    assert set(plan(project)) == WRITTEN_DOWN
    sha256 = sha256_of(moved)
    configure(project, {"path": str(moved), "sha256": sha256})
    assert plan(project, "--", "labels") == {}
    configure(project, {"path": "zenodo:77", "sha256": sha256})
    for name in ("mine", "of_a_colleague"):
        cache = project / name
        monkeypatch.setenv("REFATLAS_CACHE", str(cache))
        cached = cached_path(cache, sha256, "atlas.tar")
        cached.parent.mkdir(parents=True)
        shutil.copy(moved, cached)
        assert plan(project, "--", "labels") == {}
    # Another bundle is another one, in the same place too.
    content = moved.read_bytes()
    configure(project, "elsewhere/renamed.tar")
    moved.write_bytes(content.replace(b'"title": null', b'"title": "x" '))
    assert plan(project, "--", "labels")["unpack_atlas"] == 1


def test_a_run_that_recorded_the_place_of_its_bundle_is_up_to_date(project):
    """As versions before 0.9.2 did, whose jobs had it as input."""
    digest = write_bundle(project / "atlas.tar")
    (project / "logs").mkdir()
    record = {"rule": "unpack_atlas", "inputs": ["atlas.tar"], "params": {"digest": digest, "sha256": None}}
    (project / "logs/unpack_atlas.json").write_text(json.dumps(record))
    finish(project)
    shown = snakemake(project, "--dry-run", "--forcerun", "unpack_atlas", "--quiet", "host").stdout
    assert "input: atlas.tar" in shown.split("rule unpack_atlas:")[1].split("output:")[0]
    # A checksum that the configuration adds later is of the same bundle.
    configure(project, {"path": "atlas.tar", "sha256": sha256_of(project / "atlas.tar")})
    assert plan(project, "--", "labels") == {}


def write_cached(cache):
    path = cached_path(cache, SHA256, "model.pt")
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a dataset and a query, and a cache."""
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "cache"))
    for i, name in enumerate("aq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


def write_hub_project(folder, **pretrained):
    models = {"mine": {"type": "scvi", "pretrained": {"sha256": SHA256, **pretrained}}}
    datasets, queries = [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "q.h5ad"}]
    write_sheets(folder, datasets, queries, evaluation={"folds": 0}, clusters={"resolutions": []}, models=models)


def test_a_model_of_the_hub_is_trained_with_once_wherever_the_cache_is(folder, monkeypatch):
    write_hub_project(folder, hub="lab/model", revision="v1")
    assert plan(folder)["fetch_file"] == 1
    finish(folder)
    monkeypatch.setenv("REFATLAS_CACHE", str(folder / "other_cache"))
    write_hub_project(folder, hub="lab/copy", revision="v2")
    assert plan(folder) == {}


def test_a_run_that_recorded_the_place_of_its_model_goes_on_with_it(folder):
    """As versions before 0.9.2 did, which had the path in the cache as input and in the settings."""
    file = write_cached(folder / "cache")
    settings = {"type": "scvi", "pretrained": {"sha256": SHA256, "path": str(file.parent), "trust": False}}
    record = folder / "logs/train_reference/reference/mine.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"params": {"settings": settings}}))
    write_hub_project(folder, hub="lab/model", revision="v1")
    shown = snakemake(folder, "--dry-run", "--quiet", "host", "--", "reference").stdout
    assert f"input: {file}\n" in shown.split("rule read_pretrained:")[1].split("output:")[0]
    assert "fetch_file" not in shown
