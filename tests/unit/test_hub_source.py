"""Bundles and pretrained models by address: what is asked for, when, and what is refused."""

import hashlib

import pytest

from fault_server import file_server
from refatlas.bundle.source import atlas_address, atlas_path, with_hub_models
from refatlas.config.settings import complete_config
from refatlas.errors import InputError

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


def test_a_model_of_the_hub_is_fetched_once_and_is_a_path_from_then_on(hub):
    given = with_hub_models(config(**MODEL), may_fetch=True)
    pretrained = given["models"]["mine"]["pretrained"]
    assert set(pretrained) == {"path", "sha256"}
    with open(f"{pretrained['path']}/model.pt", "rb") as file:
        assert file.read() == CONTENT
    assert with_hub_models(config(**MODEL), may_fetch=False) == given
    assert len(hub.requests) == 1
    assert complete_config(given)["models"]["mine"]["pretrained"]["sha256"] == SHA256


def test_a_dry_run_asks_for_nothing(hub):
    with pytest.raises(InputError, match=r"mine: pretrained: .* is not in the cache .* a dry run asks no server"):
        with_hub_models(config(**MODEL), may_fetch=False)
    assert hub.requests == []


def test_the_first_run_says_the_checksum(hub):
    with pytest.raises(InputError, match=f"its SHA-256 is {SHA256}; write it in"):
        with_hub_models(config(**{**MODEL, "sha256": None}), may_fetch=True)


def test_a_token_goes_to_the_hub_alone(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.authorization = "Bearer secret"
    with_hub_models(config(**MODEL), may_fetch=True)
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
def test_wrong_settings_are_refused(hub, pretrained, message):
    with pytest.raises(InputError, match=message):
        with_hub_models(config(**pretrained), may_fetch=True)


def test_models_of_scarches_are_not_asked_for():
    given = {"models": {"m": {"type": "trvae", "pretrained": {"hub": "owner/name", "revision": "main"}}}}
    with pytest.raises(InputError, match=r"models: m: pretrained: hub: models of type trvae are read from a folder"):
        with_hub_models(given, may_fetch=True)


def test_a_pretrained_model_needs_a_place():
    with pytest.raises(InputError, match="neither path nor hub is set"):
        complete_config(config(trust=True))


def test_addresses_of_atlases(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = atlas_address("hf:lab/atlas@v1.0")
    assert (found.text, found.file) == ("https://huggingface.co/lab/atlas/resolve/v1.0/atlas.tar", "atlas.tar")
    assert atlas_address("zenodo:12").text == "https://zenodo.org/api/records/12/files/atlas.tar/content"
    assert atlas_address("https://a.org/x/mine.tar?download=1").file == "atlas.tar"
