"""Downloads of single files: resumed, repeated after faults, whole or not at all.

Slow to import: only jobs import it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
import urllib3

from refatlas.config.addresses import safe_address
from refatlas.errors import InputError, shown
from refatlas.io.exhaustion import report_full_disk
from refatlas.io.fingerprints import sha256_of
from refatlas.remote.locks import locked

# Seconds before each further try, if the last one brought nothing.
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# The longest pause that a server may ask for.
LONGEST_PAUSE = 300.0
# A try that brought this many bytes is no failure: the next one waits as short as the first.
PROGRESS = 2**20
CHUNK = 2**20
# Seconds between two lines in the log.
TELL_SECONDS = 30.0
# Seconds for a connection, and without a byte.
TIMEOUTS = (30, 120)
# States in which the same request may be answered later.
LATER = (408, 425, 429, 500, 502, 503, 504)
GO_ON = "run the same command again: the download will go on where it stopped"


class InterruptedDownloadError(Exception):
    """A try failed, and another one may not.

    Attributes:
        pause: seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class ChangedFileError(Exception):
    """What is there of the file cannot be continued: it starts again."""


@dataclass
class Reply:
    """An answer of a server.

    Attributes:
        start: the position of its first byte in the file.
        size: of the whole file in bytes; None if the server does not say.
        version: what tells this version of the file from others, such as its ETag; "" if nothing does.
        chunks: the bytes. They raise an InterruptedDownloadError if the connection is cut.
    """

    start: int
    size: int | None
    version: str
    chunks: Iterator[bytes]


@dataclass
class Patience:
    """How often a download is tried.

    Attributes:
        pauses: seconds before each further try after one that brought nothing.
        longest: the longest pause in seconds that a server may ask for.
        sleep: what waits.
    """

    pauses: Sequence[float] = PAUSES
    longest: float = LONGEST_PAUSE
    sleep: Callable[[float], Any] = field(default=time.sleep)


# Opens a file from a position on, of the version that the beginning is from ("" if unknown).
Open = Callable[[int, str], AbstractContextManager[Reply]]


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    patience: Patience | None = None,
    modified: float | None = None,
) -> str:
    """Download a file by http or https, and return its SHA-256.

    A target that exists and is right is kept, without a request. What an earlier try left beside it is
    continued, if the server can do so. Two processes may download the same target: the second waits.

    Args:
        url: may hold user:password@; never shown whole.
        target: becomes the file when that is whole and right. Its folder is made.
        sha256: what the file must have; None if it is not known. Then a target that exists is replaced.
        headers: of the request, such as an Authorization.
        modified: time of modification that the file gets, in seconds since 1970; None for that of its end.

    Raises:
        InputError: the server refuses, or cannot be reached after several tries, or the file has
            another SHA-256. The message names the address without secrets.
    """

    def opened(start: int, version: str) -> AbstractContextManager[Reply]:
        return _opened_url(url, headers or {}, start, version)

    return fetch_whole(opened, safe_address(url), Path(target), sha256, patience or Patience(), modified)


def fetch_whole(
    opened: Open, name: str, target: Path, sha256: str | None, patience: Patience, modified: float | None = None
) -> str:
    """Fetch a file from where `opened` reads it, as `download` does.

    Args:
        opened: returns a context manager of a `Reply`, and raises as its parts do.
        name: of the file in messages.
    """
    if sha256 and _is_right(target, sha256):
        return sha256
    with report_full_disk(target, "name another folder for it"), locked(target) as part:
        # Another process may have made it in the meantime.
        if sha256 and _is_right(target, sha256):
            return sha256
        _fetch_part(opened, name, part, patience, is_checked=sha256 is not None)
        found = sha256_of(part)
        if sha256 and found != sha256:
            _forget(part)
            raise InputError(
                f"{name}: the file has the SHA-256 {found}, expected is {sha256}; it was removed. Is the address right,"
                " and is it still the same file? If so, correct the SHA-256"
            )
        _finish(part, target, modified)
    return found


def _is_right(target: Path, sha256: str) -> bool:
    """Return whether a file is there and right; one that is wrong is left to be replaced."""
    return target.is_file() and sha256_of(target) == sha256


def _finish(part: Path, target: Path, modified: float | None) -> None:
    """Rename a whole file to its place, with its time of modification, when it is on the disk."""
    if modified is not None:
        os.utime(part, (modified, modified))
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _state_of(part).unlink(missing_ok=True)


def _fetch_part(opened: Open, name: str, part: Path, patience: Patience, is_checked: bool) -> None:
    """Fetch a file into `part`, in as many tries as bring something, and as there are pauses."""
    failures, most = 0, _size(part)
    while True:
        try:
            _try_once(opened, part, is_checked)
            return
        except ChangedFileError:
            _forget(part)
            reason, pause = "the file changed while it was downloaded", None
        except InterruptedDownloadError as error:
            reason, pause = str(error), error.pause
        grown = _size(part) - most
        failures, most = (0, _size(part)) if grown >= PROGRESS else (failures, max(most, _size(part)))
        if failures >= len(patience.pauses):
            raise InputError(
                f"{name}: the download stopped after {_size(part):,} bytes, and {failures + 1} tries brought no more:"
                f" {reason}; {GO_ON}"
            )
        wait = min(max(patience.pauses[failures], pause or 0), patience.longest)
        print(f"{name}: {reason}; next try in {wait:g} s, from byte {_size(part):,} on", flush=True)
        patience.sleep(wait)
        failures += 1


