"""Publishing on Zenodo, against a server on 127.0.0.1: what is sent, faults, and that nothing is done twice."""

import hashlib
from pathlib import Path

import pytest

from loopback import Fault
from loopback_zenodo import running_zenodo
from refatlas.io.atomic import read_json, write_json
from script_job import run_script
from small_bundle import FILES, require_hidden, write_small_bundle

TOKEN = "zen0do-secret-token"
PUT = r"PUT /api/files/.*"
CREATE = r"POST /api/deposit/depositions"


@pytest.fixture
def zenodo(monkeypatch):
    """The server, with its token in the environment."""
    monkeypatch.setenv("ZENODO_TOKEN", TOKEN)
    with running_zenodo(TOKEN) as service:
        yield service


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited, without waiting."""
    found = []
    monkeypatch.setattr("refatlas.publish.retries.time.sleep", found.append)
    return found


@pytest.fixture
def bundle(tmp_path):
    return write_small_bundle(tmp_path / "bundle")


def publish(bundle, url, dry_run=False, **settings):
    """Run the script as a job, and return the file that it wrote."""
    folder = bundle["atlas.tar"].parent
    settings = {"url": url, "record": None, "communities": [], "publish": False, **settings}
    record = folder / ("dry_run_zenodo.json" if dry_run else "published_zenodo.json")
    inputs = {"tar": bundle["atlas.tar"], "manifest": bundle["bundle.json"], "card": bundle["README.md"]}
    log = str(folder.parent / "publish_zenodo.log")
    run_script("publish_zenodo", log, inputs, {"record": record}, settings=settings, dry_run=dry_run)
    return read_json(record)


def refusal(bundle, url, capfd, **settings):
    """Return the message of a job that must fail."""
    with pytest.raises(SystemExit):
        publish(bundle, url, **settings)
    return capfd.readouterr().err


def test_a_draft_has_all_files_and_the_metadata_of_the_manifest(zenodo, bundle):
    record = publish(bundle, zenodo.url, communities=["single-cell"])
    assert list(zenodo.depositions) == [100]
    assert zenodo.contents[100] == {name: bundle[name].read_bytes() for name in FILES}
    metadata = zenodo.depositions[100]["metadata"]
    assert metadata["creators"] == [{"name": "Doe, Jane"}, {"name": "Roe, Richard", "orcid": "0000-0002-1825-0097"}]
    assert (metadata["title"], metadata["license"], metadata["version"]) == ("A small atlas", "cc-by-4.0", "1.0")
    assert metadata["description"].startswith("<p>Cells &amp; genes.</p><p>Second part.</p>")
    assert metadata["related_identifiers"] == [
        {"identifier": "10.1234/abc.5", "relation": "isSupplementTo", "scheme": "doi"}
    ]
    assert metadata["communities"] == [{"identifier": "single-cell"}]
    assert not zenodo.depositions[100]["submitted"]
    assert (record["published"], record["config"]) == (False, None)
    assert record["doi"] == "10.5072/zenodo.100"
    assert record["sha256"] == hashlib.sha256(bundle["atlas.tar"].read_bytes()).hexdigest()


def test_a_draft_is_published_by_a_second_run_without_sending_anything_again(zenodo, bundle):
    publish(bundle, zenodo.url)
    before = zenodo.count(PUT)
    record = publish(bundle, zenodo.url, publish=True)
    assert zenodo.count(PUT) == before == 3
    assert zenodo.depositions[100]["submitted"]
    line = f"atlas: {{path: zenodo:100, sha256: {record['sha256']}}}"
    assert (record["published"], record["config"], record["sent"]) == (True, line, [])
    assert record["address"] == f"{zenodo.url}/records/100"


def test_publishing_again_changes_nothing(zenodo, bundle):
    first = publish(bundle, zenodo.url, publish=True)
    zenodo.asked.clear()
    assert publish(bundle, zenodo.url, publish=True) == {**first, "sent": []}
    assert zenodo.asked == ["GET /api/deposit/depositions/100"]


def test_a_changed_bundle_of_a_published_record_needs_a_new_version(zenodo, bundle, capfd):
    publish(bundle, zenodo.url, publish=True)
    changed = write_small_bundle(bundle["atlas.tar"].parent, size=500, version="2.0")
    assert "set publish: zenodo: record to 100" in refusal(changed, zenodo.url, capfd, publish=True)
    record = publish(changed, zenodo.url, publish=True, record=100)
    assert (record["record"], record["version"]) == (101, "2.0")
    assert zenodo.contents[101] == {name: changed[name].read_bytes() for name in FILES}
    assert zenodo.depositions[101]["metadata"]["version"] == "2.0"
    publish(changed, zenodo.url, publish=True, record=100)
    assert len(zenodo.depositions) == 2


def test_a_new_version_loses_files_that_the_bundle_lacks(zenodo, bundle):
    old = zenodo.create({}, {"old.txt": b"1", "README.md": bundle["README.md"].read_bytes()})
    zenodo.depositions[old["id"]]["submitted"] = True
    record = publish(bundle, zenodo.url, record=old["id"])
    assert sorted(zenodo.contents[101]) == sorted(FILES)
    assert record["sent"] == ["atlas.tar", "bundle.json"]


def test_a_changed_bundle_of_a_draft_replaces_its_files(zenodo, bundle):
    publish(bundle, zenodo.url)
    changed = write_small_bundle(bundle["atlas.tar"].parent, size=500)
    assert publish(changed, zenodo.url)["sent"] == ["atlas.tar"]
    assert list(zenodo.depositions) == [100]
    assert zenodo.contents[100]["atlas.tar"] == changed["atlas.tar"].read_bytes()


def test_dry_mode_makes_no_request_and_needs_no_token(zenodo, bundle, monkeypatch):
    monkeypatch.delenv("ZENODO_TOKEN")
    shown = publish(bundle, zenodo.url, dry_run=True)
    assert zenodo.asked == []
    assert shown["files"]["atlas.tar"]["bytes"] == bundle["atlas.tar"].stat().st_size
    assert shown["metadata"]["title"] == "A small atlas"


def test_a_missing_token_is_said_before_any_request(zenodo, bundle, monkeypatch, capfd):
    monkeypatch.delenv("ZENODO_TOKEN")
    assert "the environment variable ZENODO_TOKEN is not set" in refusal(bundle, zenodo.url, capfd)
    assert zenodo.asked == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_named_but_not_shown(zenodo, bundle, capfd, status):
    echoed = {"message": f"Bearer {TOKEN} may not do this"}
    zenodo.faults.append(Fault(r".*", status=status, body=echoed))
    message = refusal(bundle, zenodo.url, capfd)
    assert "refused the token in the environment variable ZENODO_TOKEN" in message
    assert "(token) may not do this" in message
    require_hidden(TOKEN, bundle, message)


def test_the_token_is_in_nothing_that_is_written(zenodo, bundle, capfd):
    publish(bundle, zenodo.url, publish=True)
    captured = capfd.readouterr()
    require_hidden(TOKEN, bundle, captured.out + captured.err)


def test_an_unexpected_error_of_a_library_does_not_show_the_token(zenodo, bundle, monkeypatch):
    def fail(*arguments, **named):
        raise KeyError(f"headers: Bearer {TOKEN}")

    monkeypatch.setattr("requests.Session.request", fail)
    with pytest.raises(RuntimeError, match=r"KeyError: .*\(token\)") as caught:
        publish(bundle, zenodo.url)
    assert caught.value.__context__ is None
    require_hidden(TOKEN, bundle, str(caught.value))


def test_a_failure_that_passes_does_not_log_a_token_that_the_server_repeats(zenodo, bundle, waits, capfd):
    zenodo.faults.append(Fault(CREATE, status=503, body={"message": f"busy with Bearer {TOKEN}"}))
    publish(bundle, zenodo.url)
    assert "busy with Bearer (token)" in (bundle["atlas.tar"].parents[1] / "publish_zenodo.log").read_text()
    require_hidden(TOKEN, bundle, capfd.readouterr().err)


def test_an_error_of_the_metadata_names_the_field(zenodo, bundle, capfd):
    body = {"message": "Validation error.", "errors": [{"field": "metadata.license", "messages": ["unknown"]}]}
    zenodo.faults.append(Fault(CREATE, status=400, body=body))
    assert "Validation error.; metadata.license: ['unknown']" in refusal(bundle, zenodo.url, capfd)


def test_a_conflict_says_to_look_and_run_again(zenodo, bundle, capfd):
    zenodo.faults.append(Fault(r".*actions/publish", status=409))
    assert "answered 409" in refusal(bundle, zenodo.url, capfd, publish=True)
    assert publish(bundle, zenodo.url, publish=True)["record"] == 100


def test_too_many_requests_are_repeated_after_the_time_that_the_server_asks_for(zenodo, bundle, waits):
    zenodo.faults.append(Fault(CREATE, status=429, headers={"Retry-After": "17"}))
    publish(bundle, zenodo.url)
    assert waits == [17.0]
    assert list(zenodo.depositions) == [100]


def test_a_server_that_is_down_for_a_while_is_waited_for(zenodo, bundle, waits):
    zenodo.faults.append(Fault(PUT, status=503, times=3))
    publish(bundle, zenodo.url)
    assert waits == [2.0, 4.0, 8.0]


def test_a_server_that_stays_down_fails_and_the_next_run_goes_on(zenodo, bundle, waits, capfd):
    zenodo.faults.append(Fault(r"PUT .*/atlas.tar", status=503, times=5))
    assert "after 5 attempts; run again later" in refusal(bundle, zenodo.url, capfd)
    publish(bundle, zenodo.url)
    assert list(zenodo.depositions) == [100]


def test_a_cut_upload_is_sent_again(zenodo, bundle, waits):
    zenodo.faults.append(Fault(r"PUT .*/atlas.tar", cut=50_000))
    publish(bundle, zenodo.url)
    assert len(waits) == 1
    assert zenodo.contents[100]["atlas.tar"] == bundle["atlas.tar"].read_bytes()


def test_after_a_run_that_was_cut_only_what_is_missing_is_sent(zenodo, bundle, waits, capfd):
    zenodo.faults.append(Fault(r"PUT .*/README.md", cut=5, times=5))
    assert "no answer from" in refusal(bundle, zenodo.url, capfd)
    assert publish(bundle, zenodo.url)["sent"] == ["README.md"]
    assert list(zenodo.depositions) == [100]


def test_a_creation_whose_answer_is_lost_makes_no_second_deposition(zenodo, bundle, waits):
    zenodo.faults.append(Fault(CREATE, lost=True))
    publish(bundle, zenodo.url)
    assert list(zenodo.depositions) == [100]


def test_a_draft_is_found_again_without_the_state_file(zenodo, bundle):
    publish(bundle, zenodo.url)
    (bundle["atlas.tar"].parent / "zenodo.json").unlink()
    assert publish(bundle, zenodo.url)["sent"] == []
    assert list(zenodo.depositions) == [100]


def test_a_publication_whose_answer_is_lost_is_recognised(zenodo, bundle, waits):
    zenodo.faults.append(Fault(r".*actions/publish", lost=True))
    assert publish(bundle, zenodo.url, publish=True)["doi"] == "10.5072/zenodo.100"
    assert zenodo.count(r".*actions/publish") == 1


def test_a_damaged_file_is_an_error_and_not_published(zenodo, bundle, capfd):
    zenodo.faults.append(Fault(r"PUT .*/atlas.tar", damaged=True))
    assert "atlas.tar arrived with MD5" in refusal(bundle, zenodo.url, capfd, publish=True)
    assert not zenodo.depositions[100]["submitted"]
    assert publish(bundle, zenodo.url, publish=True)["sent"] == ["atlas.tar", "bundle.json", "README.md"]


def test_a_deleted_draft_is_said(zenodo, bundle, capfd):
    publish(bundle, zenodo.url)
    del zenodo.depositions[100]
    assert "zenodo.json to begin again" in refusal(bundle, zenodo.url, capfd)


def test_the_token_goes_to_no_other_server(zenodo, bundle, capfd):
    publish(bundle, zenodo.url)
    zenodo.contents[100].clear()
    zenodo.depositions[100]["links"]["bucket"] = "http://127.0.0.1:1/api/files/bucket-100"
    assert "address of another server" in refusal(bundle, zenodo.url, capfd)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"license": None}, "set bundle: license in the config"),
        ({"authors": []}, "set bundle: authors in the config"),
        ({"authors": [{"orcid": "0"}]}, "an author has no name"),
    ],
)
def test_a_manifest_without_what_zenodo_needs_is_refused_before_any_request(zenodo, tmp_path, capfd, changed, expected):
    bundle = write_small_bundle(tmp_path / "bundle", **changed)
    assert expected in refusal(bundle, zenodo.url, capfd)
    assert zenodo.asked == []


def test_a_manifest_that_is_not_the_one_in_the_tar_is_refused(zenodo, bundle, capfd):
    write_json({**read_json(bundle["bundle.json"]), "version": "9"}, bundle["bundle.json"])
    assert "differs from the one in it" in refusal(bundle, zenodo.url, capfd)


def test_state_of_another_zenodo_is_kept(zenodo, bundle):
    state = bundle["atlas.tar"].parent / "zenodo.json"
    write_json({"https://zenodo.org new": 7}, state)
    publish(bundle, zenodo.url)
    assert read_json(state) == {"https://zenodo.org new": 7, f"{zenodo.url} new": 100}
    assert Path(state).stat().st_size < 200
