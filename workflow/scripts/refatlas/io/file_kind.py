"""What a file is, told by its first bytes, and the error for one that cannot be read.

No data are read, so that a file of any size is told at once. Light: Snakemake imports it at every
start.
"""

import bz2
import gzip
import lzma
import os
import zipfile
from pathlib import Path
from typing import Any

from refatlas.errors import InputError, listed, shown
from refatlas.io.foreign_files import FORMATS, MAGIC, R_READERS, FileKind, r_remedy
from refatlas.io.hdf5_kind import hdf5_kind

HDF5 = b"\x89HDF\r\n\x1a\n"
# Compressions that Python's own library reads, by first bytes.
COMPRESSIONS = {b"\x1f\x8b": ("gzip", gzip.open), b"BZh": ("bzip2", bz2.open), b"\xfd7zXZ\0": ("xz", lzma.open)}
# The first bytes tell the format, and whether a table is one.
N_BYTES = 4096
_PICKLE_PROTOCOLS = b"\x02\x03\x04\x05"
# Parts of messages of libraries whose file is damaged.
_DAMAGE = (
    *("truncated", "eof", "end-of-stream", "crc", "checksum", "fletcher", "inflate", "decompress", "bytes early"),
    *("not a gzipped file", "incorrect data check", "invalid stored block", "invalid code", "badzipfile", "corrupt"),
    *(
        "bad ",
        "addr overflow",
        "not a valid",
        "wrong",
        "isalerror",
        "zlib",
        "lzmaerror",
        "unpack requires",
        "signature",
    ),
)
_MISSING_FILTER = ("is not registered", "filter plugin", "can't open directory", "unable to open plugin")


def describe_file(path: str) -> str:
    """Return what a file is, such as "a loom file" or "an RDS file of R"."""
    return file_kind(path).name


def file_kind(path: str) -> FileKind:
    """Return what a file is, and what to do if it cannot be read.

    Raises:
        OSError: it cannot be opened.
    """
    if os.path.isdir(path):
        return FileKind("a folder", "", "folder")
    with open(path, "rb") as file:
        head = file.read(N_BYTES)
    if not head:
        return FileKind("an empty file (0 bytes)", "write or download it again")
    for magic, (name, opener) in COMPRESSIONS.items():
        if head.startswith(magic):
            return _compressed_kind(path, name, opener)
    if head.startswith(HDF5):
        return hdf5_kind(path)
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    return _content_kind(path, head)


def quick_kind(path: str) -> FileKind:
    """Return as `file_kind` does, but do not look into HDF5 and zip.

    For planning, where a library that reads HDF5 would take longer to load than all the rest.
    """
    with open(path, "rb") as file:
        head = file.read(N_BYTES)
    for magic, (name, opener) in COMPRESSIONS.items():
        if head.startswith(magic):
            return _compressed_kind(path, name, opener)
    if not head or head.startswith((HDF5, b"PK\x03\x04")):
        return FileKind("a file", "", "unknown")
    return _content_kind(path, head)


def _compressed_kind(path: str, name: str, opener: Any) -> FileKind:
    """Return what a compressed file holds; R and samtools compress their own formats by themselves."""
    try:
        with opener(path, "rb") as file:
            head = file.read(N_BYTES)
    except (OSError, EOFError, lzma.LZMAError):
        return FileKind(f"a damaged {name} file", "write or download it again")
    if head.startswith(HDF5):
        return FileKind(f"{name} of an HDF5 file", "", "compressed hdf5")
    inside = _content_kind(path, head)
    if inside.name.endswith("of R") or inside.name.startswith("a BAM"):
        return inside
    return FileKind(f"{name} of {inside.name}", inside.remedy, inside.detail)


def _content_kind(path: str, head: bytes) -> FileKind:
    """Return what a file is by its first bytes, which may come out of a compressed file."""
    name = Path(path).name
    for magic, what, remedy in MAGIC:
        if head.startswith(magic):
            if remedy in R_READERS:
                return FileKind(what, r_remedy(path, remedy))
            if magic == b"%%MatrixMarket":
                return FileKind(what, f"name its folder, {shown(os.path.dirname(path) or '.', 300)}, as path")
            return FileKind(what, remedy)
    if head[257:262] == b"ustar":
        return FileKind("a tar archive", f"unpack it (tar xf {name}), and name the file or folder inside")
    if name.endswith(".quants_mat.gz") or name == "quants_mat.gz":
        return _alevin()
    if head[:1] == b"\x80" and head[1:2] in _PICKLE_PROTOCOLS:
        return FileKind("a pickle of Python", "load it in Python, and write the counts with AnnData.write_h5ad")
    return _text_kind(head)