def _try_once(opened: Open, part: Path, is_checked: bool) -> None:
    """Add to `part` what a server sends, and return when the file is whole.

    Args:
        is_checked: whether the SHA-256 will tell if the parts are of two files.

    Raises:
        InterruptedDownloadError: the file is not whole yet.
        ChangedFileError: it is another file than the one that `part` is the begin of.
    """
    start, version = _begun(part, is_checked)
    with opened(start, version) as reply:
        if reply.start not in (0, start):
            raise InterruptedDownloadError(f"the server sent bytes from {reply.start:,} on, not from {start:,} on")
        _state_of(part).write_text(json.dumps({"version": reply.version}), encoding="utf-8")
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(reply.start)
            file.seek(reply.start)
            told = time.monotonic()
            for chunk in reply.chunks:
                file.write(chunk)
                if time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    print(_progress(file.tell(), reply.size), flush=True)
    size = _size(part)
    if reply.size is not None and size < reply.size:
        raise InterruptedDownloadError(f"the connection ended after {size:,} of {reply.size:,} bytes")
    if reply.size is not None and size > reply.size:
        raise ChangedFileError


def _progress(n_bytes: int, size: int | None) -> str:
    share = f" of {size / 1e6:,.0f} MB ({n_bytes / size:.0%})" if size else " MB"
    return f"  {n_bytes / 1e6:,.0f}{share}"


def _begun(part: Path, is_checked: bool) -> tuple[int, str]:
    """Return how many bytes are there, and of which version.

    Of an unknown version, nothing is continued that is not checked in the end.
    """
    if not part.exists() or not _state_of(part).exists():
        return 0, ""
    try:
        version = json.loads(_state_of(part).read_text(encoding="utf-8"))["version"]
    except (ValueError, KeyError):
        # The process was killed while it wrote the state.
        return 0, ""
    return (_size(part), version) if version or is_checked else (0, "")


def _state_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_of(part).unlink(missing_ok=True)


@contextmanager
def _opened_url(url: str, headers: Mapping[str, str], start: int, version: str) -> Iterator[Reply]:
    """Yield the answer to a request for a file from a position on."""
    # Compressed on the way, bytes would have other positions than in the file.
    asked = {"Accept-Encoding": "identity", **headers}
    if start:
        asked["Range"] = f"bytes={start}-"
    if start and version:
        asked["If-Range"] = version
    with _reported(url):
        response = requests.get(url, headers=asked, stream=True, timeout=TIMEOUTS)
    with response:
        if response.status_code == 416 and start:
            if response.headers.get("Content-Range") != f"bytes */{start}":
                raise ChangedFileError
            # It was whole already when a process was killed.
            yield Reply(start, start, version, iter(()))
            return
        _require_answer(response, safe_address(url))
        begin, size = _extent(response)
        yield Reply(begin, size, _version(response), _chunks(response, url))


def _chunks(response: requests.Response, url: str) -> Iterator[bytes]:
    with _reported(url):
        yield from response.raw.stream(CHUNK, decode_content=False)


@contextmanager
def _reported(url: str) -> Iterator[None]:
    """Replace errors of requests, whose messages hold the whole address, by ones that do not."""
    try:
        yield
    except requests.exceptions.SSLError:
        raise InputError(
            f"{safe_address(url)}: the server's certificate is not trusted; for one of your own, set"
            " REQUESTS_CA_BUNDLE to the file of its certificates"
        ) from None
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise InterruptedDownloadError("the server did not answer in time") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError):
        raise InterruptedDownloadError("the connection failed or was cut") from None
    except requests.RequestException as error:
        raise InputError(f"{safe_address(url)}: {type(error).__name__}; is the address right?") from None


def _require_answer(response: requests.Response, name: str) -> None:
    """Raise an error unless a server sends the file."""
    status = response.status_code
    if status in (200, 206):
        return
    if status in LATER:
        raise InterruptedDownloadError(f"the server answered {_status(response)}", _asked_pause(response))
    remedy = {
        401: "it wants a user and a password, or a token: put them into ~/.netrc, or use an address that is signed",
        403: "the address may have expired, or the file may not be public",
        404: "check the address",
    }.get(status, "check the address")
    raise InputError(f"{name}: the server answered {_status(response)}; {remedy}")


def _status(response: requests.Response) -> str:
    return f"{response.status_code} {shown(response.reason or '')}".strip()


def _asked_pause(response: requests.Response) -> float | None:
    """Return the seconds that a server asks to wait, by a number or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Return the position of the first byte, and the size of the whole file."""
    if response.status_code == 206:
        span, _, size = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        begin = span.partition("-")[0]
        if not begin.isdigit():
            raise InterruptedDownloadError("the server sent a part without saying which")
        return int(begin), int(size) if size.isdigit() else None
    size = response.headers.get("Content-Length", "")
    return 0, int(size) if size.isdigit() else None


def _version(response: requests.Response) -> str:
    """Return what a server lets a download be continued by: a strong ETag, or a date; "" for none."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")
