"""Bundles and pretrained models by address: what is asked for, when, and what is refused."""

import hashlib
import json

import pytest

from fault_server import file_server
from refatlas.bundle.source import (
    atlas_address,
    atlas_path,
    bundle_of_record,
    hand_over_addresses,
    with_hub_models,
)
from refatlas.config.addresses import cache_folder, cached_path, marker_of
from refatlas.config.settings import complete_config
from refatlas.config.sheets import MODELS_VARIABLE, find_address
from refatlas.errors import InputError
from refatlas.remote.fetched import fetch_linked, restore_fetched

CONTENT = b"a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MODEL = {"hub": "lab/model", "revision": "v1", "sha256": SHA256}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "cache"))
    with file_server() as server:
        server.files["/lab/model/resolve/v1/model.pt"] = CONTENT
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
        yield server


def config(**pretrained):
    return {"reference": "reference.tsv", "models": {"mine": {"type": "scvi", "pretrained": pretrained}}}


def planned_models(tmp_path, may_fetch=True, **pretrained):
    """Return what `with_hub_models` finds in a run in a folder."""
    return with_hub_models(config(**pretrained), "results/fetched", str(tmp_path / "logs"), may_fetch)


def test_a_model_of_the_hub_is_a_link_that_a_job_makes(hub, tmp_path, monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, "{}")
    given, addresses = planned_models(tmp_path, may_fetch=False, **MODEL)
    key = f"{SHA256}/model.pt"
    assert given["models"]["mine"]["pretrained"] == {"path": f"results/fetched/{SHA256}", "sha256": SHA256}
    assert addresses == {key: f"{hub.url}/lab/model/resolve/v1/model.pt"}
    assert hub.requests == []
    produced = [f"results/fetched/{key}"]
    assert complete_config(given, produced)["models"]["mine"]["pretrained"]["sha256"] == SHA256
    with pytest.raises(InputError, match=r"model\.pt' does not exist"):
        complete_config(given)
    # Jobs find the address: one that fetches, and one that needs the file after the cache was emptied.
    hand_over_addresses(addresses)
    hand_over_addresses({})
    link = tmp_path / "results/fetched" / key
    fetch_linked(find_address(key)[0], SHA256, str(link))
    link.resolve().unlink()
    restore_fetched([marker_of(str(link))])
    assert link.read_bytes() == CONTENT
    assert len(hub.requests) == 2


def record_of_training(tmp_path, folder):
    """Write the record of the job that took the model from a folder of the cache, as versions before 0.9.2 did."""
    record = tmp_path / "logs/train_reference/reference/mine.json"
    record.parent.mkdir(parents=True)
    settings = {"type": "scvi", "pretrained": {"sha256": SHA256, "path": str(folder), "trust": False}}
    record.write_text(json.dumps({"rule": "train_reference", "params": {"settings": settings}}))


def test_a_finished_run_keeps_the_path_in_the_cache_that_it_recorded(hub, tmp_path):
    folder = cached_path(cache_folder(), SHA256, "model.pt").parent
    record_of_training(tmp_path, folder)
    # Emptied since, the cache gets it again.
    given, addresses = planned_models(tmp_path, **MODEL)
    assert given["models"]["mine"]["pretrained"] == {"sha256": SHA256, "path": str(folder)}
    assert addresses == {}
    assert (folder / "model.pt").read_bytes() == CONTENT
    other = {**MODEL, "sha256": "0" * 64}
    assert planned_models(tmp_path, **other)[0]["models"]["mine"]["pretrained"]["path"] == f"results/fetched/{'0' * 64}"


def test_a_finished_run_whose_cache_is_gone_takes_the_link(hub, tmp_path):
    record_of_training(tmp_path, tmp_path / "gone/sha256" / SHA256[:2] / SHA256)
    given, _ = planned_models(tmp_path, **MODEL)
    assert given["models"]["mine"]["pretrained"]["path"] == f"results/fetched/{SHA256}"


def test_without_a_checksum_a_dry_run_asks_for_nothing(hub, tmp_path):
    with pytest.raises(InputError, match=r"mine: pretrained: .* is not in the cache .* a dry run asks no server"):
        planned_models(tmp_path, may_fetch=False, **{**MODEL, "sha256": None})
    assert hub.requests == []


def test_the_first_run_says_the_checksum(hub, tmp_path):
    with pytest.raises(InputError, match=f"its SHA-256 is {SHA256}; write it in"):
        planned_models(tmp_path, **{**MODEL, "sha256": None})


@pytest.mark.parametrize("text", [None, "cut {", "[]", '{"inputs": [], "params": {"digest": "d"}}'])
def test_a_run_that_recorded_no_bundle_has_none(tmp_path, text):
    record = tmp_path / "unpack_atlas.json"
    if text is not None:
        record.write_text(text)
    assert bundle_of_record(record, "d") == {}


def test_a_finished_run_keeps_the_place_of_the_bundle_that_it_recorded(tmp_path):
    record, bundle = tmp_path / "unpack_atlas.json", tmp_path / "atlas.tar"
    record.write_text(json.dumps({"inputs": [str(bundle)], "params": {"digest": "d", "sha256": None}}))
    assert bundle_of_record(record, "d") == {}
    bundle.write_text("")
    assert bundle_of_record(record, "d") == {"path": str(bundle), "sha256": None}
    assert bundle_of_record(record, "of another") == {}


def test_a_token_goes_to_the_hub_alone(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.authorization = "Bearer secret"
    address = atlas_address("hf:lab/model@v1")
    hub.files["/lab/model/resolve/v1/atlas.tar"] = CONTENT
    fetch_linked(address, SHA256, str(tmp_path / "atlas.tar"))
    hub.authorization = ""
    hub.files["/atlas.tar"] = CONTENT
    other = hub.url.replace("127.0.0.1", "localhost")
    with pytest.raises(InputError, match="SHA-256"):
        atlas_path({"path": f"{other}/atlas.tar", "sha256": None}, may_fetch=True)
    assert [request.get("authorization") for request in hub.requests] == ["Bearer secret", None]


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ({**MODEL, "path": "folder"}, "path and hub are both set"),
        ({**MODEL, "hub": "model"}, "give the repository as OWNER/NAME"),
        ({**MODEL, "revision": None}, "a commit, tag or branch of it as revision"),
        ({**MODEL, "sha256": "abc"}, "is no SHA-256"),
    ],
)
def test_wrong_settings_are_refused(hub, tmp_path, pretrained, message):
    with pytest.raises(InputError, match=message):
        planned_models(tmp_path, **pretrained)


def test_models_of_scarches_are_not_asked_for():
    given = {"models": {"m": {"type": "trvae", "pretrained": {"hub": "owner/name", "revision": "main"}}}}
    with pytest.raises(InputError, match=r"models: m: pretrained: hub: models of type trvae are read from a folder"):
        with_hub_models(given, "results/fetched", "logs", may_fetch=True)


def test_a_pretrained_model_needs_a_place():
    with pytest.raises(InputError, match="neither path nor hub is set"):
        complete_config(config(trust=True))


def test_addresses_of_atlases(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = atlas_address("hf:lab/atlas@v1.0")
    assert (found.text, found.file) == ("https://huggingface.co/lab/atlas/resolve/v1.0/atlas.tar", "atlas.tar")
    assert atlas_address("zenodo:12").text == "https://zenodo.org/api/records/12/files/atlas.tar/content"
    assert atlas_address("https://a.org/x/mine.tar?download=1").file == "atlas.tar"
