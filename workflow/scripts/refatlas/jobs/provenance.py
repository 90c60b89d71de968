"""What a result came from: each job leaves a record beside its log, with versions, device,
settings, time and memory as they were when it ran.
"""

import hashlib
import json
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import refatlas
from refatlas.errors import InputError

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
WORKFLOW = Path(refatlas.__file__).parents[2]


def record_file(log: str) -> Path:
    """Return where the record of the job with this log stands."""
    return Path(log).with_suffix(".json")


def job_record(smk, started: float) -> dict:
    """Return what a job was: rule, wildcards, parameters, files, versions of the packages it used,
    device, seconds and peak memory (MB), and what it had asked for.

    Args:
        started: time.monotonic() at its start.
    """
    seconds = time.monotonic() - started
    return {
        "rule": smk.rule,
        "wildcards": dict(smk.wildcards.items()),
        "params": dict(smk.params.items()),
        "inputs": list(smk.input),
        "outputs": list(smk.output),
        "packages": {"python": platform.python_version(), **loaded_versions()},
        "device": device(),
        "threads": smk.threads,
        "started": datetime.fromtimestamp(time.time() - seconds, UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "peak_mb": round(peak_mb()),
        "asked": {name: smk.resources.get(name) for name in ("mem_mb", "runtime")},
    }


def loaded_versions() -> dict[str, str]:
    """Return the versions of the packages that this process has imported."""
    found = {}
    for module, package in PACKAGES.items():
        if module in sys.modules:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = str(getattr(sys.modules[module], "__version__", "unknown"))
    return found


def device() -> str:
    """Return the name of the GPU that this process could use, or "cpu"."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "cpu"


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which begins with what the process held that started this one.
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def read_records(logs: Path, known: dict[str, list[str]]) -> list[dict]:
    """Return the records of the jobs whose outputs are there, in the order in which they ran.

    Args:
        logs: folder of all logs. known: the names that each wildcard has today; records of others
            are left out, because their results are no longer made.
    """
    # A name with a dot before it is of a record that is being written, or of a job that was killed
    # while it did so.
    records = [_read_record(path) for path in logs.rglob("*.json") if not path.name.startswith(".")]
    current = [
        r
        for r in records
        if all(value in known.get(name, [value]) for name, value in r["wildcards"].items())
        and all(Path(path).exists() for path in r["outputs"])
    ]
    return sorted(current, key=lambda record: record["started"])


def _read_record(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}): it is the record of the job whose log stands beside it. Delete it, and run"
            " that job again with --forcerun if the record matters"
        ) from error


def summary(records: list[dict]) -> list[dict]:
    """Return for each rule its jobs, their seconds, the highest memory and the devices; slowest
    first.
    """
    rows = {}
    for record in records:
        row = rows.setdefault(
            record["rule"], {"rule": record["rule"], "jobs": 0, "seconds": 0.0, "peak_mb": 0, "devices": []}
        )
        row["jobs"] += 1
        row["seconds"] += record["seconds"]
        row["peak_mb"] = max(row["peak_mb"], record["peak_mb"])
        row["devices"] = sorted({*row["devices"], record["device"]})
    return sorted(rows.values(), key=lambda row: -row["seconds"])


def versions(records: list[dict]) -> dict[str, list[str]]:
    """Return every version of every package that any job used."""
    found: dict[str, set[str]] = {}
    for record in records:
        for package, used in record["packages"].items():
            found.setdefault(package, set()).add(used)
    return {package: sorted(used) for package, used in sorted(found.items())}


def code() -> dict:
    """Return the workflow's version, a checksum of its files, and the commit that they are of (None
    outside of a git checkout).
    """
    digest = hashlib.sha256()
    files = [path for path in WORKFLOW.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in sorted(files):
        digest.update(f"{path.relative_to(WORKFLOW)}\0".encode() + path.read_bytes())
    return {
        "version": refatlas.__version__,
        "sha256": digest.hexdigest(),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", ".")),
    }


def _git(*arguments: str) -> str | None:
    """Return what git says of the workflow's folder; None where there is no git or no checkout."""
    try:
        said = subprocess.run(["git", *arguments], cwd=WORKFLOW, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return said.stdout.strip() if said.returncode == 0 else None
