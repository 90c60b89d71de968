"""A server on 127.0.0.1 that speaks the part of the Hugging Face Hub's API that huggingface_hub uses for models.

Files are stored by git LFS, without Xet: set HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from loopback import Handler, Service, running

# Larger files, and those with these suffixes, are LFS objects.
REGULAR_BYTES = 1000
LFS_SUFFIXES = (".tar", ".pt", ".h5ad")
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


class Hub(Service):
    """Repositories with branches of commits.

    Attributes:
        branches: of each repository: commits, each with its id, message and files, oldest first.
        objects: LFS objects by SHA-256.
        altered: checksums that the server reports in place of the true ones, by path.
    """

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.branches: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.objects: dict[str, bytes] = {}
        self.private: dict[str, bool] = {}
        self.altered: dict[str, str] = {}

    def commits(self, repo: str, branch: str = "main") -> list[dict[str, Any]]:
        """Return the commits of a branch, oldest first."""
        return self.branches[repo][branch]

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a branch or commit by path."""
        found = self.commit_of(repo, revision)
        assert found is not None
        return found["files"]

    def commit_of(self, repo: str, revision: str) -> dict[str, Any] | None:
        """Return the newest commit of a branch, or the commit with an id."""
        branches = self.branches.get(repo, {})
        if revision in branches:
            return branches[revision][-1]
        return next((c for commits in branches.values() for c in commits if c["id"] == revision), None)

    def add_commit(self, repo: str, branch: str, message: str, files: dict[str, bytes]) -> str:
        """Add a commit to a branch, and return its id."""
        commits = self.branches.setdefault(repo, {}).setdefault(branch, [])
        number = hashlib.sha1(f"{repo} {branch} {len(commits)} {message}".encode()).hexdigest()
        commits.append({"id": number, "message": message, "files": files})
        return number

    def entry(self, path: str, raw: bytes) -> dict[str, Any]:
        """Return a file as the API shows it."""
        blob = hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()
        found = {"type": "file", "path": path, "size": len(raw), "oid": self.altered.get(path, blob)}
        if is_lfs(path, len(raw)):
            oid = self.altered.get(path, hashlib.sha256(raw).hexdigest())
            found["lfs"] = {"oid": oid, "size": len(raw), "pointerSize": 130}
        return found


def is_lfs(path: str, size: int) -> bool:
    """Return whether the server stores a file as an LFS object."""
    return size > REGULAR_BYTES or path.endswith(LFS_SUFFIXES)


class HubHandler(Handler):
    """Answers of the Hub."""

    service: Hub

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and content of the answer."""
        self.extra: dict[str, str] = {}
        if found := re.fullmatch(r"/lfs/(\w+)", path):
            return self.keep_object(found[1], body)
        if found := re.fullmatch(rf"/{REPO}/resolve/([^/]+)/(.+)", path):
            return self.resolve(*found.groups())
        if not self.authorized() and method != "GET":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(rf"/{REPO}\.git/info/lfs/objects/batch", path):
            return 200, {"transfer": "basic", "objects": [self.upload(o) for o in json.loads(body)["objects"]]}
        if found := re.fullmatch(rf"/api/models/{REPO}(?:/([\w-]+)(?:/([^/]+))?)?", path):
            return self.of_repo(found["repo"], found[2] or "revision", found[3] or "main", body)
        return 404, {"error": f"no such address: {path}"}

    def create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        """Make a repository with its first commit, as the Hub does."""
        repo = f"{wanted['organization']}/{wanted['name']}"
        if repo in self.service.branches:
            return 409, {"error": "You already created this model repo", "url": f"{self.service.url}/{repo}"}
        self.service.private[repo] = wanted.get("visibility") == "private"
        self.service.add_commit(repo, "main", "initial commit", {".gitattributes": b"*.tar filter=lfs\n"})
        return 200, {"url": f"{self.service.url}/{repo}", "name": repo, "id": "1"}

    def of_repo(self, repo: str, action: str, revision: str, body: bytes) -> tuple[int, Any]:
        """Answer a request about a repository."""
        if repo not in self.service.branches:
            self.extra = {"X-Error-Code": "RepoNotFound"}
            return 404, {"error": "Repository not found"}
        if action == "branch":
            return self.branch(repo, revision)
        commit = self.service.commit_of(repo, revision)
        if commit is None:
            self.extra = {"X-Error-Code": "RevisionNotFound"}
            return 404, {"error": "Invalid rev id"}
        files = commit["files"]
        if action == "revision":
            siblings = [{"rfilename": path} for path in files]
            return 200, {"id": repo, "sha": commit["id"], "siblings": siblings, "tags": [], "downloads": 0}
        if action == "tree":
            return 200, [self.service.entry(path, raw) for path, raw in files.items()]
        if action == "paths-info":
            paths = parse_qs(body.decode())["paths"]
            return 200, [self.service.entry(path, files[path]) for path in paths if path in files]
        if action == "preupload":
            return 200, {"files": [self.mode(file, files) for file in json.loads(body)["files"]]}
        assert action == "commit"
        return self.commit(repo, revision, files, [json.loads(line) for line in body.splitlines()])

    def branch(self, repo: str, name: str) -> tuple[int, Any]:
        """Make a branch from main."""
        if name in self.service.branches[repo]:
            return 409, {"error": "Reference already exists"}
        self.service.branches[repo][name] = list(self.service.branches[repo]["main"])
        return 201, {}

    def mode(self, file: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
        """Say how a file is to be sent, and what the repository has in its place."""
        path, lfs = file["path"], is_lfs(file["path"], file["size"])
        found = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        if path in files:
            entry = self.service.entry(path, files[path])
            found["oid"] = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        return found

    def upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Say where an LFS object is to be sent; nowhere, if it is there."""
        if wanted["oid"] in self.service.objects:
            return wanted
        return {**wanted, "actions": {"upload": {"href": f"{self.service.url}/lfs/{wanted['oid']}"}}}

    def keep_object(self, oid: str, body: bytes) -> tuple[int, Any]:
        """Keep an LFS object, whose SHA-256 must be right, as the store of the Hub requires."""
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "The SHA-256 you specified did not match what we received"}
        self.service.objects[oid] = body
        return 200, None

    def commit(self, repo: str, branch: str, files: dict[str, bytes], lines: list[dict[str, Any]]) -> tuple[int, Any]:
        """Add a commit."""
        header, changed = lines[0]["value"], dict(files)
        parent = header.get("parentCommit")
        if parent not in (None, self.service.commits(repo, branch)[-1]["id"]):
            return 412, {"error": "A commit has happened since. Please refresh and try again."}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changed[value["path"]] = self.service.objects[value["oid"]]
            else:
                del changed[value["path"]]
        number = self.service.add_commit(repo, branch, header["summary"], changed)
        return 200, {"success": True, "commitOid": number, "commitUrl": f"{self.service.url}/{repo}/commit/{number}"}

    def resolve(self, repo: str, revision: str, path: str) -> tuple[int, Any]:
        """Send a file."""
        commit = self.service.commit_of(repo, revision)
        if commit is None or path not in commit["files"]:
            self.extra = {"X-Error-Code": "EntryNotFound"}
            return 404, None
        raw = commit["files"][path]
        entry = self.service.entry(path, raw)
        checksum = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        self.extra = {"X-Repo-Commit": commit["id"], "ETag": f'"{checksum}"', "X-Linked-Size": str(len(raw))}
        return 200, raw


@contextmanager
def running_hub(token: str) -> Iterator[Hub]:
    """Run the server while the block runs."""
    with running(Hub(token), HubHandler) as service:
        assert isinstance(service, Hub)
        yield service
