"""An atlas bundle: written by a run, mapped onto in an empty folder, grown by a labelled query. By the baseline alone,
to save time; all model types are in test_all_types.py, real data in test_kang.py.
"""

import json
import shutil
import tarfile

import anndata as ad
import pandas as pd
import pytest
import yaml
from bundle_runs import map_from_bundle, write_bundle_run

from conftest import planned, small_counts, snakemake, write_sheets
from fault_server import file_server
from refatlas.io.fingerprints import sha256_of

ABOUT = {"name": "small", "version": "1.2", "license": "CC0-1.0", "authors": ["A. Author"], "not_for": "real cells"}
# Bundles with the counts of a sample are in the other two.
ABOUT |= {"counts": "simulated"}
CONFIG = {
    "models": {"linear": {"type": "linear"}},
    "evaluation": {"folds": 1},
    "genes": {"n_top": 100},
    "qc": {"min_genes": 1},
    "clusters": {"resolutions": []},
    "integration": {"metrics": ["ilisi"]},
    "umap": {"n_epochs": 20},
    "bundle": ABOUT,
    "ontology": {"terms": "terms.tsv", "names": False},
}
QUERY = {"query": "q", "path": "q.h5ad", "label_key": "cell_type"}
OTHER = {"query": "r", "path": "r.h5ad"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run that made a bundle of two label levels, with one query mapped. Dataset u has no labels."""
    folder = tmp_path_factory.mktemp("made")
    for i, name in enumerate("abqru"):
        data = small_counts(n_cells=300, n_genes=200, seed=i)
        data.obs["kind"] = data.obs["cell_type"].map({"A": "first", "B": "second"})
        data.write_h5ad(folder / f"{name}.h5ad")
    (folder / "terms.tsv").write_text("label\tterm\nA\tCL:0000236\n")
    datasets = [{"dataset": name, "path": f"{name}.h5ad", "label_key": "cell_type, kind"} for name in "ab"]
    datasets.append({"dataset": "u", "path": "u.h5ad", "label_key": "-"})
    write_sheets(folder, datasets, [{**QUERY, "path": "q.h5ad"}], **CONFIG)
    snakemake(folder, "--cores", "2", "--", "labels", "bundle", "results/reference/reference.h5ad")
    return folder


@pytest.fixture(scope="module")
def archive(made):
    return made / "results/bundle/atlas.tar"


@pytest.fixture(scope="module")
def mapped(made, archive, tmp_path_factory):
    """The folder of a run that has nothing but the bundle and two queries."""
    folder = tmp_path_factory.mktemp("mapped")
    for name in "qr":
        shutil.copy(made / f"{name}.h5ad", folder)
    map_from_bundle(folder, archive, [QUERY, OTHER], "all")
    return folder


def test_labels_and_verdict_are_those_of_the_run_that_made_it_byte_for_byte(made, mapped):
    for name in ("labels.csv", "verdict.json", "measures.json", "models/linear/latent.parquet"):
        query = f"results/queries/q/{name}"
        assert (mapped / query).read_bytes() == (made / query).read_bytes(), name


def test_terms_of_labels_come_with_the_bundle(made, mapped):
    reference = ad.read_h5ad(made / "results/reference/reference.h5ad").obs
    terms = reference.groupby("label", observed=True)["label_ontology_term_id"].first()
    assert terms["A"] == "CL:0000236"
    assert pd.isna(terms["B"])
    labels = pd.read_csv(mapped / "results/queries/r/labels.csv")
    assert (labels.loc[labels["label"] == "A", "label_ontology_term_id"] == "CL:0000236").all()
    assert labels.loc[labels["label"] != "A", "label_ontology_term_id"].isna().all()
    assert set(labels["label"]) == {"A", "B"}
    cells = ad.read_h5ad(mapped / "results/queries/r/r.h5ad").obs
    assert set(cells["label_ontology_term_id"].dropna()) == {"CL:0000236"}


def test_the_report_has_the_atlas_and_both_queries(mapped):
    report = mapped / "results/report"
    assert {path.name for path in report.rglob("*.html")} == {"index.html", "reference.html", "q.html", "r.html"}
    assert json.loads((report / "log.json").read_text())["queries"]
    assert "<strong>small</strong>, version 1.2" in (report / "index.html").read_text()
    provenance = json.loads((mapped / "results/provenance.json").read_text())
    assert provenance["config"]["atlas"]["path"] == "atlas.tar"


def test_the_same_bundle_with_a_new_time_plans_nothing(mapped):
    (mapped / "atlas.tar").touch()
    assert planned(snakemake(mapped, "--dry-run")) == {}


def test_the_same_bundle_in_another_place_maps_nothing_again(mapped, tmp_path):
    config = (mapped / "config.yaml").read_text()
    moved = shutil.move(mapped / "atlas.tar", tmp_path / "moved.tar")
    place = {"path": str(moved), "sha256": sha256_of(moved)}
    (mapped / "config.yaml").write_text(yaml.safe_dump({"atlas": place, "queries": "queries.tsv"}))
    try:
        # The report and the provenance have the configuration.
        assert set(planned(snakemake(mapped, "--dry-run"))) == {"record_provenance", "write_report"}
    finally:
        shutil.move(moved, mapped / "atlas.tar")
        (mapped / "config.yaml").write_text(config)


def test_one_more_query_unpacks_and_maps_nothing_else(mapped, made):
    folder = shutil.copytree(mapped, mapped.parent / "one_more")
    shutil.copy(made / "r.h5ad", folder / "s.h5ad")
    with open(folder / "queries.tsv", "a") as sheet:
        sheet.write("s\ts.h5ad\t\n")
    plan = planned(snakemake(folder, "--dry-run", "--", "labels"))
    assert "unpack_atlas" not in plan
    assert plan["map_query"] == 1


def test_the_bundle_says_what_it_is(archive):
    manifest = json.loads((archive.parent / "bundle.json").read_text())
    card = (archive.parent / "README.md").read_text()
    assert (manifest["name"], manifest["version"], manifest["license"]) == ("small", "1.2", "CC0-1.0")
    assert "real cells" in card
    assert "| macro-F1 |" in card
    with tarfile.open(archive) as tar:
        assert set(tar.getnames()) == {"bundle.json", "README.md", *manifest["files"]}
    assert not [name for name in manifest["files"] if name.endswith("counts.h5ad")]


def test_it_has_no_counts_of_a_cell(made, archive, tmp_path):
    with tarfile.open(archive) as tar:
        members = [name for name in tar.getnames() if name.endswith(".h5ad")]
        tar.extractall(tmp_path, members, filter="data")
    assert members
    own = {row.tobytes() for row in ad.read_h5ad(made / "results/reference/counts.h5ad").X.toarray()}
    for name in members:
        rows = ad.read_h5ad(tmp_path / name).X.toarray()
        assert rows.sum() > 0
        assert not any(row.tobytes() in own for row in rows), name
    assert "counts of single cells | none" in (archive.parent / "README.md").read_text()


def test_nothing_in_it_names_a_folder_of_the_machine_that_made_it(made, archive):
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            assert str(made).encode() not in tar.extractfile(member).read(), member.name


def test_a_labelled_query_joins_the_next_version(mapped, made, tmp_path):
    """Its cells vote, and the earlier version stays as it is."""
    folder = shutil.copytree(mapped, tmp_path / "growing")
    before = (folder / "atlas.tar").read_bytes()
    about = {"grow": ["q"], "version": "2", "authors": ["A. Author", "B. Author"]}
    write = {"atlas": "atlas.tar", "queries": "queries.tsv", "bundle": about}
    (folder / "config.yaml").write_text(yaml.safe_dump(write | {"bundle": about | {"version": "1.2"}}))
    same = snakemake(folder, "--dry-run", "--", "bundle", check=False)
    assert "version: '1.2' is that of the atlas itself" in same.stdout + same.stderr
    (folder / "config.yaml").write_text(yaml.safe_dump(write))
    run = snakemake(folder, "--cores", "2", "--quiet", "host", "--", "bundle")
    assert "map_query" not in run.stderr
    assert (folder / "atlas.tar").read_bytes() == before
    grown = folder / "results/bundle/atlas.tar"
    manifest = json.loads((grown.parent / "bundle.json").read_text())
    old = json.loads((made / "results/bundle/bundle.json").read_text())
    assert (manifest["version"], manifest["before"]["version"]) == ("2", "1.2")
    assert (manifest["authors"], manifest["license"]) == (["A. Author", "B. Author"], "CC0-1.0")
    assert manifest["facts"]["cells"] > old["facts"]["cells"]
    kept = [name for name in old["files"] if name.endswith((".pt", "calibration.json"))]
    assert kept
    assert all(manifest["files"][name] == old["files"][name] for name in kept)
    after = tmp_path / "after"
    after.mkdir()
    shutil.copy(made / "r.h5ad", after)
    map_from_bundle(after, grown, [OTHER], "labels")
    index = pd.read_parquet(after / "results/reference/models/linear/latent.parquet").index
    assert index.str.startswith("q:").any()
    labels = pd.read_csv(after / "results/queries/r/labels.csv")
    assert len(labels) == 300
    assert labels["confidence"].between(0, 1).all()
    # The query that joined names the finest labels alone.
    assert set(labels["label_2"]) <= {"first", "second"}
    # The same query again would vote for itself.
    shutil.copy(made / "q.h5ad", after)
    write_bundle_run(after, grown, [QUERY])
    refused = snakemake(after, "--dry-run", check=False)
    assert "query 'q' has the name of a dataset in the atlas" in refused.stdout + refused.stderr


def test_a_damaged_bundle_is_refused_before_anything_is_computed(archive, made, tmp_path):
    content = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        member = tar.getmember("reference/models/linear/model.pt")
    content[member.offset_data + 10] ^= 1
    (tmp_path / "changed.tar").write_bytes(content)
    shutil.copy(made / "q.h5ad", tmp_path)
    write_bundle_run(tmp_path, tmp_path / "changed.tar", [QUERY])
    run = snakemake(tmp_path, "--cores", "2", "--", "labels", check=False)
    assert "reference/models/linear/model.pt has the sha256" in run.stderr + run.stdout
    assert not (tmp_path / "results/reference/models").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"reference": "reference.tsv"}, "config: reference: the atlas brings it along"),
        ({"seed": 4}, "config: seed: the atlas brings it along"),
        ({"atlas": {"path": "atlas.tar", "sha": "0"}}, "a mapping with path and sha256"),
        ({"atlas": 3}, "config: atlas: 3 is not the path of a bundle"),
        ({"atlas": "other.tar"}, "'other.tar' does not exist"),
        ({"bundle": {"grow": ["r"]}}, "'r' names no label_key in queries.tsv"),
        ({"bundle": {"grow": ["s"]}}, "'s' is no query in queries.tsv"),
    ],
)
def test_settings_that_do_not_fit_are_refused(archive, made, tmp_path, config, message):
    for name in "qr":
        shutil.copy(made / f"{name}.h5ad", tmp_path)
    write_bundle_run(tmp_path, archive, [QUERY, OTHER], **config)
    run = snakemake(tmp_path, "--dry-run", check=False)
    assert run.returncode
    assert message in run.stdout + run.stderr


def test_another_checksum_is_refused(archive, made, tmp_path):
    shutil.copy(made / "q.h5ad", tmp_path)
    write_bundle_run(tmp_path, archive, [QUERY], atlas={"path": "atlas.tar", "sha256": "0" * 64})
    run = snakemake(tmp_path, "--cores", "2", "--", "labels", check=False)
    assert f"and the config says {'0' * 64}" in run.stderr + run.stdout


@pytest.mark.parametrize(
    ("target", "message"),
    [("atlas", "an atlas bundle lacks those of most cells"), ("bundle", "name labelled queries in bundle.grow")],
)
def test_targets_that_a_bundle_cannot_serve_say_why(mapped, target, message):
    run = snakemake(mapped, "--dry-run", "--", target, check=False)
    assert message in run.stdout + run.stderr


def test_a_reference_or_an_atlas_is_needed(tmp_path):
    (tmp_path / "config.yaml").write_text("queries: null\n")
    run = snakemake(tmp_path, "--dry-run", check=False)
    assert "config: reference or atlas: neither is set" in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("hf:lab/small@v1", "/lab/small/resolve/v1/atlas.tar"),
        ("zenodo:77", "/api/records/77/files/atlas.tar/content"),
        ("{url}/files/mine.tar", "/files/mine.tar"),
    ],
)
def test_an_atlas_by_address_is_fetched_once_and_by_its_checksum(archive, made, tmp_path, monkeypatch, address, path):
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "cache"))
    shutil.copy(made / "q.h5ad", tmp_path)
    with file_server() as server:
        server.files[path] = archive.read_bytes()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("REFATLAS_ZENODO_URL", server.url)
        place = {"path": address.format(url=server.url), "sha256": sha256_of(archive)}
        write_bundle_run(tmp_path, archive, [QUERY], atlas={**place, "sha256": None})
        (tmp_path / "atlas.tar").unlink()
        dry = snakemake(tmp_path, "--dry-run", check=False)
        assert "a dry run asks no server" in dry.stdout + dry.stderr
        assert server.requests == []
        unknown = snakemake(tmp_path, "--cores", "2", "--", "labels", check=False)
        assert f"its SHA-256 is {place['sha256']}; write it" in unknown.stdout + unknown.stderr
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"atlas": place, "queries": "queries.tsv"}))
        plan = planned(snakemake(tmp_path, "--dry-run", "--", "labels"))
        assert plan["unpack_atlas"] == 1
        assert len(server.requests) == 1
    # The server is gone, and not needed. What is unpacked is the same file, whatever the address.
    dry = [] if address.startswith("{url}") else ["--dry-run"]
    snakemake(tmp_path, "--cores", "2", *dry, "--", "results/reference/genes.parquet")


def test_an_atlas_by_a_wrong_address_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "cache"))
    shutil.copy(made / "q.h5ad", tmp_path)
    for address, message in (
        ("hf:lab/small", "is not of the form hf:OWNER/NAME@REVISION"),
        ("zenodo:abc", "is not of the form zenodo:RECORD"),
    ):
        write_bundle_run(tmp_path, made / "q.h5ad", [QUERY], atlas=address)
        run = snakemake(tmp_path, "--dry-run", check=False)
        assert message in run.stdout + run.stderr
    with file_server() as server:
        server.files["/atlas.tar"] = b"another file"
        write_bundle_run(
            tmp_path, made / "q.h5ad", [QUERY], atlas={"path": f"{server.url}/atlas.tar", "sha256": "0" * 64}
        )
        run = snakemake(tmp_path, "--cores", "2", "--", "labels", check=False)
        assert "0" * 64 in run.stdout + run.stderr
        assert not (tmp_path / "results").exists()
