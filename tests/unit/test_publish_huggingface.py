"""Publishing on the Hugging Face Hub, by huggingface_hub itself, against a server on 127.0.0.1."""

import hashlib

import pytest
import yaml

from loopback import Fault
from loopback_huggingface import running_hub
from refatlas.io.atomic import read_json
from script_job import run_script
from small_bundle import FILES, require_hidden, write_small_bundle

TOKEN = "hf_secretsecretsecret"
REPO = "lab/small_atlas"
COMMIT = rf"POST /api/models/{REPO}/commit/main"
OBJECT = r"PUT /lfs/\w+"


@pytest.fixture
def hub(monkeypatch):
    """The server, with its token in the environment, and without Xet, which it does not speak."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with running_hub(TOKEN) as service:
        yield service


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited, by huggingface_hub as well, without waiting."""
    found = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


@pytest.fixture
def bundle(tmp_path):
    return write_small_bundle(tmp_path / "bundle")


@pytest.fixture
def model(bundle):
    """A stand-in for what make_hub_model writes."""
    folder = bundle["atlas.tar"].parent / "hub"
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"weights" * 1000)
    (folder / "adata.h5ad").write_bytes(b"latent" * 1000)
    (folder / "_scvi_required_metadata.json").write_text('{"model_cls_name": "SCVI"}')
    front = "license: unknown\nlibrary_name: scvi-tools\ntags:\n- biology\n- model_cls_name:SCVI\n"
    (folder / "README.md").write_text(f"---\n{front}---\n\n# Model Description\n")
    return folder


def publish(bundle, url, model=None, dry_run=False, **settings):
    """Run the script as a job, and return the file that it wrote."""
    folder = bundle["atlas.tar"].parent
    settings = {"repo": REPO, "revision": "main", "private": False, "endpoint": url, **settings}
    record = folder / ("dry_run_huggingface.json" if dry_run else "published_huggingface.json")
    inputs = {"tar": bundle["atlas.tar"], "manifest": bundle["bundle.json"], "card": bundle["README.md"]}
    inputs |= {"hub": model} if model else {}
    log = str(folder.parent / "publish_huggingface.log")
    outputs = {"record": record, "card": folder / "model_card.md"}
    run_script("publish_huggingface", log, inputs, outputs, settings=settings, dry_run=dry_run)
    return read_json(record)


def refusal(bundle, url, capfd, **settings):
    """Return the message of a job that must fail."""
    with pytest.raises(SystemExit):
        publish(bundle, url, **settings)
    return capfd.readouterr().err


def test_one_commit_has_the_bundle_and_the_model(hub, bundle, model):
    record = publish(bundle, hub.url, model)
    assert [c["message"] for c in hub.commits(REPO)] == ["initial commit", "small_atlas 1.0"]
    files = hub.files(REPO)
    assert {n: files[n] for n in FILES[:2]} == {n: bundle[n].read_bytes() for n in FILES[:2]}
    for name in ("model.pt", "adata.h5ad", "_scvi_required_metadata.json"):
        assert files[name] == (model / name).read_bytes()
    commit = hub.commits(REPO)[-1]["id"]
    assert record["config"] == f"atlas: {{path: hf:{REPO}@{commit}, sha256: {record['sha256']}}}"
    assert record["address"] == f"{hub.url}/{REPO}/tree/{commit}"
    assert record["sha256"] == hashlib.sha256(bundle["atlas.tar"].read_bytes()).hexdigest()


def test_the_card_has_the_front_matter_of_scvi_hub_and_the_licence_of_the_bundle(hub, bundle, model):
    publish(bundle, hub.url, model)
    _, front, text = hub.files(REPO)["README.md"].decode().split("---\n", 2)
    found = yaml.safe_load(front)
    assert (found["license"], found["library_name"]) == ("cc-by-4.0", "scvi-tools")
    assert {"biology", "model_cls_name:SCVI", "refatlas"} <= set(found["tags"])
    assert text.index("# A small atlas") < text.index("# Model Description")


def test_without_a_model_the_bundle_alone_is_sent_and_said(hub, bundle, capfd):
    publish(bundle, hub.url)
    assert sorted(hub.files(REPO)) == sorted([".gitattributes", *FILES])
    assert "No model of scvi-tools in this run" in capfd.readouterr().err


