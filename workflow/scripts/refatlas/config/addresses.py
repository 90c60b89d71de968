"""Addresses of files in the sheets: what they mean, what may be shown of them, and where the cache keeps their files.

Light: Snakemake imports it at every start. Nothing here asks a server.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from refatlas.errors import InputError, shown

SCHEMES = ("https://", "http://", "s3://", "cellxgene:")
# Where the Census keeps the files that a release was made of, and CELLxGENE the versions of its datasets.
CENSUS_URL = "https://cellxgene-census-public-us-west-2.s3.us-west-2.amazonaws.com"
VERSIONS_URL = "https://datasets.cellxgene.cziscience.com"
# Takes the place of both: a mirror.
CELLXGENE_VARIABLE = "REFATLAS_CELLXGENE_URL"
CACHE_VARIABLE = "REFATLAS_CACHE"

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Endings of what is more than one file, or a part of it.
FOLDERS = (".zarr", ".zarr.zip")
PARTS = (".mtx", ".mtx.gz")
MAX_FILE_NAME = 150
# Parts of a query that sign an address, and do not tell which file it means: of Amazon, Google, CloudFront, and tokens.
# Any other name may tell which file it is, so the list is of whole names.
SIGNATURE = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|([a-z]+[_-])?token|api[_-]?key|secret|password|credential"
)
# The same of Azure, where `sig` signs the others.
AZURE = re.compile(r"sig|s[eprtv]|spr|sk[a-z]*")
MARKER = ".fetched.json"
CELLXGENE_FORM = (
    "write cellxgene:DATASET_ID@RELEASE, where RELEASE is the date of a Census release, such as 2025-01-30, or the id"
    " of a dataset version"
)


@dataclass(frozen=True)
class Address:
    """The address of one file.

    Attributes:
        text: as in the sheet. It may hold a password or a token.
        file: name of the file, which keeps the suffix that its reader looks at.
    """

    text: str
    file: str

    @property
    def safe(self) -> str:
        """The address without user, password and query: what may be shown and written."""
        return safe_address(self.text)

    def __repr__(self) -> str:
        return f"Address({self.safe!r})"


def is_address(path: str) -> bool:
    """Return whether a path in a sheet is an address."""
    return path.lower().startswith(SCHEMES)


def parse_address(text: str, where: str) -> Address:
    """Return an address, checked by its form alone.

    Args:
        where: begin of the message: the place in the sheet.

    Raises:
        InputError: it has no host or no file name, is of no dataset of CELLxGENE, or of a kind that
            is more than one file.
    """
    scheme = next(scheme for scheme in SCHEMES if text.lower().startswith(scheme))
    if scheme == "cellxgene:":
        return Address(text, f"{_cellxgene_parts(text, where)[0]}.h5ad")
    try:
        parts = urlsplit(text)
        host = parts.hostname
        parts.port  # noqa: B018  (raises if it is no number)
    except ValueError:
        raise InputError(f"{where}: {safe_address(text)} is not a valid address; check host and port") from None
    if not host or re.search(r"\s", text):
        raise InputError(f"{where}: {safe_address(text)} is not a valid address; write {scheme}HOST/FOLDER/FILE")
    _require_one_file(parts, f"{where}: {safe_address(text)}")
    return Address(text, _file_name(parts))


def _require_one_file(parts: SplitResult, place: str) -> None:
    """Raise an InputError for an address of a folder, or of a part of one."""
    path = unquote(parts.path).lower()
    if path.rstrip("/").endswith(FOLDERS) or any(f"{end}/" in path for end in FOLDERS):
        raise InputError(
            f"{place} is a zarr store, which is many files; only single files are read by address: download the store"
            " and give the path of its folder, or give the address of an h5ad"
        )
    if path.endswith(PARTS):
        raise InputError(
            f"{place} is one of the three files of an mtx matrix; only single files are read by address: download all"
            " three and give the path of their folder, or give the address of an h5 or h5ad"
        )
    if path.endswith("/") or not path:
        raise InputError(
            f"{place} names no file; only single files are read by address: give that of an h5ad, h5mu, h5, loom, csv"
            " or tsv file"
        )


def _file_name(parts: SplitResult) -> str:
    """Return the last part of the path as a plain file name; a long one is cut at its begin."""
    # The key of S3 may contain '?' and '#', which urlsplit takes for a query.
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", PurePosixPath(unquote(parts.path)).name)
    return name[-MAX_FILE_NAME:].lstrip(".-") or "file"


def _cellxgene_parts(text: str, where: str) -> tuple[str, str]:
    """Return the id of the dataset and the release."""
    dataset, _, release = text.split(":", 1)[1].partition("@")
    dataset, release = dataset.lower(), release.lower()
    if not UUID.fullmatch(dataset):
        raise InputError(
            f"{where}: {shown(text)!r}: {shown(dataset)!r} is not the id of a dataset of CELLxGENE (such as"
            f" 0041b9c3-6a49-4bf7-8514-9bc7190067a7); {CELLXGENE_FORM}"
        )
    if not DATE.fullmatch(release) and not UUID.fullmatch(release):
        found = f"{shown(release)!r} is no release" if release else "the release is missing"
        raise InputError(f"{where}: {shown(text)!r}: {found}; {CELLXGENE_FORM}")
    return dataset, release


def resolve(address: Address) -> str:
    """Return the https, http or s3 address that a file is fetched from."""
    if not address.text.lower().startswith("cellxgene:"):
        return address.text
    dataset, release = _cellxgene_parts(address.text, "address")
    base = os.environ.get(CELLXGENE_VARIABLE, "").rstrip("/")
    if DATE.fullmatch(release):
        return f"{base or CENSUS_URL}/cell-census/{release}/h5ads/{dataset}.h5ad"
    return f"{base or VERSIONS_URL}/{release}.h5ad"


def safe_address(text: str) -> str:
    """Return an address without what may be secret: user, password, query and fragment."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return shown(text, 300)
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return shown(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}", 300)


