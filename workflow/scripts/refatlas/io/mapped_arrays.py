"""Arrays in an npz file that is mapped into memory, not copied, when it is read.

The file is one of numpy's, without compression, whose values begin at multiples of 64 bytes. Files
that numpy itself wrote are read, too.
"""

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from refatlas.io.atomic import atomic_path

ALIGNMENT = 64
# Of a zip file: the header of a member, up to its name, and the extra field of sizes beyond 4 GB.
HEADER, LONG_SIZES = struct.Struct("<4s5H3L2H"), 20
# An extra field of this type is skipped by readers; Android's tools align members with it, too.
PADDING = 0xD935


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays to an npz file, atomically."""
    with atomic_path(path) as part, zipfile.ZipFile(part, "w", allowZip64=True) as file:
        assert file.fp is not None
        for name, values in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            start = file.fp.tell() + HEADER.size + len(member.filename.encode()) + LONG_SIZES + 4
            member.extra = struct.pack("<HH", PADDING, -start % ALIGNMENT) + bytes(-start % ALIGNMENT)
            with file.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(values), allow_pickle=False)


def map_arrays(path: str | Path, threads: int = 2) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file; their checksums are compared.

    Memory is taken only by values that are changed, which does not change the file.

    Raises:
        ValueError: the file is damaged, compressed, or has objects.
    """
    with open(path, "rb") as stream, zipfile.ZipFile(stream) as file:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        members = file.infolist()
    with ThreadPoolExecutor(threads) as pool:
        arrays = list(pool.map(lambda member: _array(content, member), members))
    return {member.filename.removesuffix(".npy"): values for member, values in zip(members, arrays, strict=True)}


def _array(content: mmap.mmap, member: zipfile.ZipInfo) -> np.ndarray:
    start = _start(content, member)
    # isal needs a third of zlib's time for it.
    if isal_zlib.crc32(memoryview(content)[start : start + member.file_size]) != member.CRC:
        raise ValueError(f"{member.filename}: the checksum differs")
    stream = io.BytesIO(content[start : start + min(member.file_size, 4096)])
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{member.filename}: objects are not read")
    values = np.frombuffer(content, dtype, math.prod(shape), start + stream.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    return values if values.flags.aligned else values.copy()


def _start(content: mmap.mmap, member: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin."""
    name_start = member.header_offset + HEADER.size
    header = content[member.header_offset : name_start]
    if len(header) < HEADER.size or not header.startswith(b"PK\3\4"):
        raise ValueError(f"{member.filename}: it has no header")
    *_, name_size, extra_size = HEADER.unpack(header)
    start = name_start + name_size + extra_size
    if member.compress_type != zipfile.ZIP_STORED or start + member.file_size > len(content):
        raise ValueError(f"{member.filename}: it is compressed, or cut off")
    return start