def _alevin() -> FileKind:
    return FileKind(
        "a matrix in alevin's own binary format",
        "run alevin with --dumpMtx, or read it with tximport in R, and write the counts as h5ad",
    )


def _text_kind(head: bytes) -> FileKind:
    """Return what a text is: a web page, reads, a table, or other text."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The last character may be cut.
        if error.start < len(head) - 4:
            return FileKind("a file of unknown format", FORMATS)
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        return FileKind("a file of unknown format", FORMATS)
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in start:
        return FileKind("a web page (html): the download failed", "download the file itself again")
    if start.startswith("<?xml"):
        return FileKind("an XML document: the download may have failed", "download the file itself again")
    if start.startswith(("{", "[")):
        return FileKind("a JSON text: the download may have failed", FORMATS)
    lines = text.splitlines()
    if len(lines) > 2 and lines[0].startswith("@") and lines[2].startswith("+"):
        return FileKind("a fastq file of reads", "count it first, for example with Cell Ranger or STARsolo")
    if lines and lines[0].startswith(("@HD\t", "@SQ\t")):
        return FileKind("a SAM file of aligned reads", "count it first, for example with Cell Ranger or STARsolo")
    if any(line.startswith("chr") and len(line.split("\t")) == 5 for line in lines[:60] if line[:1] != "#"):
        return FileKind("a file of ATAC fragments", "give the counts of genes; fragments have none")
    for separator, what in (("\t", "a tab-separated table"), (",", "a csv table"), (";", "a csv table (semicolons)")):
        if lines and separator in lines[0]:
            return FileKind(what, "", "text")
    if len(lines) > 1 and len(lines[0].split()) > 1 and len(lines[1].split()) > 1:
        return FileKind("a table separated by spaces", "", "text")
    return FileKind(f"a text that begins with {shown(repr(text[:40]))}", FORMATS)


def _zip_kind(path: str) -> FileKind:
    """Return what a zip archive holds, by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    except zipfile.BadZipFile:
        return FileKind("a damaged or incomplete zip archive", "write or download it again")
    files = [name for name in names if not name.endswith("/")]
    endings = {Path(name).name for name in files}
    if "[Content_Types].xml" in endings:
        return FileKind(
            "a spreadsheet or document of Office", "write the counts as h5ad; spreadsheets change gene names"
        )
    if files and all(name.endswith(".npy") for name in files):
        return FileKind("an npz file of numpy", "add the names of cells and genes, and write it as h5ad")
    if any(name.endswith(("/data.pkl",)) for name in files):
        return FileKind("a model or tensor of PyTorch", FORMATS)
    if endings & {".zgroup", "zarr.json", ".zmetadata"}:
        return FileKind("a zip of a zarr", "", "zip zarr")
    if any(name.endswith((".mtx", ".mtx.gz")) for name in files):
        return FileKind("a zip of an mtx folder", "", "zip mtx")
    if len(files) == 1 and files[0].endswith((".h5ad", ".h5", ".h5mu", ".loom")):
        return FileKind(f"a zip of {Path(files[0]).name}", "", "zip file")
    return FileKind(f"a zip archive with {listed(files, 3)}", "unpack it, and name the file or folder inside")


def unreadable_error(path: str, error: Exception) -> InputError:
    """Return the error for a file that a library fails to read, whatever the library's error.

    It is called damaged only where it is. Errors of h5py, anndata, zarr and isal have no common
    class.
    """
    reason = f"{type(error).__name__}: {shown(error, 300)}"
    if not os.path.exists(path):
        return InputError(f"{path}: cannot be read: no such file or folder; check the path")
    try:
        kind = file_kind(path)
    except OSError as failure:
        return InputError(f"{path}: cannot be read ({shown(failure, 200)}); is its owner you, and may you read it?")
    if kind.remedy:
        return refusal(path, kind)
    text = reason.lower()
    if any(part in text for part in _MISSING_FILTER):
        remedy = (
            "HDF5 lacks the filter that compressed it: write it with gzip, or install the Python package hdf5plugin"
        )
    elif any(part in text for part in _DAMAGE):
        remedy = "is it complete? Write or download it again"
    else:
        remedy = f"write it with a recent version of its program, or {FORMATS}"
    return InputError(f"{path}: cannot be read ({kind.name}; {reason}); {remedy}")


def refusal(path: str, kind: FileKind) -> InputError:
    """Return the error for a file of a kind that is not read."""
    return InputError(f"{path}: cannot be read: it is {kind.name}; {kind.remedy}")