def test_publishing_again_makes_no_commit_and_sends_nothing(hub, bundle, model):
    first = publish(bundle, hub.url, model)
    hub.asked.clear()
    second = publish(bundle, hub.url, model)
    assert second == {**first, "sent": []}
    assert len(hub.commits(REPO)) == 2
    assert hub.count(r"PUT .*|.*/(commit|preupload)/.*|.*objects/batch") == 0


def test_a_changed_bundle_sends_what_changed_and_deletes_an_earlier_model(hub, bundle, model):
    publish(bundle, hub.url, model)
    hub.files(REPO)["notes.txt"] = b"of the owner"
    changed = write_small_bundle(bundle["atlas.tar"].parent, size=500, version="2.0")
    record = publish(changed, hub.url)
    assert record["sent"] == ["atlas.tar", "bundle.json", "README.md"]
    assert sorted(hub.files(REPO)) == sorted([".gitattributes", "notes.txt", *FILES])
    assert [c["message"] for c in hub.commits(REPO)][1:] == ["small_atlas 1.0", "small_atlas 2.0"]


def test_another_branch_and_a_private_repository_are_made(hub, bundle):
    record = publish(bundle, hub.url, revision="trial", private=True)
    assert hub.private == {REPO: True}
    assert [len(hub.commits(REPO, branch)) for branch in ("main", "trial")] == [1, 2]
    assert record["commit"] == hub.commits(REPO, "trial")[-1]["id"]
    publish(bundle, hub.url, revision="trial", private=True)
    assert len(hub.commits(REPO, "trial")) == 2


