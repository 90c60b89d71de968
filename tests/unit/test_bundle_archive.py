"""The archive of an atlas bundle and its manifest: what is read, and what is refused."""

import json
import tarfile

import pytest

from refatlas.bundle.archive import checksums_of, unpack, write_archive
from refatlas.bundle.manifest import (
    digest_of,
    read_manifest,
    require_files,
    require_sha256,
    settings_to_keep,
    settings_with_atlas,
)
from refatlas.bundle.portable import portable_files, without_folders
from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.io.fingerprints import sha256_of
from refatlas.models.registry import MODEL_TYPES


@pytest.fixture
def content(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights" * 1000)
    return {"reference/models/scvi/model.pt": tmp_path / "model.pt", "reference/scan.json": b"{}"}


def manifest_of(files, **keys):
    return {
        "format": 1,
        "refatlas": "0.7.0",
        "name": "atlas",
        "version": "1",
        "settings": {},
        "datasets": {},
        "labels": {"labelled": True, "relabelled": False, "levels": 1, "terms": False},
        "counts": "sample",
        "files": checksums_of(files),
        **keys,
    }


def unpack_all(archive, folder):
    """Unpack a whole archive, as tar does."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


@pytest.fixture
def archive(tmp_path, content):
    path = tmp_path / "bundle/atlas.tar"
    write_archive(str(path), content, manifest_of(content), "# card")
    return path


def test_the_same_files_make_the_same_bytes(tmp_path, archive, content):
    again = tmp_path / "again.tar"
    write_archive(str(again), dict(reversed(content.items())), manifest_of(content), "# card")
    assert again.read_bytes() == archive.read_bytes()


def test_the_manifest_comes_first_and_is_read_from_an_archive_its_folder_and_an_unpacked_bundle(tmp_path, archive):
    with tarfile.open(archive) as tar:
        assert tar.getnames()[:2] == ["bundle.json", "README.md"]
    unpack_all(archive, tmp_path / "unpacked")
    found = [read_manifest(str(path)) for path in (archive, archive.parent, tmp_path / "unpacked")]
    assert found[0] == found[1] == found[2]
    assert len({digest_of(manifest) for manifest in found}) == 1


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_files_are_written_where_they_are_wanted(tmp_path, archive, content, kind):
    path = archive
    if kind == "folder":
        path = tmp_path / "unpacked"
        unpack_all(archive, path)
    target = tmp_path / "results/model.pt"
    unpack(str(path), read_manifest(str(path)), {"reference/models/scvi/model.pt": str(target)})
    assert target.read_bytes() == content["reference/models/scvi/model.pt"].read_bytes()


def test_a_changed_file_is_not_written(tmp_path, archive):
    unpack_all(archive, tmp_path / "unpacked")
    (tmp_path / "unpacked/reference/models/scvi/model.pt").write_bytes(b"other")
    target = tmp_path / "results/model.pt"
    manifest = read_manifest(str(tmp_path / "unpacked"))
    with pytest.raises(InputError, match=r"model\.pt has the sha256 .* the bundle's manifest says .* fetch it again"):
        unpack(str(tmp_path / "unpacked"), manifest, {"reference/models/scvi/model.pt": str(target)})
    assert not list((tmp_path / "results").iterdir())


def test_a_file_that_the_archive_lacks_is_named(tmp_path, archive):
    manifest = read_manifest(str(archive))
    with pytest.raises(InputError, match=r"lacks reference/genes\.parquet"):
        unpack(str(archive), manifest, {"reference/genes.parquet": str(tmp_path / "genes.parquet")})
    with pytest.raises(InputError, match=r"lacks reference/genes\.parquet, which its settings ask for"):
        require_files(manifest, ["reference/genes.parquet"])


def test_what_is_no_bundle_is_refused(tmp_path, archive):
    with pytest.raises(InputError, match=r"does not exist .* that target bundle writes"):
        read_manifest(str(tmp_path / "missing.tar"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has neither atlas\.tar nor bundle\.json"):
        read_manifest(str(tmp_path / "empty"))
    text = tmp_path / "text.tar"
    text.write_text("no archive")
    with pytest.raises(InputError, match=r"is not an atlas bundle, or is damaged .* fetch it again"):
        read_manifest(str(text))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[:700])
    with pytest.raises(InputError, match="is not an atlas bundle, or is damaged"):
        read_manifest(str(cut))
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.add(text, "data.txt")
    with pytest.raises(InputError, match=r"its first file is data\.txt, not bundle\.json"):
        read_manifest(str(other))


def test_a_cut_archive_is_refused_where_its_manifest_is_whole(tmp_path, archive, content):
    with tarfile.open(archive) as tar:
        ends = [member.offset_data + member.size // 2 for member in tar.getmembers() if member.name in content]
    manifest = read_manifest(str(archive))
    cut = tmp_path / "cut.tar"
    for end in ends:
        cut.write_bytes(archive.read_bytes()[:end])
        assert read_manifest(str(cut)) == manifest
        with pytest.raises(InputError, match=r"cut\.tar: the bundle is damaged or cut .*: fetch it again"):
            unpack(str(cut), manifest, {name: str(tmp_path / "results" / name) for name in content})


DATASET = {"label_keys": ["cell_type"], "protein_key": None}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "x"}, r"bundle\.json: format: 'x' has the wrong type; expected integer"),
        ({"labels": ["A"]}, r"labels: \['A'\] has the wrong type; expected object"),
        ({"labels": {}}, "labels: 'labelled' is a required property"),
        ({"settings": "seed"}, "settings: 'seed' has the wrong type"),
        ({"settings": {"models": ["scvi"]}}, "settings: models: .* has the wrong type"),
        ({"counts": "none"}, "counts: 'none' is not one of"),
        ({"datasets": {"a": {"label_keys": "cell_type", "protein_key": None}}}, "a: label_keys: .* wrong type"),
        ({"datasets": {"../../x": DATASET}}, r"datasets: '\.\./\.\./x' is not allowed"),
        ({"models": {"a/b": "scvi"}}, "models: 'a/b' is not allowed"),
        ({"settings": {"models": {"/tmp/x": {"type": "scvi"}}}}, "settings: models: '/tmp/x' is not allowed"),
        ({"grown": [{"query": "..", "cells": 1}]}, r"grown: '\.\.' is not allowed"),
        ({"files": {"a": {"bytes": 3}}}, "files: 'a' has .*; expected are sha256 and bytes"),
    ],
)
def test_wrong_values_and_names_of_a_manifest_are_refused(tmp_path, content, changed, message):
    (tmp_path / "bundle.json").write_text(json.dumps(manifest_of(content) | changed))
    with pytest.raises(InputError, match=message):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize(
    "written",
    [{"evaluation": {"folds": {"../../x": ["a:b1"]}}}, {"external_labels": {"../../x": {"key": "label"}}}],
)
def test_other_names_in_the_settings_of_a_manifest_are_refused_with_the_configuration(written):
    given = settings_with_atlas({"atlas": "atlas.tar", "queries": "mine.tsv"}, {"settings": written})
    with pytest.raises(InputError, match=r"name '\.\./\.\./x' is not allowed"):
        complete_config(given)


def test_a_manifest_sets_no_path_and_nothing_that_a_run_sets_itself():
    written = {
        "publish": {"zenodo": {"url": "https://example.org"}},
        "spatial": {"path": "/etc/passwd"},
        "orthologs": "/etc/passwd",
        "pathvars": {"results": "/home/me"},
        "cache": "/home/me",
        "annotation": "/etc/passwd",
        "exclude": "/etc/passwd",
        "ontology": {"terms": "/etc/passwd", "names": True},
        "tree": {"models": [], "file": "/etc/passwd"},
        "external_labels": {"one": {"key": "x", "map": "/etc/passwd"}, "other": {"key": "x", "map": {"a": "b"}}},
        "models": {
            "mine": {"type": "scvi", "pretrained": {"path": "/home/me"}},
            "programs": {"type": "expimap", "model": {"gmt": "/etc/passwd"}},
            "unknown": {"type": "none", "model": "wrong"},
        },
        "seed": 3,
    }
    found = settings_with_atlas({"atlas": "atlas.tar", "queries": "mine.tsv"}, {"settings": written})
    assert "passwd" not in json.dumps(found)
    assert "/home/me" not in json.dumps(found)
    assert not {"publish", "spatial", "orthologs", "pathvars", "cache"} & set(found)
    assert (found["seed"], found["queries"]) == (3, "mine.tsv")
    assert found["external_labels"]["other"] == written["external_labels"]["other"]


def test_a_newer_format_and_missing_keys_are_refused(tmp_path, content):
    path = tmp_path / "atlas.tar"
    write_archive(str(path), content, manifest_of(content, format=2, refatlas="9.0"), "")
    with pytest.raises(InputError, match=r"format 2, made by refatlas 9\.0, and this version reads up to format 1"):
        read_manifest(str(path))
    manifest = manifest_of(content)
    del manifest["settings"]
    write_archive(str(path), content, manifest, "")
    with pytest.raises(InputError, match=r"bundle\.json lacks settings"):
        read_manifest(str(path))


def test_another_archive_than_the_config_names_is_refused(tmp_path, archive):
    require_sha256(str(archive), None)
    require_sha256(str(archive), sha256_of(archive).upper())
    with pytest.raises(InputError, match=f"has the sha256 {sha256_of(archive)}, and the config says {'0' * 64}"):
        require_sha256(str(archive), "0" * 64)
    unpack_all(archive, tmp_path / "unpacked")
    with pytest.raises(InputError, match="is an unpacked bundle; leave it out"):
        require_sha256(str(tmp_path / "unpacked"), "0" * 64)


@pytest.mark.parametrize("kind", sorted(kind for kind, about in MODEL_TYPES.items() if not about.needs_receptors))
def test_settings_of_every_type_come_back(kind, tmp_path):
    models = {"scvi": {"type": "scvi"}, "linear": {"type": "linear"}}
    if kind not in models:
        models["mine"] = {"type": kind} | ({"init_from": "scvi"} if MODEL_TYPES[kind].init_from else {})
    built = complete_config({"reference": "reference.tsv", "models": models, "seed": 3, "evaluation": {"folds": 4}})
    kept = json.loads(json.dumps(settings_to_keep(built)))
    found = complete_config(settings_with_atlas({"atlas": "atlas.tar", "queries": "mine.tsv"}, {"settings": kept}))
    assert found["models"] == built["models"]
    assert (found["seed"], found["evaluation"], found["queries"]) == (3, built["evaluation"], "mine.tsv")
    assert found["atlas"] == {"path": "atlas.tar", "sha256": None}


def test_models_of_paired_receptors_stay_behind():
    models = {"linear": {"type": "linear"}, "pairs": {"type": "mvtcr"}}
    built = complete_config({"reference": "reference.tsv", "models": models, "receptors": {}})
    kept = settings_to_keep(built)
    assert set(built["models"]) == {"linear", "pairs"}
    assert set(kept["models"]) == {"linear"}
    assert "receptors" not in kept


def test_settings_that_name_files_stay_behind(tmp_path):
    (tmp_path / "programs.gmt").write_text("a\tb\tC\n")
    (tmp_path / "model.pt").write_text("")
    pretrained = {"path": str(tmp_path), "trust": True}
    models = {
        "programs": {"type": "expimap", "model": {"gmt": str(tmp_path / "programs.gmt")}},
        "scvi": {"type": "scvi", "pretrained": pretrained},
    }
    kept = settings_to_keep(complete_config({"reference": "reference.tsv", "models": models}))
    assert str(tmp_path) not in json.dumps(kept)


def test_what_the_atlas_was_measured_with_cannot_be_set():
    with pytest.raises(InputError, match=r"config: models: the atlas brings it along"):
        settings_with_atlas({"atlas": "atlas.tar", "models": {}}, {"settings": {}})


def test_the_users_folders_stay_behind():
    scan = {"path": "/home/me/a.h5ad", "files": {"/home/me/a.h5ad": [1, 2]}, "checksums": {"/home/me/a.h5ad": {}}}
    found = json.loads(without_folders(scan))
    assert found == {"path": "a.h5ad", "files": {"a.h5ad": [1, 2]}, "checksums": {"a.h5ad": {}}}


def test_the_users_folders_stay_behind_in_what_is_said_of_models(tmp_path):
    """Of a pretrained model, and of the file of programs; other files are those of the run, byte for byte."""
    settings = {
        "mine": {"type": "scvi", "pretrained": {"path": "/home/me/my models/first", "sha256": "ab", "trust": False}},
        "programs": {"type": "expimap", "model": {"gmt": "/home/me/sets & more.gmt", "n_latent": 3}},
        "plain": {"type": "linear", "model": {"n_latent": 30}},
    }
    notes = {"mine": "taken from /home/me/my models/first/model.pt; nothing", "programs": "", "plain": "a/b"}
    files = {"report/reference.html": tmp_path / "reference.html"}
    for name, found in settings.items():
        for file in ("model.json", "training.md"):
            files[f"reference/models/{name}/{file}"] = tmp_path / f"{name}_{file}"
        (tmp_path / f"{name}_model.json").write_text(json.dumps({"type": found["type"], "settings": found}, indent=1))
        shown = ", ".join(f"{k} {v}" for k, v in (found.get("pretrained") or found["model"]).items())
        (tmp_path / f"{name}_training.md").write_text(f"- settings: {shown}\n- {notes[name]}\n")
    page = "<td>pretrained.path = /home/me/my models/first, x</td><td>model.gmt = /home/me/sets &amp; more.gmt</td>"
    (tmp_path / "reference.html").write_text(page)
    found = portable_files({name: str(path) for name, path in files.items()})
    read = {name: part if isinstance(part, bytes) else part.read_bytes() for name, part in found.items()}
    assert not [name for name, part in read.items() if b"/home" in part or b"my models" in part]
    assert json.loads(read["reference/models/mine/model.json"])["settings"]["pretrained"]["path"] == "first"
    assert json.loads(read["reference/models/programs/model.json"])["settings"]["model"]["gmt"] == "sets & more.gmt"
    assert b"taken from first/model.pt; nothing" in read["reference/models/mine/training.md"]
    assert read["report/reference.html"] == (
        b"<td>pretrained.path = first, x</td><td>model.gmt = sets &amp; more.gmt</td>"
    )
    same = {f"reference/models/plain/{file}" for file in ("model.json", "training.md")}
    assert {name for name, part in found.items() if not isinstance(part, bytes)} == same


def test_the_users_folders_stay_behind_in_notes():
    scan = {
        "path": "/home/me/my data/a.h5ad",
        "files": {"/home/me/my data/a.h5ad": [1, 2], "../tables/cells of a.csv": [1, 2]},
        "checksums": {},
        "n_cells": 3,
        "notes": [
            "cells: 3 of 5 left out, not listed in ../tables/cells of a.csv",
            "proteins: 2 named by /home/me/names.tsv (a as b)",
            "labels: CD4/CD8 of https://example.org/a/b",
        ],
        "origins": {"counts": "X of '/home/me/my data/a.h5ad'"},
    }
    found = json.loads(without_folders(scan))
    assert found["notes"] == [
        "cells: 3 of 5 left out, not listed in cells of a.csv",
        "proteins: 2 named by names.tsv (a as b)",
        "labels: CD4/CD8 of https://example.org/a/b",
    ]
    assert found["origins"] == {"counts": "X of 'a.h5ad'"}
    assert found["path"] == "a.h5ad"
