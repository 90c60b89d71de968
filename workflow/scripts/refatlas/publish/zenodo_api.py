"""Requests to the deposition API of Zenodo (https://developers.zenodo.org)."""

from typing import Any
from urllib.parse import quote, urlsplit

import requests

from refatlas.errors import InputError, shown
from refatlas.publish.bundle_files import SentFile
from refatlas.publish.retries import PASSING, PassingError, seconds_of
from refatlas.publish.tokens import without

VARIABLE = "ZENODO_TOKEN"
# Seconds to connect, and to wait for an answer: Zenodo computes the checksum of a large file before it answers.
TIMEOUT = (30, 900)
Deposition = dict[str, Any]


class BearerToken(requests.auth.AuthBase):
    """The token as the header of each request: without it, requests would take a password of ~/.netrc instead."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request with the header."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class ZenodoApi:
    """The deposition API at one address.

    Every method raises a PassingError if a later attempt may succeed, and an InputError if not.

    Args:
        url: of Zenodo, such as https://sandbox.zenodo.org.
        token: of an account there, with the scopes deposit:write and deposit:actions.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url.rstrip("/"), token
        self.session = requests.Session()
        self.session.auth = BearerToken(token)

    def deposition(self, number: int) -> Deposition:
        """Return a deposition: its state, its files with their MD5, and its addresses."""
        return self._request("GET", f"/api/deposit/depositions/{number}")

    def drafts(self) -> list[Deposition]:
        """Return the account's newest depositions that are not published."""
        parameters = {"status": "draft", "sort": "mostrecent", "size": "100"}
        return self._request("GET", "/api/deposit/depositions", params=parameters)

    def create(self, metadata: dict[str, Any]) -> Deposition:
        """Return a new deposition, which reserves a DOI and is not public."""
        return self._request("POST", "/api/deposit/depositions", json={"metadata": metadata})

    def new_version(self, record: int) -> Deposition:
        """Return the draft of a record's next version; that which exists, if there is one."""
        found = self._request("POST", f"/api/deposit/depositions/{record}/actions/newversion")
        return self._request("GET", found["links"]["latest_draft"])

    def set_metadata(self, number: int, metadata: dict[str, Any]) -> Deposition:
        """Replace the metadata of a draft."""
        return self._request("PUT", f"/api/deposit/depositions/{number}", json={"metadata": metadata})

    def send_file(self, deposition: Deposition, file: SentFile) -> str:
        """Send a file into a draft, in place of one of the same name, and return the MD5 that Zenodo found."""
        with file.path.open("rb") as stream:
            # An empty stream would be sent in chunks, which Zenodo refuses.
            content = stream if file.size else b""
            found = self._request("PUT", f"{deposition['links']['bucket']}/{quote(file.name)}", data=content)
        return found["checksum"].removeprefix("md5:")

    def delete_file(self, number: int, file: dict[str, Any]) -> None:
        """Delete a file of a draft."""
        self._request("DELETE", f"/api/deposit/depositions/{number}/files/{file['id']}")

    def publish(self, number: int) -> Deposition:
        """Publish a draft, which cannot be undone."""
        return self._request("POST", f"/api/deposit/depositions/{number}/actions/publish")

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the JSON of an answer; None for one without content."""
        address = self._own_address(path)
        try:
            answer = self.session.request(method, address, timeout=TIMEOUT, allow_redirects=False, **arguments)
            content = answer.json() if answer.ok and answer.content else None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise PassingError(f"no answer from {self.url} ({type(error).__name__})") from None
        except ValueError:
            raise PassingError(f"{self.url} did not answer with JSON to {method} {path}") from None
        if answer.status_code >= 300:
            self._refuse(answer, method, path)
        return content

    def _own_address(self, path: str) -> str:
        """Return the address of a path, or one that the server gave, which must be its own: the token goes there."""
        if path.startswith("/"):
            return self.url + path
        if urlsplit(path)[:2] != urlsplit(self.url)[:2]:
            raise InputError(
                f"{self.url} answered with an address of another server, {shown(path)}, to which the token in"
                f" {VARIABLE} is not sent; check zenodo: url in the config"
            )
        return path

    def _refuse(self, answer: requests.Response, method: str, path: str) -> None:
        """Raise the error of an answer that is no success."""
        status, said = answer.status_code, without(self.token, _message(answer))
        if status in PASSING:
            raise PassingError(f"{self.url} answered {status} ({said})", seconds_of(answer.headers.get("Retry-After")))
        if status in (401, 403):
            raise InputError(
                f"{self.url} refused the token in the environment variable {VARIABLE} ({status}: {said}); it must be a"
                f" token of {self.url}, with the scopes deposit:write and deposit:actions, of an account that owns the"
                " record"
            )
        raise InputError(f"{self.url} answered {status} to {method} {path}: {said}{_REMEDIES.get(status, '')}")


_REMEDIES = {
    404: "; there is no such record or draft of this account: was it deleted, or is it of another Zenodo?",
    409: "; it was changed at the same time, or is published already: look at it on the website, and run again",
    413: "; the files are larger than Zenodo takes: 50 GB in all, unless it grants more on request",
}


def _message(answer: requests.Response) -> str:
    """Return what a server says about an error, with the fields that it refuses."""
    try:
        content = answer.json()
    except ValueError:
        return answer.reason or "no reason given"
    if not isinstance(content, dict):
        return answer.reason or "no reason given"
    fields = [f"{e.get('field')}: {e.get('message') or e.get('messages')}" for e in content.get("errors") or ()]
    return shown("; ".join([str(content.get("message", answer.reason)), *fields]), 500)
