"""Requests to the Hugging Face Hub, with errors that say what to do.

Importing it takes a second.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars

from refatlas.errors import InputError, shown
from refatlas.publish.retries import PASSING, PassingError, seconds_of, with_retries
from refatlas.publish.settings import require_address
from refatlas.publish.tokens import without

VARIABLE = "HF_TOKEN"
# Somebody else's commit came between: what is missing is looked up again.
CHANGED_MEANWHILE = (409, 412)
# How huggingface_hub begins the error of a model card that the Hub refuses, for example for its licence.
INVALID_CARD = "Invalid metadata in README.md"
NO_ANSWER = (httpx2.TransportError, ConnectionError, TimeoutError)


class HubApi:
    """One branch of one model repository of the Hub.

    Args:
        settings: section publish.huggingface of the config.
        token: with the right to write to the repository.

    Attributes:
        address: of the Hub.
    """

    def __init__(self, settings: dict[str, Any], token: str) -> None:
        self.repo, self.branch, self.private = settings["repo"], settings["revision"], settings["private"]
        self.token, self.api = token, HfApi(endpoint=settings["endpoint"], token=token)
        self.address = self.api.endpoint
        require_address(self.address, "the address of the Hugging Face Hub (HF_ENDPOINT)")
        disable_progress_bars()

    def make_repository(self) -> None:
        """Make the repository and its branch, where they do not exist."""
        self.asked(lambda: self.api.create_repo(self.repo, private=self.private, exist_ok=True), "repository")
        if self.branch != "main":
            self.asked(
                lambda: self.api.create_branch(self.repo, branch=self.branch, exist_ok=True), f"branch {self.branch}"
            )

    def head(self) -> str:
        """Return the newest commit of the branch."""
        found = self.api.repo_info(self.repo, revision=self.branch).sha
        if found is None:
            raise PassingError(f"{self.address} names no commit of {self.repo}")
        return found

    def checksums(self, names: list[str], commit: str) -> dict[str, str]:
        """Return the checksums of those files that a commit has: SHA-256 of a large one, git blob of another."""
        found = self.api.get_paths_info(self.repo, names, revision=commit)
        return {
            file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in found if isinstance(file, RepoFile)
        }

    def commit(self, folder: Path, deleted: list[str], message: str, parent: str) -> str:
        """Send the files of a folder, delete others, and return the commit."""
        return self.api.upload_folder(
            repo_id=self.repo,
            folder_path=folder,
            revision=self.branch,
            commit_message=message,
            delete_patterns=deleted or None,
            parent_commit=parent,
        ).oid

    def asked[T](self, request: Callable[[], T], what: str) -> T:
        """Return what a request returns, making it again after a failure that may pass.

        Raises:
            InputError: the Hub refuses it, or does not answer.
        """
        return with_retries(lambda: self._translated(request), f"{self.repo}: {what}")

    def _translated[T](self, request: Callable[[], T]) -> T:
        """Return what a request returns; its errors become an InputError, or a PassingError if they may pass."""
        try:
            return request()
        except OfflineModeIsEnabled:
            raise InputError("HF_HUB_OFFLINE is set, so that nothing can be sent to the Hub; unset it") from None
        except (*NO_ANSWER, HfHubHTTPError, RuntimeError, ValueError) as error:
            if str(error).startswith(INVALID_CARD):
                raise InputError(f"{self.repo}: the Hub refuses the model card. {without(self.token, error)}") from None
            for cause in causes(error):
                if isinstance(cause, HfHubHTTPError):
                    raise self._refusal(cause) from None
                if isinstance(cause, NO_ANSWER):
                    raise PassingError(f"no answer from {self.address} ({type(cause).__name__})") from None
            raise

    def _refusal(self, error: HfHubHTTPError) -> Exception:
        """Return the error that stands for an answer of the Hub."""
        status, said = error.response.status_code, without(self.token, error.server_message or error)
        said = shown(" ".join(said.split()), 300)
        if status in PASSING or (status in CHANGED_MEANWHILE and not isinstance(error, RevisionNotFoundError)):
            asked = seconds_of(error.response.headers.get("Retry-After"))
            return PassingError(f"{self.address} answered {status} ({said})", asked)
        if status in (401, 403):
            return InputError(
                f"{self.address} refused the token in the environment variable {VARIABLE} ({status}: {said}); it must"
                f" be a token that may write to {self.repo}"
            )
        return InputError(f"{self.address} answered {status} for {self.repo}: {said}")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it came from, the first one last."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
