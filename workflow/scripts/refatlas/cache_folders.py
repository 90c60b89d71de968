"""Caches of libraries, where the home folder cannot be written to."""

import os
import tempfile
from pathlib import Path


def use_writable_caches() -> None:
    """Use a temporary folder for caches of libraries if the home folder cannot be written to.

    Without it, importing umap-learn or scanpy fails (numba: "cannot cache function") where the
    environment is read-only too, and matplotlib prints a warning. Folders that the user has named
    stay.
    """
    if not _is_writable(_folder("XDG_CACHE_HOME", "~/.cache")):
        os.environ["XDG_CACHE_HOME"] = str(_private_folder())
    if "MPLCONFIGDIR" not in os.environ and not _is_writable(_folder("XDG_CONFIG_HOME", "~/.config")):
        os.environ["MPLCONFIGDIR"] = str(_private_folder() / "matplotlib")


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or os.path.expanduser(default))


def _is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which is made if needed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _private_folder() -> Path:
    """Return a temporary folder of this user, which later jobs find again."""
    folder = Path(tempfile.gettempdir()) / f"refatlas_cache_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # The caches of numba contain pickles: no other user may write to them.
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
        return Path(tempfile.mkdtemp(prefix="refatlas_cache_"))
    return folder
