"""Downloads from S3, or a service of its kind: with the user's keys, or unsigned where there are none.

Slow to import: only jobs import it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore import UNSIGNED
from botocore.config import Config

from refatlas.config.addresses import safe_address
from refatlas.errors import InputError, shown
from refatlas.remote.download import (
    CHUNK,
    LATER,
    TIMEOUTS,
    ChangedFileError,
    InterruptedDownloadError,
    Patience,
    Reply,
    fetch_whole,
)

# Of a client without a region. S3 says itself where a bucket is.
REGION = "us-east-1"
# Codes that ask to try again with any state.
SLOW = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable")


def download_s3(
    address: str,
    target: Path,
    sha256: str | None = None,
    *,
    patience: Patience | None = None,
    modified: float | None = None,
) -> str:
    """Download s3://BUCKET/KEY, and return its SHA-256: as `refatlas.remote.download.download` does.

    Keys, region and endpoint are those of the AWS tools: AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws. The
    ETag only tells whether the file is still the same: of one that was uploaded in parts, it is no
    checksum.

    Raises:
        InputError: as `download`.
    """
    bucket, _, key = address.partition("://")[2].partition("/")
    name = safe_address(address)
    client = _client(name)

    def opened(start: int, version: str) -> AbstractContextManager[Reply]:
        return _opened_object(client, bucket, key, start, version, name)

    return fetch_whole(opened, name, Path(target), sha256, patience or Patience(), modified)


def _client(name: str) -> Any:
    """Return a client that tries once, because the download has its own tries."""
    try:
        session = boto3.Session()
        options: dict[str, Any] = {} if session.get_credentials() else {"signature_version": UNSIGNED}
        config = Config(
            retries={"total_max_attempts": 1}, connect_timeout=TIMEOUTS[0], read_timeout=TIMEOUTS[1], **options
        )
        return session.client("s3", region_name=session.region_name or REGION, config=config)
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise InputError(
            f"{name}: the settings of AWS cannot be used ({type(error).__name__}); check ~/.aws and the variables that"
            " begin with AWS_"
        ) from None


@contextmanager
def _opened_object(client: Any, bucket: str, key: str, start: int, version: str, name: str) -> Iterator[Reply]:
    """Yield the object from a position on; of another version, the error is a ChangedFileError."""
    asked: dict[str, str] = {}
    if start:
        with _reported(name):
            now = client.head_object(Bucket=bucket, Key=key)
        if version and now.get("ETag", "") != version:
            raise ChangedFileError
        if now["ContentLength"] == start:
            # It was whole already when a process was killed.
            yield Reply(start, start, version, iter(()))
            return
        asked = {"Range": f"bytes={start}-", "IfMatch": now["ETag"]}
    with _reported(name):
        found = client.get_object(Bucket=bucket, Key=key, **asked)
    body = found["Body"]
    try:
        size = start + found["ContentLength"]
        yield Reply(start, size, found.get("ETag", ""), _chunks(body, name))
    finally:
        body.close()


def _chunks(body: Any, name: str) -> Iterator[bytes]:
    with _reported(name):
        yield from body.iter_chunks(CHUNK)


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Replace errors of boto3, whose messages may hold addresses with keys, by ones that do not."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _refusal(error, name) from None
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.CredentialRetrievalError):
        raise InputError(f"{name}: the keys of AWS cannot be read; check ~/.aws and AWS_PROFILE") from None
    except botocore.exceptions.SSLError:
        raise InputError(
            f"{name}: the server's certificate is not trusted; for one of your own, set AWS_CA_BUNDLE to the file of"
            " its certificates"
        ) from None
    except (
        botocore.exceptions.ConnectionError,
        botocore.exceptions.HTTPClientError,
        botocore.exceptions.IncompleteReadError,
        botocore.exceptions.ResponseStreamingError,
    ):
        raise InterruptedDownloadError("the connection failed or was cut") from None
    except botocore.exceptions.BotoCoreError as error:
        raise InputError(f"{name}: {type(error).__name__}; are bucket and key right?") from None


def _refusal(error: botocore.exceptions.ClientError, name: str) -> Exception:
    """Return what a refusal of S3 means."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = shown(error.response.get("Error", {}).get("Code", ""))
    if status in (412, 416):
        return ChangedFileError()
    if status in LATER or code in SLOW:
        return InterruptedDownloadError(f"S3 answered {status} {code}")
    remedy = {
        404: "check bucket and key",
        403: "is the file public? If not, set the keys of AWS (AWS_PROFILE, or ~/.aws)",
    }.get(status, "check the address and the settings of AWS")
    return InputError(f"{name}: S3 answered {status} {code}; {remedy}")
