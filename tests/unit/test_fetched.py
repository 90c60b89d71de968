"""Files by address in the cache: found there under any name, linked, and fetched again by jobs."""

import hashlib
import os

import pytest

from fault_server import file_server
from refatlas.config.addresses import cached_path, marker_of, parse_address
from refatlas.config.sheets import find_address, remember_sheets
from refatlas.errors import InputError
from refatlas.io.atomic import read_json
from refatlas.remote.fetched import (
    FIXED_TIME,
    data_files,
    fetch,
    fetch_linked,
    origin,
    refuse_unchecked,
    require_sha256,
    restore_fetched,
    sources,
)
from refatlas.resources import megabytes

CONTENT = b"counts" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def server():
    with file_server(a__h5ad=CONTENT, b__h5ad=CONTENT) as running:
        yield running


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def link(tmp_path):
    return str(tmp_path / "results/fetched" / SHA256 / "a.h5ad")


def at(server, name="a.h5ad"):
    return parse_address(f"{server.url}/{name}", "here")


def test_a_file_is_linked_and_its_marker_says_from_where(server, cache, link):
    fetch_linked(at(server), SHA256, link)
    cached = cached_path(cache, SHA256, "a.h5ad")
    assert os.readlink(link) == str(cached)
    assert cached.stat().st_mtime == FIXED_TIME
    marker = {"address": f"{server.url}/a.h5ad", "sha256": SHA256, "bytes": 6000}
    assert read_json(marker_of(link)) == marker


def test_the_same_content_under_another_name_is_not_fetched_again(server, cache):
    fetch(at(server), SHA256)
    assert fetch(at(server, "b.h5ad"), SHA256) == cached_path(cache, SHA256, "a.h5ad")
    assert len(server.requests) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(server, cache):
    cached = fetch(at(server), SHA256)
    cached.write_bytes(b"damaged")
    assert fetch(at(server), SHA256).read_bytes() == CONTENT
    cached.rename(cached.with_name("b.h5ad"))
    cached.with_name("b.h5ad").write_bytes(b"damaged")
    assert fetch(at(server), SHA256) == cached
    assert cached.read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_to_is_read(server, cache, monkeypatch):
    cached = fetch(at(server), SHA256)

    def refused(*_):
        raise InputError("files cannot be written there")

    monkeypatch.setattr("refatlas.remote.locks._open_lock", refused)
    assert fetch(at(server), SHA256) == cached


def test_without_a_hash_the_file_is_kept_and_asked_for_once(server, cache):
    for _ in range(2):
        with pytest.raises(InputError, match=rf"row 2: .* SHA-256 is {SHA256}; write it in column sha256 of q\.tsv"):
            refuse_unchecked(at(server), "row 2", "q.tsv")
    assert len(server.requests) == 1
    fetch(at(server), SHA256)
    assert len(server.requests) == 1
    # Not kept any more, it is fetched again.
    cached_path(cache, SHA256, "a.h5ad").unlink()
    with pytest.raises(InputError, match=SHA256):
        refuse_unchecked(at(server), "row 2", "q.tsv")
    assert len(server.requests) == 2


def test_a_job_fetches_what_left_the_cache(server, cache, link, monkeypatch, tmp_path):
    sheet = tmp_path / "reference.tsv"
    monkeypatch.setenv("REFATLAS_SHEETS", f"{sheet}\n")
    # By another address than at first, with a secret.
    sheet.write_text(f"dataset\tpath\tsha256\na\t{server.url}/folder/a.h5ad?token=t0ken\t{SHA256}\n")
    server.files["/folder/a.h5ad"] = CONTENT
    fetch_linked(at(server), SHA256, link)
    inputs = [str(tmp_path / "cells.parquet"), marker_of(link)]
    restore_fetched(inputs)
    assert len(server.requests) == 1
    # The cache may be elsewhere by now.
    cached_path(cache, SHA256, "a.h5ad").unlink()
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "moved"))
    restore_fetched(inputs)
    assert server.requests[-1]["path"] == "/folder/a.h5ad?token=t0ken"
    assert os.readlink(link) == str(cached_path(tmp_path / "moved", SHA256, "a.h5ad"))
    assert os.stat(link).st_mtime == FIXED_TIME
    sheet.write_text("dataset\tpath\n")
    cached_path(tmp_path / "moved", SHA256, "a.h5ad").unlink()
    with pytest.raises(InputError, match=r"no row of .* names it any more"):
        restore_fetched(inputs)


def test_a_workflow_with_several_modules_finds_the_addresses_of_each(monkeypatch, tmp_path):
    monkeypatch.delenv("REFATLAS_SHEETS", raising=False)
    for name in ("human", "mouse", "human"):
        sheet = tmp_path / f"{name}.tsv"
        sheet.write_text(f"dataset\tpath\tsha256\n{name}\thttps://example.org/{name}.h5ad\t{SHA256}\n")
        remember_sheets(str(sheet), None)
    for name in ("human", "mouse"):
        address, place, path = find_address(f"{SHA256}/{name}.h5ad")
        assert address.text == f"https://example.org/{name}.h5ad"
        assert path == str(tmp_path / f"{name}.tsv")
        assert name in place
    assert os.environ["REFATLAS_SHEETS"].count("human.tsv") == 1


def test_jobs_read_links_in_place_of_markers(server, cache, link, tmp_path):
    fetch_linked(at(server), SHA256, link)
    near = tmp_path / "near.csv"
    near.write_text("cell")
    assert data_files([marker_of(link), str(near)]) == [link, str(near)]
    assert (origin(link), origin(str(near))) == (f"{server.url}/a.h5ad", str(near))
    found = sources([link, str(near)])
    assert found[link] == {"sha256": SHA256, "bytes": 6000, "address": f"{server.url}/a.h5ad"}
    assert set(found[str(near)]) == {"sha256", "bytes", "modified"}


def test_the_size_of_a_fetched_file_counts_also_when_it_left_the_cache(server, cache, link):
    assert megabytes([marker_of(link)]) == 0
    fetch_linked(at(server), SHA256, link)
    cached_path(cache, SHA256, "a.h5ad").unlink()
    assert megabytes([marker_of(link)]) == 6000 / 2**20


def test_the_hash_of_a_local_file_is_checked(tmp_path):
    path = tmp_path / "a.h5ad"
    path.write_bytes(CONTENT)
    require_sha256({"path": str(path)}, "dataset 'a'")
    require_sha256({"path": str(path), "sha256": SHA256}, "dataset 'a'")
    with pytest.raises(InputError, match=rf"dataset 'a': .*a\.h5ad has the SHA-256 {SHA256}, and .* is {OTHER}"):
        require_sha256({"path": str(path), "sha256": OTHER}, "dataset 'a'")
