"""A server on 127.0.0.1 that speaks the part of Zenodo's deposition API that refatlas uses."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loopback import Handler, Service, running

DEPOSITIONS = "/api/deposit/depositions"


class Zenodo(Service):
    """Depositions, their files and metadata.

    Attributes:
        depositions: by number.
        contents: bytes of the files, by number and name.
    """

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.depositions: dict[int, dict[str, Any]] = {}
        self.contents: dict[int, dict[str, bytes]] = {}

    def create(self, metadata: dict[str, Any], files: dict[str, bytes] | None = None) -> dict[str, Any]:
        """Return a new draft."""
        number = 100 + len(self.depositions)
        self.depositions[number] = {
            "id": number,
            "submitted": False,
            "metadata": {**metadata, "prereserve_doi": {"doi": f"10.5072/zenodo.{number}"}},
            "links": {"bucket": f"{self.url}/api/files/bucket-{number}"},
        }
        self.contents[number] = dict(files or {})
        return self.shown(number)

    def shown(self, number: int) -> dict[str, Any]:
        """Return a deposition as the API shows it."""
        files = [
            {"id": f"id-{name}", "filename": name, "filesize": len(raw), "checksum": hashlib.md5(raw).hexdigest()}
            for name, raw in self.contents[number].items()
        ]
        return {**self.depositions[number], "files": files}


class ZenodoHandler(Handler):
    """Answers of Zenodo."""

    service: Zenodo

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and content of the answer."""
        if not self.authorized():
            return 401, {"message": f"not you: {self.headers.get('Authorization')}"}
        if path == DEPOSITIONS and method == "GET":
            return 200, [self.service.shown(n) for n in self.service.depositions]
        if path == DEPOSITIONS and method == "POST":
            return 201, self.service.create(json.loads(body)["metadata"])
        if found := re.fullmatch(r"/api/files/bucket-(\d+)/(.+)", path):
            return self.put_file(int(found[1]), found[2], body)
        if found := re.fullmatch(rf"{DEPOSITIONS}/(\d+)(/.*)?", path):
            return self.of_deposition(method, int(found[1]), found[2] or "", body)
        return 404, {"message": "no such address"}

    def put_file(self, number: int, name: str, body: bytes) -> tuple[int, Any]:
        """Keep a file of a draft."""
        if self.service.depositions[number]["submitted"]:
            return 403, {"message": "published"}
        self.service.contents[number][name] = body
        return 201, {"key": name, "checksum": f"md5:{hashlib.md5(body).hexdigest()}"}

    def of_deposition(self, method: str, number: int, action: str, body: bytes) -> tuple[int, Any]:
        """Show, change, publish or continue a deposition."""
        service = self.service
        if number not in service.depositions:
            return 404, {"message": "PID does not exist."}
        found = service.depositions[number]
        if method == "PUT":
            found["metadata"] = json.loads(body)["metadata"] | {"prereserve_doi": {"doi": f"10.5072/zenodo.{number}"}}
        elif method == "DELETE":
            del service.contents[number][action.removeprefix("/files/id-")]
            return 204, None
        elif action == "/actions/publish":
            return self.publish(number)
        elif action == "/actions/newversion":
            return self.new_version(number)
        return 200, service.shown(number)

    def publish(self, number: int) -> tuple[int, Any]:
        """Publish a draft, which needs files and a title."""
        found = self.service.depositions[number]
        if found["submitted"] or not self.service.contents[number]:
            return 400, {"message": "Validation error.", "errors": [{"field": "files", "messages": ["none"]}]}
        found.update(submitted=True, doi=f"10.5072/zenodo.{number}")
        return 202, self.service.shown(number)

    def new_version(self, number: int) -> tuple[int, Any]:
        """Return the record, with the address of the draft of its next version."""
        found = self.service.depositions[number]
        if not found["submitted"]:
            return 400, {"message": "not published"}
        if "latest_draft" not in found["links"]:
            draft = self.service.create(found["metadata"], self.service.contents[number])
            found["links"]["latest_draft"] = f"{self.service.url}{DEPOSITIONS}/{draft['id']}"
        return 201, self.service.shown(number)


@contextmanager
def running_zenodo(token: str) -> Iterator[Zenodo]:
    """Run the server while the block runs."""
    with running(Zenodo(token), ZenodoHandler) as service:
        assert isinstance(service, Zenodo)
        yield service
