"""Datasets by address: fetched once by a job, then neither asked for nor computed again."""

import hashlib
import shutil
from pathlib import Path

import pytest

from conftest import planned, small_counts, snakemake, write_sheets
from fault_server import Fault, file_server
from refatlas.io.atomic import read_json

COUNTS = "results/reference/counts.h5ad"
OTHER = hashlib.sha256(b"other").hexdigest()
SIGNED = "?X-Amz-Signature=t0ken"


def content(folder: Path, seed: int) -> bytes:
    path = folder / f"content{seed}.h5ad"
    small_counts(seed=seed).write_h5ad(path)
    return path.read_bytes()


def sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


class Project:
    """A folder whose dataset `far` and query `q` are files of a server, and dataset `near` a file beside the sheet."""

    def __init__(self, folder: Path, server) -> None:
        self.folder, self.server, self.cache = folder, server, folder / "cache"
        self.hashes = {name: sha256(server.files[f"/{name}.h5ad"]) for name in ("far", "q")}
        small_counts(seed=2).write_h5ad(folder / "near.h5ad")
        self.write()

    def write(self, address: str = "", far: str | None = None, **config) -> None:
        """Write sheets and configuration: `address` of the dataset, `far` its SHA-256."""
        reference = [
            {
                "dataset": "far",
                "path": address or f"{self.server.url}/far.h5ad{SIGNED}",
                "sha256": self.hashes["far"] if far is None else far,
            },
            {"dataset": "near", "path": "near.h5ad", "sha256": ""},
        ]
        queries = [{"query": "q", "path": f"{self.server.url}/q.h5ad", "sha256": self.hashes["q"]}]
        write_sheets(self.folder, reference, queries, evaluation={"folds": 0}, **({"cache": "cache"} | config))

    def run(self, *arguments: str, check: bool = True):
        return snakemake(self.folder, "--cores", "1", *arguments, check=check)

    def planned(self, *arguments: str) -> dict[str, int]:
        return planned(snakemake(self.folder, "--dry-run", *arguments))

    def texts(self) -> str:
        """Every text that the runs have written, but for the sheets."""
        folders = [self.folder / name for name in ("results", "logs", "benchmarks", ".snakemake", "cache")]
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        return "".join(file.read_bytes().decode(errors="replace") for file in files if file.suffix != ".h5ad")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with file_server(far__h5ad=content(folder, 0), q__h5ad=content(folder, 1)) as running:
        yield running


@pytest.fixture(scope="module")
def done(tmp_path_factory, server):
    """A project whose reference has its counts, and what the run said."""
    project = Project(tmp_path_factory.mktemp("project"), server)
    assert project.planned(COUNTS)["fetch_file"] == 1
    assert server.requests == []
    run = project.run(COUNTS, "results/queries/q/counts.h5ad")
    project.said = run.stdout + run.stderr
    return project


def test_a_run_reads_files_by_address(done):
    assert [found["path"] for found in done.server.requests].count(f"/far.h5ad{SIGNED}") == 1
    scan = read_json(done.folder / "results/reference/datasets/far/scan.json")
    address = f"{done.server.url}/far.h5ad"
    assert scan["path"] == address
    assert scan["n_cells"] == 60
    link = f"results/fetched/{done.hashes['far']}/far.h5ad"
    size = len(done.server.files["/far.h5ad"])
    assert scan["checksums"] == {link: {"sha256": done.hashes["far"], "bytes": size, "address": address}}
    check = read_json(done.folder / "results/queries/q/check.json")
    assert check["path"] == f"{done.server.url}/q.h5ad"
    assert (done.folder / link).resolve() == done.cache / "sha256" / done.hashes["far"][:2] / done.hashes[
        "far"
    ] / "far.h5ad"


def test_no_secret_is_written(done):
    assert "t0ken" not in done.said
    assert "t0ken" not in done.texts()


def test_nothing_is_asked_for_or_planned_again(done):
    n = len(done.server.requests)
    assert done.planned(COUNTS, "results/queries/q/counts.h5ad") == {}
    done.run(COUNTS, "results/queries/q/counts.h5ad")
    assert len(done.server.requests) == n


def test_another_address_of_the_same_file_computes_nothing_again(done):
    done.write(address=f"{done.server.url}/elsewhere/far.h5ad")
    assert done.planned(COUNTS) == {}
    done.write()


def test_another_project_takes_the_file_from_the_cache(done, tmp_path):
    n = len(done.server.requests)
    other = Project(tmp_path, done.server)
    other.write(cache=str(done.cache))
    other.run(COUNTS)
    assert len(done.server.requests) == n
    assert (tmp_path / COUNTS).exists()


