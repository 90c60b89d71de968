"""Downloads from S3: a stand-in of the service on this machine, which keeps objects and is told to fail."""

import hashlib

import boto3
import pytest
from botocore.response import StreamingBody
from moto.server import ThreadedMotoServer

from refatlas.errors import InputError
from refatlas.remote.download import Patience
from refatlas.remote.s3 import download_s3

CONTENT = bytes(range(256)) * 40_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
ADDRESS = "s3://cells/folder/a b.h5ad"
VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_REGION")


@pytest.fixture(scope="module")
def service():
    """The address of a running service."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(service, monkeypatch, tmp_path):
    """A client with keys, of a service that has one object; downloads have no keys."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", service)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    found = boto3.client("s3", aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
    found.create_bucket(Bucket="cells", ACL="public-read-write")
    found.put_object(Bucket="cells", Key="folder/a b.h5ad", Body=CONTENT, ACL="public-read")
    return found


@pytest.fixture
def fetch(client, tmp_path):
    """A function that downloads the object, and keeps the pauses it made."""

    class Fetch:
        def __init__(self) -> None:
            self.target = tmp_path / "folder" / "a.h5ad"
            self.waits: list[float] = []

        def __call__(self, address: str = ADDRESS, sha256: str | None = SHA256) -> str:
            return download_s3(address, self.target, sha256, patience=Patience((1, 2), 60, self.waits.append))

    return Fetch()


@pytest.fixture
def cut(monkeypatch):
    """Lengths after which the next answers are cut, and the ranges that were asked for."""
    lengths: list[int] = []
    original = StreamingBody.iter_chunks

    def iter_chunks(self, size):
        if not lengths:
            yield from original(self, size)
            return
        yield self.read(lengths.pop(0))
        self.close()

    monkeypatch.setattr(StreamingBody, "iter_chunks", iter_chunks)
    return lengths


def test_an_object_is_fetched_without_keys(fetch):
    assert fetch() == SHA256
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.waits == []


def test_an_object_is_fetched_with_keys(fetch, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert fetch() == SHA256


def test_a_cut_answer_goes_on_where_it_stopped(fetch, cut):
    cut[:] = [1000, 500]
    assert fetch() == SHA256
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.waits == [1, 2]


def test_an_answer_that_stays_cut_is_an_error_and_a_later_run_goes_on(fetch, cut):
    cut[:] = [1000] * 3
    with pytest.raises(InputError, match=r"cells/folder/a b\.h5ad: the download stopped after 3,000 bytes"):
        fetch()
    assert fetch() == SHA256
    assert fetch.waits == [1, 2]


def test_an_object_that_changed_starts_again(fetch, cut, client):
    cut[:] = [1000] * 3
    with pytest.raises(InputError):
        fetch()
    changed = CONTENT[::-1]
    client.put_object(Bucket="cells", Key="folder/a b.h5ad", Body=changed)
    assert fetch(sha256=hashlib.sha256(changed).hexdigest())
    assert fetch.target.read_bytes() == changed


def test_the_etag_of_an_upload_in_parts_is_no_checksum(fetch, cut, client):
    upload = client.create_multipart_upload(Bucket="cells", Key="parts.h5ad")["UploadId"]
    split = 6 * 2**20
    parts = []
    for number, content in enumerate((CONTENT[:split], CONTENT[split:]), 1):
        tag = client.upload_part(Bucket="cells", Key="parts.h5ad", PartNumber=number, UploadId=upload, Body=content)
        parts.append({"PartNumber": number, "ETag": tag["ETag"]})
    client.complete_multipart_upload(
        Bucket="cells", Key="parts.h5ad", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    cut[:] = [1000]
    assert fetch("s3://cells/parts.h5ad") == SHA256


def test_a_wrong_hash_removes_the_file_and_names_both(fetch):
    with pytest.raises(InputError, match=rf"SHA-256 {SHA256}, expected is {OTHER}"):
        fetch(sha256=OTHER)
    assert not fetch.target.exists()


@pytest.mark.parametrize("address", ["s3://cells/none.h5ad", "s3://no-such-bucket/a.h5ad"])
def test_what_is_not_there_is_an_error_at_once(fetch, address):
    with pytest.raises(InputError, match=rf"{address}: S3 answered 404 .*; check bucket and key"):
        fetch(address)
    assert fetch.waits == []


def test_no_service_is_an_error_after_the_tries(fetch, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(InputError, match="the connection failed or was cut"):
        fetch()
    assert fetch.waits == [1, 2]


def test_settings_that_name_no_profile_are_an_error(fetch, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match="settings of AWS cannot be used"):
        fetch()
