"""Addresses in sheets: their form, what may be shown of them, and where their files are kept."""

import subprocess
import sys
from pathlib import Path

import pytest

from refatlas.config.addresses import (
    address_key,
    cache_folder,
    cached_path,
    check_sha256,
    is_address,
    parse_address,
    resolve,
    safe_address,
)
from refatlas.errors import InputError

DATASET = "0041b9c3-6a49-4bf7-8514-9bc7190067a7"
VERSION = "f5efcb4c-99ca-4afb-9f22-af975525e42f"
SECRET = "https://ann:s3cret@example.org:8443/data/a%20b.h5ad?X-Amz-Signature=t0ken&part=1#top"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("https://example.org/a.h5ad", True),
        ("HTTP://example.org/a.h5ad", True),
        ("s3://bucket/a.h5ad", True),
        (f"cellxgene:{DATASET}@2025-01-30", True),
        ("data/a.h5ad", False),
        ("/data/https/a.h5ad", False),
        ("ftp://example.org/a.h5ad", False),
    ],
)
def test_an_address_is_told_by_its_begin(path, expected):
    assert is_address(path) is expected


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("https://example.org/data/a.h5ad", "a.h5ad"),
        (SECRET, "a_b.h5ad"),
        ("s3://bucket/folder/matrix.h5", "matrix.h5"),
        ("https://example.org/counts.csv.gz?download=1", "counts.csv.gz"),
        ("https://example.org/..%2F..%2Fetc%2F.h5ad", "h5ad"),
        (f"cellxgene:{DATASET.upper()}@2025-01-30", f"{DATASET}.h5ad"),
    ],
)
def test_the_file_name_keeps_the_suffix_and_drops_the_query(text, file):
    assert parse_address(text, "here").file == file


def test_a_long_file_name_keeps_its_suffix():
    file = parse_address(f"https://example.org/{'a' * 400}.h5ad", "here").file
    assert len(file) == 150
    assert file.endswith("a.h5ad")


def test_what_is_shown_has_no_password_and_no_token():
    address = parse_address(SECRET, "here")
    assert address.safe == "https://example.org:8443/data/a%20b.h5ad"
    assert "s3cret" not in repr(address)
    assert "t0ken" not in repr(address)
    assert safe_address("https://ann:p@ss@example.org/a@b.h5ad") == "https://example.org/a@b.h5ad"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://example.org/store.zarr", "zarr store, which is many files"),
        ("https://example.org/store.zarr/X/0", "zarr store, which is many files"),
        ("s3://bucket/store.zarr/", "zarr store, which is many files"),
        ("https://example.org/a/matrix.mtx.gz", "one of the three files of an mtx"),
        ("https://example.org/filtered/", "names no file"),
        ("https://example.org", "names no file"),
        ("https:///a.h5ad", "not a valid address"),
        ("https://example.org:port/a.h5ad", "not a valid address"),
        ("https://example.org/a b.h5ad", "not a valid address"),
        ("cellxgene:lung@2025-01-30", "'lung' is not the id of a dataset"),
        (f"cellxgene:{DATASET}", "the release is missing"),
        (f"cellxgene:{DATASET}@latest", "'latest' is no release"),
    ],
)
def test_addresses_that_cannot_be_read_are_refused(text, reason):
    with pytest.raises(InputError, match=reason) as error:
        parse_address(text, "reference.tsv, line 2: dataset 'a': path")
    assert "reference.tsv, line 2" in str(error.value)


def test_a_refusal_shows_no_secret():
    with pytest.raises(InputError) as error:
        parse_address("https://ann:s3cret@example.org:port/a.h5ad?token=t0ken", "here")
    assert "s3cret" not in str(error.value)
    assert "t0ken" not in str(error.value)


def test_cellxgene_is_the_census_by_date_and_a_version_by_id(monkeypatch):
    monkeypatch.delenv("REFATLAS_CELLXGENE_URL", raising=False)
    by_date = resolve(parse_address(f"cellxgene:{DATASET}@2025-01-30", "here"))
    bucket = "https://cellxgene-census-public-us-west-2.s3.us-west-2.amazonaws.com"
    assert by_date == f"{bucket}/cell-census/2025-01-30/h5ads/{DATASET}.h5ad"
    by_version = resolve(parse_address(f"cellxgene:{DATASET}@{VERSION}", "here"))
    assert by_version == f"https://datasets.cellxgene.cziscience.com/{VERSION}.h5ad"


def test_a_mirror_of_cellxgene_is_named_by_a_variable(monkeypatch):
    monkeypatch.setenv("REFATLAS_CELLXGENE_URL", "http://127.0.0.1:1/mirror/")
    address = parse_address(f"cellxgene:{DATASET}@2025-01-30", "here")
    assert resolve(address) == f"http://127.0.0.1:1/mirror/cell-census/2025-01-30/h5ads/{DATASET}.h5ad"


def test_other_addresses_are_asked_for_as_they_are():
    assert resolve(parse_address(SECRET, "here")) == SECRET


def test_planning_loads_no_library_for_downloads():
    code = """
import sys
import refatlas.config.sheets, refatlas.config.addresses, refatlas.resources
print(sorted({"requests", "boto3", "urllib3", "pandas", "numpy"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_sha256_has_64_digits():
    assert check_sha256("", "here") is None
    assert check_sha256("AB" * 32, "here") == "ab" * 32
    for wrong in ("ab" * 31, "xy" * 32, "sha256:" + "ab" * 32):
        with pytest.raises(InputError, match=r"here: sha256 .* expected are 64 of the digits"):
            check_sha256(wrong, "here")


def test_the_cache_is_named_by_a_variable(monkeypatch):
    monkeypatch.setenv("REFATLAS_CACHE", "/data/cache")
    assert cache_folder() == Path("/data/cache")
    monkeypatch.delenv("REFATLAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/ann/.cache")
    assert cache_folder() == Path("/home/ann/.cache/refatlas")
    digest = "ab" + "0" * 62
    assert cached_path(Path("/c"), digest, "a.h5ad") == Path(f"/c/sha256/ab/{digest}/a.h5ad")


def test_the_key_of_an_address_does_not_change_with_its_signature():
    keys = [address_key(parse_address(f"https://example.org/a.h5ad?X-Amz-Signature={i}", "here")) for i in "12"]
    assert keys[0] == keys[1]
    assert keys[0] != address_key(parse_address("https://example.org/b.h5ad", "here"))


@pytest.mark.parametrize("name", ["key", "file_key", "sp", "se", "st", "policy_id", "expires_after"])
def test_addresses_whose_query_names_another_file_are_not_one(name):
    first, second = (
        address_key(parse_address(f"https://example.org/data.h5ad?{name}={value}", "here")) for value in "AB"
    )
    assert first != second


def test_a_signature_of_azure_does_not_count():
    first, second = (
        address_key(parse_address(f"https://example.org/a.h5ad?sv=2022&se={day}&sp=r&sig={day}", "here"))
        for day in "12"
    )
    assert first == second