def test_an_emptied_cache_computes_nothing_again(done):
    shutil.rmtree(done.cache)
    assert done.planned(COUNTS) == {}
    # A forced run downloads nothing, and leaves nothing out.
    assert "fetch_file" not in done.planned("--forceall", "--", COUNTS)
    # Fetched again by the job that needs the file, from the sheet's address with its signature.
    n = len(done.server.requests)
    again = ("--forcerun", "build_reference", "--", COUNTS)
    assert done.planned(*again) == {"build_reference": 1}
    run = done.run(*again)
    assert [found["path"] for found in done.server.requests[n:]] == [f"/far.h5ad{SIGNED}"]
    assert done.planned(COUNTS) == {}
    assert (done.folder / f"results/fetched/{done.hashes['far']}/far.h5ad").exists()
    assert "t0ken" not in run.stdout + run.stderr + done.texts()


def test_a_further_download_that_fails_can_be_repeated(done):
    shutil.rmtree(done.cache)
    done.server.faults = [Fault(status=404)]
    again = ("--forcerun", "build_reference", "--", COUNTS)
    assert "the server answered 404" in done.run(*again, check=False).stderr
    assert done.planned(COUNTS) == {"build_reference": 1}
    done.run(COUNTS)
    assert done.planned(COUNTS) == {}


def test_without_sha256_the_file_is_kept_and_its_hash_said(server, tmp_path):
    project = Project(tmp_path, server)
    project.write(far="")
    n = len(server.requests)
    for _ in range(2):
        run = project.run(COUNTS, check=False)
        assert run.returncode
        place = f"reference.tsv, line 2: dataset 'far': {server.url}/far.h5ad has no sha256"
        assert place in run.stderr
        assert f"SHA-256 is {project.hashes['far']}; write it in column sha256 of reference.tsv" in run.stderr
        assert "t0ken" not in run.stderr + project.texts()
    assert len(server.requests) == n + 1
    project.write()
    project.run(COUNTS)
    assert len(server.requests) == n + 1


def test_a_wrong_sha256_is_an_error_and_leaves_nothing(server, tmp_path):
    project = Project(tmp_path, server)
    project.write(far=OTHER)
    run = project.run(COUNTS, check=False)
    assert f"the file has the SHA-256 {project.hashes['far']}, expected is {OTHER}" in run.stderr
    assert not list(project.cache.rglob("*.h5ad"))
    assert not list((tmp_path / "results/fetched").rglob("*.json"))


def test_a_sha256_of_a_file_beside_the_sheet_is_checked(tmp_path):
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    write_sheets(tmp_path, [{"dataset": "a", "path": "a.h5ad", "sha256": "0" * 64}], [{"query": "q", "path": "a.h5ad"}])
    run = snakemake(tmp_path, "--cores", "1", "results/reference/datasets/a/scan.json", check=False)
    assert "dataset 'a': a.h5ad has the SHA-256" in run.stderr
    (tmp_path / "reference.tsv").write_text(
        f"dataset\tpath\tsha256\na\ta.h5ad\t{sha256((tmp_path / 'a.h5ad').read_bytes())}\n"
    )
    snakemake(tmp_path, "--cores", "1", "results/reference/datasets/a/scan.json")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"sha256": "abc"}, "dataset 'a': sha256 'abc' is no SHA-256"),
        ({"path": "https://example.org/a.zarr"}, "is a zarr store, which is many files"),
        ({"path": "cellxgene:lung@2025-01-30"}, "is not the id of a dataset of CELLxGENE"),
        ({"path": "ftp://ann:s3cret@example.org/a.h5ad"}, "an address of a kind that is not read"),
        ({"metadata": "https://example.org/a.csv"}, "metadata: 'https://example.org/a.csv' is an address"),
        ({"path": ".", "sha256": "0" * 64}, "only single files have one"),
    ],
)
def test_what_cannot_be_fetched_is_refused_before_any_job(tmp_path, row, reason):
    small_counts().write_h5ad(tmp_path / "a.h5ad")
    write_sheets(tmp_path, [{"dataset": "a", "path": "a.h5ad", "sha256": ""} | row], [{"query": "q", "path": "a.h5ad"}])
    run = snakemake(tmp_path, "--dry-run", check=False)
    assert run.returncode
    assert reason in run.stdout + run.stderr
    assert "s3cret" not in run.stdout + run.stderr