def test_dry_mode_makes_no_request_and_needs_no_token(hub, bundle, model, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    shown = publish(bundle, hub.url, model, dry_run=True)
    assert hub.asked == []
    assert len(shown["files"]) == 6
    assert shown["files"]["atlas.tar"]["bytes"] == bundle["atlas.tar"].stat().st_size
    assert shown["settings"]["repo"] == REPO


def test_a_missing_token_is_said_before_any_request(hub, bundle, monkeypatch, capfd):
    monkeypatch.delenv("HF_TOKEN")
    assert "the environment variable HF_TOKEN is not set" in refusal(bundle, hub.url, capfd)
    assert hub.asked == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("request_", [r".*", COMMIT, OBJECT])
def test_a_refused_token_is_named_but_not_shown(hub, bundle, capfd, status, request_):
    hub.faults.append(Fault(request_, status=status, body={"error": f"Bearer {TOKEN} may not"}, times=99))
    message = refusal(bundle, hub.url, capfd)
    assert "refused the token in the environment variable HF_TOKEN" in message
    require_hidden(TOKEN, bundle, message)


def test_the_token_is_in_nothing_that_is_written(hub, bundle, model, capfd):
    publish(bundle, hub.url, model)
    captured = capfd.readouterr()
    require_hidden(TOKEN, bundle, captured.out + captured.err)


def test_an_unexpected_error_of_a_library_does_not_show_the_token(hub, bundle, monkeypatch):
    def fail(*arguments, **named):
        raise KeyError(f"headers: Bearer {TOKEN}")

    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", fail)
    with pytest.raises(RuntimeError, match=r"KeyError: .*\(token\)") as caught:
        publish(bundle, hub.url)
    assert caught.value.__context__ is None
    require_hidden(TOKEN, bundle, str(caught.value))


def test_a_failure_that_passes_does_not_log_a_token_that_the_server_repeats(hub, bundle, waits, capfd):
    hub.faults.append(Fault(COMMIT, status=503, body={"error": f"busy with Bearer {TOKEN}"}))
    publish(bundle, hub.url)
    assert "busy with Bearer (token)" in (bundle["atlas.tar"].parents[1] / "publish_huggingface.log").read_text()
    require_hidden(TOKEN, bundle, capfd.readouterr().err)


def test_a_commit_of_somebody_else_in_between_is_no_failure(hub, bundle, waits):
    hub.faults.append(Fault(COMMIT, status=412))
    publish(bundle, hub.url)
    assert len(hub.commits(REPO)) == 2
    hub.faults.append(Fault(r"POST /api/models/.*/preupload/main", status=409))
    publish(write_small_bundle(bundle["atlas.tar"].parent, size=500), hub.url)
    assert len(hub.commits(REPO)) == 3


@pytest.mark.parametrize("request_", [r"POST /api/repos/create", r"GET /api/models/.*", r".*/paths-info/.*", COMMIT])
def test_too_many_requests_are_repeated_after_the_time_that_the_server_asks_for(hub, bundle, waits, request_):
    hub.faults.append(Fault(request_, status=429, headers={"Retry-After": "17"}))
    publish(bundle, hub.url)
    assert 17.0 in waits
    assert len(hub.commits(REPO)) == 2


@pytest.mark.parametrize("request_", [r"POST /api/repos/create", r".*/preupload/.*", OBJECT, COMMIT])
def test_a_server_that_is_down_for_a_while_is_waited_for(hub, bundle, waits, request_):
    hub.faults.append(Fault(request_, status=503, times=2))
    publish(bundle, hub.url)
    assert len(waits) == 2
    assert len(hub.commits(REPO)) == 2


def test_a_server_that_stays_down_fails_and_the_next_run_goes_on(hub, bundle, model, waits, capfd):
    hub.faults.append(Fault(COMMIT, status=503, times=5))
    message = refusal(bundle, hub.url, capfd, model=model)
    assert "after 5 attempts; run again later: what has arrived is not sent again" in message
    before = hub.count(OBJECT)
    publish(bundle, hub.url, model)
    assert hub.count(OBJECT) == before == 3


def test_a_cut_upload_is_sent_again(hub, bundle, waits):
    hub.faults.append(Fault(OBJECT, cut=50_000))
    publish(bundle, hub.url)
    assert hub.files(REPO)["atlas.tar"] == bundle["atlas.tar"].read_bytes()


def test_after_a_run_that_was_cut_only_what_is_missing_is_sent(hub, bundle, model, waits, capfd):
    tar = rf"PUT /lfs/{hashlib.sha256(bundle['atlas.tar'].read_bytes()).hexdigest()}"
    hub.faults.append(Fault(tar, cut=50_000, times=99))
    assert "no answer from" in refusal(bundle, hub.url, capfd, model=model)
    assert len(hub.commits(REPO)) == 1
    hub.faults.clear()
    hub.asked.clear()
    publish(bundle, hub.url, model)
    assert [request for request in hub.asked if request.startswith("PUT ")] == [tar]


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, bundle, waits):
    hub.faults.append(Fault(COMMIT, lost=True))
    record = publish(bundle, hub.url)
    assert len(hub.commits(REPO)) == 2
    assert record["commit"] == hub.commits(REPO)[-1]["id"]


def test_a_damaged_object_is_an_error(hub, bundle, capfd):
    hub.faults.append(Fault(OBJECT, damaged=True))
    assert "SHA-256 you specified did not match" in refusal(bundle, hub.url, capfd)
    assert len(hub.commits(REPO)) == 1


@pytest.mark.parametrize("name", ["atlas.tar", "bundle.json"])
def test_another_checksum_than_here_is_an_error(hub, bundle, capfd, name):
    hub.altered[name] = "0" * 40
    assert f"{name} of commit" in refusal(bundle, hub.url, capfd)
    assert not (bundle["atlas.tar"].parent / "published_huggingface.json").exists()


def test_a_refused_model_card_is_said_with_the_reason(hub, bundle, capfd):
    body = {"errors": [{"message": '"license" must be one of these'}], "warnings": []}
    hub.faults.append(Fault(r"POST /api/validate-yaml", status=400, body=body))
    message = refusal(bundle, hub.url, capfd)
    assert "the Hub refuses the model card" in message
    assert '"license" must be one of these' in message


def test_offline_mode_is_said(hub, bundle, capfd, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert "HF_HUB_OFFLINE is set" in refusal(bundle, hub.url, capfd)


def test_the_token_is_not_sent_without_encryption(hub, bundle, capfd, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://example.org")
    assert "no address that begins with https://" in refusal(bundle, None, capfd)
