"""Compressed files of counts, unpacked into temporary files on disk: h5ad.gz, zarr.zip, zip of an mtx folder."""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from refatlas.errors import InputError
from refatlas.io.count_file import CountFile
from refatlas.io.exhaustion import report_full_disk
from refatlas.io.file_kind import HDF5
from refatlas.io.folder_counts import find_counts
from refatlas.io.mtx_counts import read_mtx_files
from refatlas.io.mtx_folders import MtxFiles
from refatlas.io.mtx_text import open_binary
from refatlas.io.watchdog import watchdog

# Bytes that are copied at a time.
PIECE = 16 * 2**20
# Before the data of an HDF5 file may stand a block of the user's own, of one of these sizes.
USER_BLOCKS = (0, 512, 1024, 2048)


def is_hdf5(path: str) -> bool:
    """Return whether a file is HDF5, also one with a user block."""
    with open(path, "rb") as file:
        for offset in USER_BLOCKS:
            file.seek(offset)
            if file.read(len(HDF5)) == HDF5:
                return True
    return False


def open_unpacked_hdf5(path: str) -> Any:
    """Return an open HDF5 file that was compressed; its temporary file is gone when it is closed.

    Raises:
        InputError: the disk is full.
    """
    with open_binary(path) as packed:
        return _open_copy(packed)


def open_zipped_hdf5(path: str) -> Any:
    """Return the only file of a zip archive, which is HDF5, open as by `open_unpacked_hdf5`."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if not name.startswith("__MACOSX/") and name[-1] != "/")
        with archive.open(name) as packed:
            return _open_copy(packed)


def _open_copy(packed: IO[bytes]) -> Any:
    import h5py

    with _room(), tempfile.NamedTemporaryFile(prefix="refatlas-") as copy:
        _copy(packed, copy)
        # The name goes, and the open file stays until it is closed.
        return h5py.File(copy.name, "r")


def _room() -> Any:
    return report_full_disk(Path(tempfile.gettempdir()) / "temporary file", "set TMPDIR to a folder with more room")


def _copy(packed: IO[bytes], copy: Any) -> None:
    while True:
        with watchdog():
            piece = packed.read(PIECE)
        if not piece:
            break
        copy.write(piece)
    copy.flush()


def open_zarr_zip(path: str, opened: Callable[[Any], CountFile]) -> CountFile:
    """Return the counts of a zarr in a zip archive, which is read in place.

    Args:
        opened: function that reads an open group of zarr.
    """
    import zarr
    from zarr.storage import ZipStore

    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if Path(n).name in (".zgroup", "zarr.json", ".zmetadata")]
    root = min((str(Path(name).parent) for name in names), key=lambda parent: (len(Path(parent).parts), parent))
    return opened(zarr.open_group(ZipStore(path, mode="r"), path="" if root == "." else root, mode="r"))


def open_mtx_zip(path: str, layer: str | None, genome: str | None) -> CountFile:
    """Return the counts of an mtx folder in a zip archive, as BD Rhapsody writes them.

    Raises:
        InputError: as of `open_mtx`.
    """
    with _extracted(path) as folder:
        try:
            found = find_counts(folder, genome)
            if not isinstance(found, MtxFiles):
                raise InputError(f"{folder}: holds {Path(found).name}; unpack it, and name that file")
            file = read_mtx_files(found, folder, layer, genome)
        except InputError as error:
            raise InputError(str(error).replace(folder, path)) from None
    file.path = path
    file.notes.append("counts: unpacked from a zip archive")
    return file


@contextmanager
def _extracted(path: str) -> Iterator[str]:
    """Unpack the texts of an archive into a folder while the block runs; names cannot lead out of it."""
    with tempfile.TemporaryDirectory(prefix="refatlas-") as folder, _room(), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            plain = Path(name).name
            if name.endswith("/") or name.startswith("__MACOSX/") or ".." in Path(name).parts or plain[:1] == ".":
                continue
            target = Path(folder) / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as packed, target.open("wb") as copy, watchdog():
                shutil.copyfileobj(packed, copy, PIECE)
        yield folder
