"""A bundle in a model repository of the Hugging Face Hub: one commit with what the repository lacks."""

import tempfile
from pathlib import Path
from typing import Any

from refatlas.errors import InputError
from refatlas.publish.bundle_files import Bundle, SentFile
from refatlas.publish.hub_api import HubApi
from refatlas.publish.hub_files import HUB_FILES

Settings = dict[str, Any]


def publish_on_hub(hub: HubApi, files: list[SentFile], message: str) -> tuple[str, list[str]]:
    """Return the commit that has these files, and the names of those that were sent.

    If the branch has them already, that is its newest commit, and nothing is sent. Files of an
    earlier model that are not among them are deleted in the same commit; all others stay.

    Raises:
        InputError: the Hub refuses something, or a checksum differs.
    """
    hub.make_repository()
    sent: dict[str, None] = {}

    def send() -> str:
        head = hub.head()
        lacking, outdated = _differences(hub, files, head)
        if not lacking and not outdated:
            return head
        sent.update(dict.fromkeys(file.name for file in lacking))
        print(f"sending {', '.join(sent) or 'nothing'}; deleting {', '.join(outdated) or 'nothing'}", flush=True)
        return _committed(hub, lacking, outdated, message, head)

    commit = hub.asked(send, "upload")
    _require_same(hub, files, commit)
    return commit, list(sent)


def _differences(hub: HubApi, files: list[SentFile], commit: str) -> tuple[list[SentFile], list[str]]:
    """Return the files that a commit lacks or has otherwise, and the names of those of an earlier model."""
    names = [file.name for file in files]
    there = hub.checksums([*names, *(name for name in HUB_FILES if name not in names)], commit)
    lacking = [file for file in files if there.get(file.name) not in (file.sha256, file.git_blob)]
    return lacking, [name for name in there if name not in names]


def _committed(hub: HubApi, files: list[SentFile], deleted: list[str], message: str, parent: str) -> str:
    """Return the commit of these files, which are linked into a folder: upload_folder takes one."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            (Path(folder) / file.name).symlink_to(file.path.absolute())
        return hub.commit(Path(folder), deleted, message, parent)


def _require_same(hub: HubApi, files: list[SentFile], commit: str) -> None:
    """Raise an InputError unless a commit has the files as they are here."""
    there = hub.asked(lambda: hub.checksums([file.name for file in files], commit), "checksums")
    for file in files:
        if there.get(file.name) not in (file.sha256, file.git_blob):
            raise InputError(
                f"{hub.repo}: {file.name} of commit {commit} has checksum {there.get(file.name, 'none')}, but sha256"
                f" {file.sha256} (git blob {file.git_blob}) here: it was damaged on the way, or changed meanwhile. Do"
                " not use this commit; run again, which sends the file again"
            )


def published_record(
    hub: HubApi, bundle: Bundle, files: list[SentFile], commit: str, sent: list[str]
) -> dict[str, Any]:
    """Return what the results keep of a publication: address, commit, checksums, and the line for another config."""
    return {
        "service": "huggingface",
        "repo": hub.repo,
        "revision": hub.branch,
        "commit": commit,
        "address": f"{hub.address}/{hub.repo}/tree/{commit}",
        "name": bundle.manifest["name"],
        "version": bundle.manifest["version"],
        "sha256": bundle.tar.sha256,
        "files": {file.name: file.described() for file in files},
        "sent": sent,
        "config": f"atlas: {{path: hf:{hub.repo}@{commit}, sha256: {bundle.tar.sha256}}}",
    }
