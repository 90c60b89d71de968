"""Downloads by http from a server that fails in every way: what is resumed, repeated and refused."""

import hashlib
import os
import threading

import pytest

from fault_server import Fault, file_server
from refatlas.errors import InputError
from refatlas.remote import download as module
from refatlas.remote.download import Patience, download

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def server():
    with file_server(a__h5ad=CONTENT) as running:
        yield running


@pytest.fixture
def fetch(server, tmp_path):
    """A function that downloads a.h5ad, and keeps the pauses it made."""

    class Fetch:
        def __init__(self) -> None:
            self.target = tmp_path / "folder" / "a.h5ad"
            self.waits: list[float] = []

        def __call__(self, url: str = "", sha256: str | None = SHA256, **keys) -> str:
            patience = Patience(pauses=(1, 2, 4), longest=60, sleep=self.waits.append)
            return download(url or f"{server.url}/a.h5ad", self.target, sha256, patience=patience, **keys)

        def left(self) -> set[str]:
            """Names of what is in the folder, but for the lock."""
            return {name for name in os.listdir(self.target.parent) if not name.endswith(".lock")}

    return Fetch()


def test_a_file_is_there_whole_with_its_hash(fetch, server):
    assert fetch() == SHA256
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.left() == {"a.h5ad"}
    assert len(server.requests) == 1
    assert "range" not in server.requests[0]


def test_a_file_that_is_there_and_right_is_not_asked_for(fetch, server):
    fetch()
    assert fetch() == SHA256
    assert len(server.requests) == 1


def test_a_file_that_is_there_and_wrong_is_replaced(fetch):
    fetch.target.parent.mkdir()
    fetch.target.write_bytes(b"damaged")
    fetch()
    assert fetch.target.read_bytes() == CONTENT


def test_without_a_hash_the_found_one_is_returned(fetch):
    assert fetch(sha256=None) == SHA256


def test_the_time_of_modification_is_as_asked_for(fetch):
    fetch(modified=946684800)
    assert fetch.target.stat().st_mtime == 946684800


def test_a_wrong_hash_removes_the_file_and_names_both(fetch):
    with pytest.raises(InputError, match=rf"has the SHA-256 {SHA256}, expected is {OTHER}"):
        fetch(sha256=OTHER)
    assert fetch.left() == set()


def test_a_cut_connection_goes_on_where_it_stopped(fetch, server):
    server.faults = [Fault(cut=1000), Fault(cut=500)]
    fetch()
    assert [found.get("range") for found in server.requests] == [None, "bytes=1000-", "bytes=1500-"]
    assert server.requests[1]["if-range"].startswith('"')
    assert fetch.waits == [1, 2]


def test_a_later_run_goes_on_where_the_first_stopped(fetch, server):
    server.faults = [Fault(cut=1000), *[Fault(status=503)] * 3]
    with pytest.raises(InputError, match=r"stopped after 1,000 bytes.*will go on where it stopped"):
        fetch()
    assert not fetch.target.exists()
    fetch()
    assert server.requests[-1]["range"] == "bytes=1000-"
    assert fetch.target.read_bytes() == CONTENT


