"""Provenance of results.

Each job leaves a record beside its log, with versions, device, settings, run time and memory.
provenance.json has them all.
"""

import hashlib
import json
import platform
import re
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import refatlas
from refatlas.errors import InputError
from refatlas.io.atomic import read_json
from refatlas.jobs.imports import is_used

# Packages that are recorded, by the name of their module.
PACKAGES = {
    "anndata": "anndata",
    "h5py": "h5py",
    "numba": "numba",
    "numpy": "numpy",
    "pandas": "pandas",
    "scanpy": "scanpy",
    "scarches": "scarches",
    "scib_metrics": "scib-metrics",
    "scHPL": "scHPL",
    "scipy": "scipy",
    "scvi": "scvi-tools",
    "sklearn": "scikit-learn",
    "snakemake": "snakemake",
    "torch": "torch",
    "umap": "umap-learn",
}
PACKAGE = Path(refatlas.__file__).parent
MIB = 2**20

Record = dict[str, Any]


def record_file(log: str) -> Path:
    """Return the path of the record of the job with this log."""
    return Path(log).with_suffix(".json")


def job_record(smk: Any, started: float) -> Record:
    """Return the record of a job.

    It has the rule with its revision, wildcards, parameters, files, versions, device, run time in
    seconds, peak memory in MB, and the resources that the job requested.

    Args:
        started: time.monotonic() when the job started.
    """
    seconds = time.monotonic() - started
    params = dict(smk.params.items())
    return {
        "rule": smk.rule,
        "revision": revision_number(params.pop("revision", None)),
        "version": refatlas.__version__,
        "wildcards": dict(smk.wildcards.items()),
        "params": params,
        "inputs": list(smk.input),
        "outputs": list(smk.output),
        "packages": {"python": platform.python_version(), **imported_versions()},
        "device": device_name(),
        "threads": smk.threads,
        "started": datetime.fromtimestamp(time.time() - seconds, UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "peak_mb": round(peak_mb()),
        "requested": {name: smk.resources.get(name) for name in ("mem_mb", "runtime")},
    }


def revision_number(revision: str | None) -> int | None:
    """Return the number in a parameter of `refatlas.revisions.revision`; None without one."""
    found = re.match(r"revision (\d+)\b", revision or "")
    return int(found[1]) if found else None


def imported_versions() -> dict[str, str]:
    """Return the versions of the packages that this job has imported."""
    found = {}
    for module, package in PACKAGES.items():
        if is_used(module):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = str(getattr(sys.modules[module], "__version__", "unknown"))
    return found


def device_name() -> str:
    """Return the name of the GPU that this process could use, or "cpu"."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "cpu"


def peak_mb() -> float:
    """Return the peak memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which starts with the memory of the process that started this one.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 2**10 / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10) / MIB


def read_records(logs: Path, known: dict[str, list[str]]) -> list[Record]:
    """Return the records of the jobs whose outputs exist, in the order in which they started.

    Records of version 0.1 are left out: its results are in other places.

    Args:
        logs: folder of all logs.
        known: values that each wildcard can have now. Records with others are left out, because the
            configuration and the sheets no longer ask for these results.
    """
    # Names with a leading dot are temporary: of a record that is being written, or of a killed job.
    records = [_read_record(path) for path in logs.rglob("*.json") if not path.name.startswith(".")]
    current = [
        record
        for record in records
        if "version" in record
        and all(value in known.get(name, [value]) for name, value in record["wildcards"].items())
        and all(Path(path).exists() for path in record["outputs"])
    ]
    return sorted(current, key=lambda record: record["started"])


def _read_record(path: Path) -> Record:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}): it is the record of the job whose log is beside it. Delete it; to have it"
            " again, run that job again with --forcerun"
        ) from error


def input_files(summaries: dict[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return SHA-256, size in bytes and time of change of the users' files, by name and path.

    Args:
        summaries: scan.json of datasets or check.json of queries, by name.
    """
    return {name: read_json(path)["checksums"] for name, path in summaries.items()}


def collect_provenance(records: list[Record], files: dict[str, dict], config: dict[str, Any]) -> dict[str, Any]:
    """Return the content of provenance.json.

    It has the workflow's code, seed, configuration, users' files, versions, a summary of each rule,
    and all records.

    Args:
        records: of `read_records`.
        files: of `input_files`, of "datasets" and "queries".
        config: with all defaults.
    """
    return {
        "workflow": describe_code(),
        "seed": config["seed"],
        "config": config,
        "files": files,
        "packages": package_versions(records),
        "rules": summarize_rules(records),
        "jobs": records,
    }


def report_provenance(provenance: dict[str, Any]) -> None:
    """Print how many jobs and files there are."""
    n_files = {sheet: sum(map(len, rows.values())) for sheet, rows in provenance["files"].items()}
    print(
        f"{len(provenance['jobs'])} jobs, {n_files['datasets']} files of datasets, {n_files['queries']} files of"
        " queries"
    )


def summarize_rules(records: list[Record]) -> list[dict[str, Any]]:
    """Return one row per rule, the slowest first.

    A row has the revisions, versions of refatlas, number of jobs, their run time in seconds,
    highest peak memory in MB, and devices.
    """
    rows = []
    for rule in dict.fromkeys(record["rule"] for record in records):
        jobs = [record for record in records if record["rule"] == rule]
        rows.append(
            {
                "rule": rule,
                "revisions": sorted({job["revision"] for job in jobs if job["revision"] is not None}),
                "versions": sorted({job["version"] for job in jobs}),
                "jobs": len(jobs),
                "seconds": sum(job["seconds"] for job in jobs),
                "peak_mb": max(job["peak_mb"] for job in jobs),
                "devices": sorted({job["device"] for job in jobs}),
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])


def package_versions(records: list[Record]) -> dict[str, list[str]]:
    """Return all versions of each package that any job has used."""
    found: dict[str, set[str]] = {}
    for record in records:
        for package, used in record["packages"].items():
            found.setdefault(package, set()).add(used)
    return {package: sorted(used) for package, used in sorted(found.items())}


def describe_code() -> dict[str, Any]:
    """Return the workflow's version, SHA-256 of its files, git commit, and whether files differ.

    Commit is None outside of a git checkout.
    """
    digest = hashlib.sha256()
    # All of workflow/ in a checkout, the package alone where that is installed.
    in_checkout = PACKAGE.parents[1].name == "workflow"
    folder = PACKAGE.parents[1] if in_checkout else PACKAGE
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if not any(part == "__pycache__" or part.endswith(".egg-info") for part in name.parts):
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return {
        "version": refatlas.__version__,
        "sha256": digest.hexdigest(),
        "commit": _git("rev-parse", "HEAD") if in_checkout else None,
        "changed": bool(_git("status", "--porcelain", "--", str(folder))) if in_checkout else False,
    }


def _git(*arguments: str) -> str | None:
    """Return the output of a git command in the workflow's folder; None outside of a checkout."""
    try:
        run = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None