def check_sha256(text: str, where: str) -> str | None:
    """Return the SHA-256 in a cell of a sheet in small letters; None for an empty cell.

    Raises:
        InputError: it is none.
    """
    if not text:
        return None
    if not SHA256.fullmatch(text.lower()):
        raise InputError(
            f"{where}: sha256 {shown(text)!r} is no SHA-256: {len(text)} characters; expected are 64 of the digits 0-9"
            " and a-f, as sha256sum FILE prints them"
        )
    return text.lower()


def cache_folder() -> Path:
    """Return the folder of the cache: that of REFATLAS_CACHE, or refatlas in the user's cache folder.

    The config's `cache` is put into that variable at planning.
    """
    named = os.environ.get(CACHE_VARIABLE)
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(named or f"{caches}/refatlas").expanduser().absolute()


def use_cache(folder: object) -> None:
    """Make a folder the cache of this process and its jobs: as their parameter, it would compute results again when it
    moves.

    Args:
        folder: the config's `cache`, not validated yet; None keeps what the environment says.
    """
    if isinstance(folder, str) and folder:
        os.environ[CACHE_VARIABLE] = os.path.abspath(os.path.expanduser(folder))


def cached_path(cache: Path, sha256: str, file: str) -> Path:
    """Return where the cache keeps the file of a name with this SHA-256."""
    return cache / "sha256" / sha256[:2] / sha256 / file


def address_key(address: Address) -> str:
    """Return what stands for an address whose SHA-256 is unknown.

    It is the same whoever signs the address, and nothing secret can be found out from it.
    """
    query = parse_qsl(urlsplit(address.text).query, keep_blank_values=True)
    names = {name.lower() for name, _ in query}
    signing = {name for name in names if SIGNATURE.fullmatch(name) or ("sig" in names and AZURE.fullmatch(name))}
    kept = [pair for pair in query if pair[0].lower() not in signing]
    return f"address-{hashlib.sha256(repr((address.safe, kept)).encode()).hexdigest()[:16]}"


def marker_of(path: str) -> str:
    """Return the path of the small file that says that a file was fetched, and from where."""
    return f"{path}{MARKER}"
