"""Formats that are not read, by the first bytes of a file, and what to do instead.

Light: Snakemake imports it at every start.
"""

from dataclasses import dataclass
from pathlib import Path

FORMATS = "give an h5ad, h5mu, zarr, loom, 10x h5, or the folder of an mtx"
_BY_CONTENT = "read it there, and write the counts as h5ad"
_R_LINES = 'in R, run `sce <- {read}` and then `zellkonverter::writeH5AD(sce, "{stem}.h5ad")`'
_IF_SEURAT = " (for a Seurat object, put `sce <- Seurat::as.SingleCellExperiment(sce)` between them)"
# Formats that are not read: first bytes, name, and what to do.
MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"X\n\0\0\0", "an RDS file of R", "RDS"),
    (b"A\n2\n", "an RDS file of R", "RDS"),
    (b"A\n3\n", "an RDS file of R", "RDS"),
    (b"RDX", "an RData file of R", "RDATA"),
    (b"RDA", "an RData file of R", "RDATA"),
    (b"\x0b\x0e\x0a\x0c", "a qs file of R", "QS"),
    (b"\x0b\x0e\x0a\xc1", "a qs2 file of R", "QS2"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file", "run `git lfs pull` to get the file"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd", "decompress it with `zstd -d`"),
    (b"BAM\1", "a BAM file of aligned reads", "count it first, for example with Cell Ranger or STARsolo"),
    (b"CRAM", "a CRAM file of aligned reads", "count it first, for example with Cell Ranger or STARsolo"),
    (b"SQLite format 3", "an SQLite database", _BY_CONTENT),
    (b"%PDF", "a PDF document", FORMATS),
    (b"\x89PNG", "a PNG image", FORMATS),
    (b"PAR1", "a parquet table", "a table of cell columns belongs into the column metadata; " + FORMATS),
    (b"ARROW1", "an Arrow (feather) table", _BY_CONTENT),
    (b"\x93NUMPY", "a numpy array without names of cells and genes", "add the names, and write it as h5ad"),
    (b"MATLAB 7.3", "a MATLAB 7.3 file", "write it as h5ad, for example with h5py and anndata"),
    (b"MATLAB 5.0", "a MATLAB file", "write it as h5ad, for example with scipy.io.loadmat and anndata"),
    (b"CDF\1", "a NetCDF file", FORMATS),
    (b"CDF\2", "a NetCDF file", FORMATS),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it, and name the file or folder inside"),
    (b"Rar!", "a RAR archive", "unpack it, and name the file or folder inside"),
    (b"%%MatrixMarket", "the matrix of an mtx folder", ""),
)
R_READERS = {
    "RDS": 'readRDS("{path}")',
    "RDATA": 'get(load("{path}"))',
    "QS": 'qs::qread("{path}")',
    "QS2": 'qs2::qs_read("{path}")',
    "H5SEURAT": 'Seurat::as.SingleCellExperiment(SeuratDisk::LoadH5Seurat("{path}"))',
    "LOADED": "{path}",
}


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: with an article, such as "a loom file".
        remedy: what to do if it cannot be read; "" if it can.
        detail: short name for code, such as "hdf5", "gzip", "zip", "text"; "" for what is not read.
    """

    name: str
    remedy: str = ""
    detail: str = ""


def r_remedy(path: str, reader: str = "RDS") -> str:
    """Return the two lines of R that write a file of R as h5ad."""
    name = Path(path).name
    lines = _R_LINES.format(read=R_READERS[reader].format(path=name), stem=name.split(".")[0])
    return lines if reader == "H5SEURAT" else lines + _IF_SEURAT