def test_a_file_that_was_whole_when_the_process_was_killed_is_not_sent_again(fetch, server, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch()
    fetch()
    assert server.requests[-1]["range"] == f"bytes={len(CONTENT)}-"
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.waits == []


def test_a_changed_file_starts_again(fetch, server):
    server.faults = [Fault(cut=1000), *[Fault(status=503)] * 3]
    with pytest.raises(InputError):
        fetch()
    changed = CONTENT[::-1]
    server.files["/a.h5ad"] = changed
    fetch(sha256=hashlib.sha256(changed).hexdigest())
    assert fetch.target.read_bytes() == changed


def test_a_file_that_became_shorter_starts_again(fetch, server):
    server.faults = [Fault(cut=1000), *[Fault(status=503)] * 3]
    server.etag = ""
    with pytest.raises(InputError):
        fetch()
    server.files["/a.h5ad"] = b"short"
    fetch(sha256=hashlib.sha256(b"short").hexdigest())
    assert fetch.target.read_bytes() == b"short"


def test_without_ranges_the_file_starts_again(fetch, server):
    server.ranges = False
    server.faults = [Fault(cut=1000)]
    fetch()
    assert fetch.target.read_bytes() == CONTENT
    assert server.requests[1]["range"] == "bytes=1000-"


@pytest.mark.parametrize("etag", ["", "weak"])
def test_without_a_version_only_a_file_with_a_hash_is_continued(fetch, server, etag):
    server.etag = etag
    server.faults = [Fault(cut=1000)]
    fetch()
    assert server.requests[1]["range"] == "bytes=1000-"
    assert "if-range" not in server.requests[1]
    fetch.target.unlink()
    server.faults = [Fault(cut=1000)]
    assert fetch(sha256=None) == SHA256
    assert "range" not in server.requests[-1]


def test_a_file_that_is_always_cut_is_an_error(fetch, server):
    server.ranges = False
    server.faults = [Fault(cut=1000)] * 9
    with pytest.raises(InputError, match=r"the connection ended after 1,000 of 512,000 bytes|connection failed"):
        fetch()
    assert fetch.waits == [1, 2, 4]
    assert len(server.requests) == 4


def test_tries_that_bring_much_are_no_failures(fetch, server, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS", 1000)
    server.faults = [Fault(cut=50_000)] * 9
    fetch()
    assert fetch.waits == [1] * 9


@pytest.mark.parametrize(
    ("status", "remedy"), [(404, "check the address"), (401, "netrc"), (403, "may have expired"), (410, "check")]
)
def test_a_refusal_is_an_error_at_once(fetch, server, status, remedy):
    server.faults = [Fault(status=status)]
    with pytest.raises(InputError, match=rf"{server.url}/a.h5ad: the server answered {status}.*{remedy}"):
        fetch()
    assert len(server.requests) == 1


def test_an_overloaded_server_is_asked_again(fetch, server):
    server.faults = [Fault(status=503), Fault(status=502)]
    fetch()
    assert fetch.waits == [1, 2]


def test_the_pause_that_a_server_asks_for_is_made_but_no_endless_one(fetch, server):
    server.faults = [Fault(429, {"Retry-After": "17"}), Fault(429, {"Retry-After": "86400"})]
    fetch()
    assert fetch.waits == [17, 60]


def test_a_pause_may_be_asked_for_by_a_date(fetch, server):
    server.faults = [Fault(503, {"Retry-After": "Wed, 21 Oct 2065 07:28:00 GMT"}), Fault(503, {"Retry-After": "soon"})]
    fetch()
    assert fetch.waits == [60, 2]


def test_a_server_that_stays_overloaded_is_an_error(fetch, server):
    server.faults = [Fault(status=503)] * 9
    with pytest.raises(InputError, match=r"4 tries brought no more: .* 503.*run the same command again"):
        fetch()
    assert len(server.requests) == 4


def test_no_server_is_an_error_after_the_tries(fetch):
    with pytest.raises(InputError, match=r"http://127.0.0.1:1/a\.h5ad: .*the connection failed"):
        fetch("http://127.0.0.1:1/a.h5ad")
    assert fetch.waits == [1, 2, 4]


def test_secrets_are_sent_and_never_shown(fetch, server, capfd):
    server.authorization = "Basic YW5uOnMzY3JldA=="
    url = f"{server.url.replace('//', '//ann:s3cret@')}/a.h5ad?X-Amz-Signature=t0ken"
    server.faults = [Fault(cut=1000)]
    fetch(url)
    assert server.requests[-1]["path"] == "/a.h5ad?X-Amz-Signature=t0ken"
    server.faults = [Fault(status=503)] * 9
    fetch.target.unlink()
    errors = []
    for address in (url, url.replace(server.url.rpartition(":")[2], "1"), url.replace("a.h5ad", "b.h5ad")):
        with pytest.raises(InputError) as error:
            fetch(address)
        errors += [str(error.value)]
        server.faults = []
    said = "".join([*errors, *capfd.readouterr()])
    assert "the server answered 404" in errors[2]
    assert "s3cret" not in said
    assert "t0ken" not in said


def test_the_log_says_how_far_a_download_is(fetch, server, monkeypatch, capsys):
    monkeypatch.setattr(module, "TELL_SECONDS", 0)
    server.files["/a.h5ad"] = large = CONTENT * 4
    fetch(sha256=hashlib.sha256(large).hexdigest())
    assert "  2 of 2 MB (100%)\n" in capsys.readouterr().out


def test_headers_are_sent(fetch, server):
    server.authorization = "Bearer t0ken"
    fetch(headers={"Authorization": "Bearer t0ken"})
    assert fetch.target.read_bytes() == CONTENT


def test_two_at_once_fetch_one_whole_file(fetch, server):
    server.faults = [Fault(cut=1000)]
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SHA256] * 4
    assert fetch.target.read_bytes() == CONTENT
    # The first one's two; the others find the file there.
    assert len(server.requests) == 2


def test_a_file_system_without_locks_uses_names_of_its_own(fetch, server, monkeypatch):
    monkeypatch.setattr("refatlas.remote.locks._acquire", lambda *_: False)
    fetch()
    assert fetch.left() == {"a.h5ad"}
    fetch.target.unlink()
    server.faults = [Fault(status=404)]
    with pytest.raises(InputError):
        fetch()
    assert fetch.left() == set()


def test_a_folder_that_cannot_be_made_is_named(tmp_path, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"files cannot be written there .*REFATLAS_CACHE"):
        download(f"{server.url}/a.h5ad", tmp_path / "file" / "a.h5ad", SHA256)
    assert server.requests == []
