"""Kills jobs and Snakemake at random moments, fills the disk, changes inputs, and compares all results with those of an
undisturbed run.

usage: .venv/bin/python measurements/faults.py TRIAL DATA WORK [--kills N] [--seed SEED]
    TRIAL  kills: until at least N kills. faults: every other fault once, or at every rule. all: both
    DATA   folder of kang_ctrl_8donors_1287g.h5ad
    WORK   folder to work in: projects with their expected results stay there, and a later call continues with them

Kinds of kills: a job at a random moment (job), while it writes a file, just before or after the file gets its name
(writing, before, after), Snakemake with all its jobs (group), or Snakemake alone, whose jobs continue while it is
started again (snakemake). Every trial is recorded in WORK/trials.jsonl, and a table is printed at the end.
Linux only; a full disk and a read-only one are mounted, which needs root.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import psutil
import yaml

REPO = Path(__file__).resolve().parents[1]
SCRIPT = re.compile(r"\.snakemake/scripts/\w+\.(\w+)\.py$")
PART = re.compile(r"\.part(\.\w+)?$")
# What differs between two equal runs: times, memory, and in scan.json and check.json the times of the files.
TIMES = ("seconds", "cells_per_second", "started", "modified", "peak_mb", "files")
KINDS = {"job": 0.45, "writing": 0.13, "before": 0.08, "after": 0.14, "group": 0.12, "snakemake": 0.08}
SHARE_KILLED = 0.9
# Most kills of one script in a round; fewer of scripts that take longer than SLOW seconds.
MOST, MOST_IF_SLOW, SLOW = 6, 2, 40
TOLERANCE = 1e-5

# Loaded by every Python that the harness starts: a job with an order, a file named by its process id, obeys it when it
# gives a file its name.
OBEY = """
import os, signal, sys, time
if any(".snakemake/scripts/" in argument for argument in sys.orig_argv):
    replace, calls = os.replace, [0]
    def obey(source, target, **keys):
        order = os.path.join(os.environ["FAULTS_ORDERS"], str(os.getpid()))
        calls[0] += 1
        if not os.path.exists(order):
            return replace(source, target, **keys)
        kind, number = open(order).read().split()
        if calls[0] != int(number):
            return replace(source, target, **keys)
        if kind == "writing" and os.path.isfile(source):
            os.truncate(source, os.path.getsize(source) // 2)
        if kind in ("after", "late"):
            replace(source, target, **keys)
        if kind == "late":
            replace(order, order + ".obeyed")
            replace(target, str(target) + ".late")
            if os.fork() == 0:
                os.setsid()
                time.sleep(4)
                replace(str(target) + ".late", target)
                os._exit(0)
            return
        replace(order, order + ".obeyed")
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace = obey
"""


class Project:
    """A folder with a small real reference, a query and a configuration, in which Snakemake runs.

    Attributes:
        targets: what Snakemake makes; everything, if there are none. usual: seconds that a script's
            process usually lives.
    """

    def __init__(self, folder: Path, targets: tuple[str, ...] = ()) -> None:
        self.folder, self.targets = folder, targets
        self.usual: dict[str, float] = {}

    @property
    def results(self) -> Path:
        """The folder of results, or of the demo's files."""
        return self.folder / ("demo" if self.folder.name == "demo" else "results")

    @property
    def output(self) -> Path:
        """The file with all output of Snakemake."""
        return self.folder / "output.txt"

    def output_size(self) -> int:
        """Return the size of the output so far, in bytes."""
        return self.output.stat().st_size if self.output.exists() else 0

    @property
    def expected(self) -> Path:
        """The results of an undisturbed run."""
        return self.folder / "expected"

    def start(self, *arguments: str, targets: tuple[str, ...] | None = None) -> subprocess.Popen:
        """Start Snakemake in a process group of its own; its output is appended to output.txt."""
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            REPO / "Snakefile",
            "--directory",
            self.folder,
            "--configfile",
            self.folder / "config.yaml",
        ]
        command += [
            "--cores",
            "2",
            "--resources",
            "gpu=2",
            *arguments,
            "--",
            *(self.targets if targets is None else targets),
        ]
        (self.folder / "orders").mkdir(exist_ok=True)
        (self.folder / "site").mkdir(exist_ok=True)
        (self.folder / "site/sitecustomize.py").write_text(OBEY)
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "site"),
            "FAULTS_ORDERS": str(self.folder / "orders"),
            "OMP_NUM_THREADS": "1",
        }
        with self.output.open("a") as stream:
            return subprocess.Popen(
                list(map(str, command)),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                cwd="/",
            )

    def run(self, *arguments: str, targets: tuple[str, ...] | None = None) -> tuple[int, str]:
        """Run Snakemake to its end; return its exit code and output."""
        before = self.output_size()
        code = self.start(*arguments, targets=targets).wait()
        return code, self.output.read_text(errors="replace")[before:]

    def finish(self) -> str:
        """Run Snakemake to its end, which must be a good one; return its output."""
        code, output = self.run()
        if code:
            raise SystemExit(f"{self.folder}: Snakemake ended with {code}:\n{output[-3000:]}")
        return output

    def make_expected(self) -> None:
        """Make the expected results and measure the usual times of scripts, unless an earlier call has."""
        times = self.folder / "usual.json"
        if not times.exists():
            process, born, lived = self.start(), {}, {}
            while process.poll() is None:
                time.sleep(0.1)
                for job, script in running(process.pid):
                    born.setdefault(job.pid, (script, time.time()))
                for pid in [pid for pid in born if not psutil.pid_exists(pid)]:
                    script, start = born.pop(pid)
                    lived.setdefault(script, []).append(time.time() - start)
            if process.returncode:
                raise SystemExit(f"{self.folder}: the undisturbed run failed; see output.txt there")
            shutil.copytree(self.results, self.expected)
            times.write_text(
                json.dumps({script: float(np.median(seconds)) for script, seconds in lived.items()}, indent=1)
            )
        self.usual = json.loads(times.read_text())


def running(pid: int) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the jobs of a Snakemake with the names of their scripts."""
    try:
        for child in psutil.Process(pid).children(recursive=True):
            command = child.cmdline()
            if len(command) > 1 and "python" in command[0] and (found := SCRIPT.search(command[-1])):
                child.create_time()  # Kept by psutil, which cannot ask for it once the job has ended.
                yield child, found[1]
    except psutil.Error:
        return


def write_project(folder: Path, data: Path, **config) -> Project:
    """Write the input files of a project, unless they are there; return the project.

    They are two datasets, of two donors and of one, and a query with known labels, on 300 genes.
    """
    if (folder / "config.yaml").exists():
        return Project(folder)
    folder.mkdir(parents=True, exist_ok=True)
    counts = ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")
    seen = np.asarray(counts.X.sum(axis=0)).ravel()
    counts = counts[:, np.sort(np.argsort(-seen)[:300])]
    for name, sizes in {"first": {"101": 150, "1015": 150}, "second": {"1016": 150}, "query": {"1039": 100}}.items():
        drawn = [np.flatnonzero(counts.obs["batch"] == donor)[:n] for donor, n in sizes.items()]
        counts[np.concatenate(drawn)].copy().write_h5ad(folder / f"{name}.h5ad")
    (folder / "reference.tsv").write_text("dataset\tpath\nfirst\tfirst.h5ad\nsecond\tsecond.h5ad\n")
    (folder / "queries.tsv").write_text("query\tpath\tlabel_key\tcontrol\nq\tquery.h5ad\tcell_type\tcondition=ctrl\n")
    (folder / "tree.nwk").write_text(
        "(('CD4 T cells','CD8 T cells','NK cells')Lymphoid,'CD14+ Monocytes','FCGR3A+ Monocytes','B cells','Dendritic"
        " cells');\n"
    )
    (folder / "programs.gmt").write_text(
        "".join(f"program{i}\tnone\t" + "\t".join(counts.var_names[i::3]) + "\n" for i in range(3))
    )
    settings = {
        "reference": "reference.tsv",
        "queries": "queries.tsv",
        "genes": {"n_top": 200},
        "integration": {"metrics": ["kmeans_nmi"]},
        "umap": {"n_epochs": 20},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **config}))
    return Project(folder)


SHORT = {"train": {"max_epochs": 2}, "surgery": {"max_epochs": 2}}


def small_project(work: Path, data: Path, neural: bool = True) -> Project:
    """Return a project with every rule but those of `further_projects`; a short one is without neural networks."""
    tree = {"models": ["linear"], "file": "tree.nwk", "update": ["q"], "min_cells": 5}
    models = (
        {"scvi": {"type": "scvi", "model": {"n_hidden": 16, "n_latent": 4}, **SHORT}}
        if neural
        else {"linear": {"type": "linear"}}
    )
    return write_project(work / "small", data, models=models, tree=tree, deliver={"model": "linear"})


def further_projects(work: Path, data: Path) -> list[Project]:
    """Return projects with the rules that the small one lacks: a pretrained model, a type with tables, and the demo's
    files. The small one must have its results.
    """
    pretrained = {"type": "scvi", "pretrained": {"path": "pretrained", "trust": True}, **SHORT}
    programs = {"type": "expimap", "model": {"gmt": "programs.gmt"}, **SHORT}
    models = {"pretrained": pretrained, "programs": programs}
    types = write_project(work / "types", data, models=models, evaluation={"folds": 0})
    (work / "types/pretrained").mkdir(exist_ok=True)
    shutil.copy(work / "small/expected/reference/models/scvi/model.pt", work / "types/pretrained/model.pt")
    types.targets = (
        "results/reference/models/programs/tables",
        "results/queries/q/models/programs/tables",
        "results/queries/q/models/pretrained/labels.parquet",
    )
    demo = work / "demo"
    demo.mkdir(exist_ok=True)
    shutil.copytree(REPO / "config", demo / "config", dirs_exist_ok=True)
    shutil.copy(REPO / "config/config.yaml", demo / "config.yaml")
    return [types, Project(demo, ("demo/atlas_blood.h5ad",))]


# Comparing two folders of results.


def differences(expected: Path, found: Path) -> tuple[list[str], list[str]]:
    """Return the files of results that are missing, extra, unreadable or different from the expected ones, and those
    that are equal only within the tolerance.
    """
    files = [
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} for folder in (expected, found)
    ]
    wrong = [f"{name}: {'missing' if name in files[0] else 'extra'}" for name in files[0] ^ files[1]]
    close = []
    for name in sorted(files[0] & files[1]):
        try:
            equal = compare(content(expected / name), content(found / name))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            equal = f"cannot be read: {error}"
        if equal is not True:
            (close if equal == "close" else wrong).append(f"{name}: {equal}")
    return wrong, close


def compare(a, b) -> bool | str:
    """Return True for equal values, "close" for numbers within the tolerance, or a text that names a difference."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"only one has {sorted(a.keys() ^ b.keys())[:3]}"
        results = {key: compare(a[key], b[key]) for key in a}
        different = [f"{key}: {value}" for key, value in results.items() if value not in (True, "close")]
        return different[0] if different else ("close" if "close" in results.values() else True)
    a, b = np.asarray(a), np.asarray(b)
    numbers = a.dtype.kind in "fc" and b.dtype.kind in "fc"
    if a.shape == b.shape and (np.array_equal(a, b, equal_nan=True) if numbers else (a == b).all()):
        return True
    return (
        "close"
        if numbers and a.shape == b.shape and np.allclose(a, b, TOLERANCE, TOLERANCE, equal_nan=True)
        else "different"
    )


def content(path: Path):
    """Return the content of a file of results as (nested) dicts of arrays, without times."""
    kind = path.suffix
    if kind in (".parquet", ".csv"):
        table = pd.read_parquet(path) if kind == ".parquet" else pd.read_csv(path)
        table = table.drop(columns=[name for name in TIMES if name in table])
        return {
            str(name): table[name].fillna("none").astype(str) if table[name].dtype == object else table[name].to_numpy()
            for name in table
        } | {"index": table.index.astype(str)}
    if kind == ".h5ad" or kind == ".h5":
        with h5py.File(path) as file:
            return {name: file[name][()] for name in names_of(file)}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            # Of torch's files, the tensors alone: the pickle contains times, and serialization_id depends on them.
            return {
                name: np.frombuffer(file.read(name), np.uint8)
                for name in file.namelist()
                if not name.endswith(("data.pkl", "serialization_id"))
            }
    if kind == ".json":
        return (
            {"provenance": True}
            if path.name == "provenance.json" and json.loads(path.read_text())
            else {"value": timeless(json.loads(path.read_text()))}
        )
    if kind == ".sha256":
        # It differs between equal runs, because the model contains times.
        return {"matches its file": hashlib.sha256(path.with_suffix("").read_bytes()).hexdigest() in path.read_text()}
    if kind == ".html":
        return {"end": path.read_text().rstrip().endswith("</html>")}
    if kind == ".md":
        return {"lines": [line for line in path.read_text().splitlines() if not line.startswith("| seconds")]}
    return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def names_of(file: h5py.File) -> list[str]:
    """Return the paths of all arrays of an HDF5 file."""
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def timeless(value) -> str:
    """Return a JSON value as text, without times."""
    if isinstance(value, dict):
        value = {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return json.dumps(value, sort_keys=True)


# Kills.


class Killer:
    """Runs a project to its end with kills on the way.

    Attributes:
        struck: kills of a living process, each as a dict for trials.jsonl.

    Args:
        most: largest number of kills.
        kinds: share of each kind.
        spared: scripts that were never killed yet, and are killed for certain.
    """

    def __init__(
        self,
        project: Project,
        seed: int,
        most: int,
        kinds: dict[str, float] = KINDS,
        spared: frozenset[str] = frozenset(),
    ) -> None:
        self.spared = set(spared)
        self.project, self.random, self.most, self.kinds = project, random.Random(seed), most, kinds
        self.struck: list[dict] = []
        self.plans: dict[int, tuple[str, str, float]] = {}
        self.orphans: list[psutil.Process] = []

    def run(self, limit: float = 3600) -> None:
        """Run Snakemake, again after it was killed, until it ends well.

        Raises:
            SystemExit: it fails for another reason than a kill, or takes longer than `limit`
                seconds.
        """
        begun = time.time()
        while time.time() - begun < limit:
            n_before, n_struck = self.project.output_size(), len(self.struck)
            process = self.project.start("--retries", "9")
            killed = self._watch(process)
            if not killed and process.returncode == 0:
                psutil.wait_procs(self.orphans)
                return
            if not killed and len(self.struck) == n_struck:
                raise SystemExit(
                    f"{self.project.folder}: Snakemake ended with {process.returncode} without a kill; see output.txt"
                    f" there from byte {n_before}"
                )
            self.project.run("--unlock")
        raise SystemExit(f"{self.project.folder}: not done after {limit} s")

    def _watch(self, process: subprocess.Popen) -> bool:
        """Strike until Snakemake ends; return whether it was killed itself."""
        while process.poll() is None:
            time.sleep(0.05)
            for job, script in running(process.pid):
                kind, moment = self._plan(job, script)
                if (
                    kind in ("job", "group", "snakemake")
                    and time.time() - job.create_time() > moment
                    and len(self.struck) < self.most
                ):
                    self._strike(process, job, script, kind, moment)
                    if kind != "job":
                        process.wait()
                        self._obeyed()
                        return True
            self._obeyed()
        self._obeyed()
        return False

    def _plan(self, job: psutil.Process, script: str) -> tuple[str, float]:
        """Return the kind of kill of a job, drawn when it is first seen, and the moment, in seconds from its start."""
        if job.pid not in self.plans:
            usual = self.project.usual.get(script, 3.0)
            kind = (
                self.random.choices(list(self.kinds), list(self.kinds.values()))[0]
                if self._may_die(script, usual) and self.random.random() < SHARE_KILLED
                else "none"
            )
            if script in self.spared:
                kind = "writing"
                self.spared.remove(script)
            self.plans[job.pid] = script, kind, self.random.uniform(0, 1.05 * usual)
            if kind in ("writing", "before", "after"):
                (self.project.folder / f"orders/{job.pid}").write_text(f"{kind} {self.random.choice([1, 1, 2, 3])}")
        return self.plans[job.pid][1:]

    def _may_die(self, script: str, usual: float) -> bool:
        struck = sum(kill["script"] == script for kill in self.struck)
        return len(self.struck) < self.most and struck < (MOST_IF_SLOW if usual > SLOW else MOST)

    def _strike(self, process: subprocess.Popen, job: psutil.Process, script: str, kind: str, moment: float) -> None:
        victims = {"job": [job], "snakemake": [psutil.Process(process.pid)]}.get(kind) or [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        if kind == "snakemake":
            self.orphans += [child for child, _ in running(process.pid)]
        alive = 0
        for victim in victims:
            try:
                victim.send_signal(signal.SIGKILL)
                alive += 1
            except psutil.NoSuchProcess:
                pass
        self.plans[job.pid] = script, "none", 0.0
        if alive:
            self._note(script, kind, moment)

    def _obeyed(self) -> None:
        """Take note of the jobs that killed themselves as ordered."""
        for file in (self.project.folder / "orders").glob("*.obeyed"):
            script, kind, _ = self.plans[int(file.stem)]
            self._note(script, kind, None)
            file.unlink()

    def _note(self, script: str, kind: str, moment: float | None) -> None:
        parts = sum(1 for path in self.project.results.rglob(".*") if PART.search(path.name))
        self.struck.append(
            {"project": self.project.folder.name, "script": script, "kind": kind, "moment": moment, "unfinished": parts}
        )


def kill_round(
    project: Project, seed: int, most: int, kinds: dict[str, float] = KINDS, spared: frozenset[str] = frozenset()
) -> list[dict]:
    """Return the kills of one run of a project from its start, each with the differences of the final results from the
    expected ones.
    """
    for name in (project.results.name, "logs", "benchmarks", ".snakemake", "orders"):
        shutil.rmtree(project.folder / name, ignore_errors=True)
    killer, begun = Killer(project, seed, most, kinds, spared), time.time()
    killer.run()
    wrong, close = differences(project.expected, project.results)
    scripts = Counter(kill["script"] for kill in killer.struck)
    print(
        f"{project.folder.name}, seed {seed}: {len(killer.struck)} kills in {time.time() - begun:.0f} s, {len(wrong)}"
        f" files wrong, {len(close)} equal within {TOLERANCE} alone; {dict(scripts)}",
        flush=True,
    )
    for line in wrong + close:
        print(f"    {line}", flush=True)
    return [{**kill, "seed": seed, "wrong": wrong, "close": close} for kill in killer.struck]


def kills(work: Path, data: Path, wanted: int, seed: int) -> None:
    """Run rounds of kills, at least one of each project, until there are enough."""
    small = small_project(work, data)
    small.make_expected()
    projects = [small, *further_projects(work, data)]
    # Rounds of an earlier call are not repeated.
    seeds = [trial["seed"] for trial in noted(work) if trial["trial"] == "kill"]
    n_struck, rounds = len(seeds), len(set(seeds))
    while n_struck < wanted or rounds < len(projects):
        project = projects[rounds % len(projects)]
        project.make_expected()
        spared = (
            set(project.usual) - {trial["script"] for trial in noted(work) if trial["trial"] == "kill"}
            if rounds
            else set()
        )
        for kill in kill_round(project, seed + rounds, 200, KINDS, frozenset(spared)):
            n_struck += 1
            note(work, {"trial": "kill", **kill})
        rounds += 1


def note(work: Path, trial: dict) -> None:
    """Append a trial to trials.jsonl."""
    with (work / "trials.jsonl").open("a") as file:
        file.write(json.dumps(trial) + "\n")


def noted(work: Path) -> list[dict]:
    """Return all trials so far."""
    file = work / "trials.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(work: Path) -> str:
    """Return all trials as a table in Markdown, and the kills by script."""
    trials = pd.DataFrame(noted(work))
    struck = trials[trials["trial"] == "kill"]
    rows = [
        f"| SIGKILL: {kind} | {len(part)} | {(part['wrong'].str.len() == 0).sum()} with the expected results in the"
        f" end; unfinished files were left after {(part['unfinished'] > 0).sum()} |"
        for kind, part in struck.groupby("kind")
    ]
    rows += [
        f"| {trial['trial']}: {trial['where']} | 1 | {trial['outcome']} |"
        for trial in trials[trials["trial"] != "kill"].to_dict("records")
    ]
    return "\n".join(
        [
            "| fault | times | outcome |",
            "|---|---|---|",
            *rows,
            "",
            ", ".join(f"{script} {n}" for script, n in Counter(struck.get("script", [])).most_common()),
        ]
    )


# Other faults. Each is tried on a copy of a finished project, and yields its name, its place and its outcome.


def copied(project: Project, name: str) -> Project:
    """Return a copy of a finished project, with its results up to date, in another folder."""
    folder = project.folder.with_name(name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("expected", "results", "output.txt"))
    shutil.copytree(project.results, folder / "results")
    copy = Project(folder)
    copy.usual = project.usual
    if "Nothing to be done" not in (output := copy.run("--dry-run")[1]):
        raise SystemExit(f"{folder}: a copy is not up to date:\n{output[-2000:]}")
    return copy


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something over a folder as long as this lasts."""
    subprocess.run(["mount", *options, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(file: Path, room: int) -> None:
    """Fill a file system with a file but for so many bytes."""
    with file.open("wb") as stream:
        stream.write(b"0" * max(shutil.disk_usage(file.parent).free - room, 0))


def parts_in(folder: Path) -> list[str]:
    """Return the unfinished files in a folder."""
    return [path.name for path in folder.rglob(".*") if PART.search(path.name)]


def full_disk(project: Project) -> Iterator[dict]:
    """Fill the disk of the results at one job of each rule, the last ones first, so that all inputs
    are there; then make room and finish.
    """
    copy, random_ = copied(project, "full"), random.Random(0)
    records = sorted(
        (json.loads(path.read_text()) for path in (copy.folder / "logs").rglob("*.json")),
        key=lambda record: record["started"],
    )
    jobs = {record["rule"]: record["outputs"] for record in records}
    shutil.rmtree(copy.results)
    copy.results.mkdir()
    with mounted(copy.results, "-t", "tmpfs", "-o", "size=200m", "none"):
        shutil.copytree(project.results, copy.results, dirs_exist_ok=True)
        for rule, outputs in reversed(jobs.items()):
            files = [copy.folder / output for output in outputs]
            size = sum(file.stat().st_size for file in files)
            for file in files:
                file.unlink()
            fill(copy.results / "filler", int(random_.uniform(0, 0.9) * size) // 4096 * 4096 if size > 16384 else 0)
            code, output = copy.run("--rerun-triggers", "mtime", targets=(outputs[0],))
            left = [file.name for file in files if file.exists()] + parts_in(copy.results)
            (copy.results / "filler").unlink()
            ended = "failed" if code else "went on"
            reported = "reported which file and what to do" if "no space left to write it" in output else "NOT REPORTED"
            yield {
                "trial": "disk full",
                "where": rule,
                "outcome": f"{ended}; {reported}; " + (f"LEFT {left}" if left else "nothing half-written left"),
            }
        copy.finish()
        wrong, _ = differences(project.expected, copy.results)
        yield {
            "trial": "disk full",
            "where": "room made, run to the end",
            "outcome": f"DIFFERS: {wrong}" if wrong else "the expected results",
        }


def changed_input(project: Project) -> Iterator[dict]:
    """Change a dataset between its scan and what follows, in one run; run again, and compare with a
    run on the changed dataset alone.
    """
    targets = (
        "results/reference/counts.h5ad",
        "results/evaluation/fold_1/heldout/counts.h5ad",
    )
    copies = [copied(project, name) for name in ("changed", "fresh")]
    for copy in copies:
        shutil.rmtree(copy.results)
        shutil.rmtree(copy.folder / ".snakemake")
    fewer = ad.read_h5ad(project.folder / "first.h5ad")[:-40].copy()
    process = copies[0].start(targets=targets)
    while process.poll() is None and not any(script == "select_genes" for _, script in running(process.pid)):
        time.sleep(0.05)
    fewer.write_h5ad(copies[0].folder / "first.h5ad")
    shutil.copy(copies[0].folder / "first.h5ad", copies[1].folder / "first.h5ad")
    code = process.wait()
    reported = "the file changed during this run" in copies[0].output.read_text()
    codes = [copy.run(targets=targets)[0] for copy in copies]
    wrong, _ = differences(copies[1].results, copies[0].results)
    yield {
        "trial": "input changed",
        "where": "a dataset, after its scan",
        "outcome": (
            f"{'stopped' if code else 'WENT ON'}, {'reported' if reported else 'NOT REPORTED'}; run again {codes}: "
            + (f"DIFFERS: {wrong}" if wrong else "as a run on the changed file alone")
        ),
    }
    file = copies[1].folder / "second.h5ad"
    old = file.stat().st_mtime - 86400
    ad.read_h5ad(file)[:-10].copy().write_h5ad(file)
    os.utime(file, (old, old))
    output = copies[1].run("--dry-run", targets=targets)[1]
    yield {
        "trial": "input changed",
        "where": "an older file in place of a dataset",
        "outcome": "scanned again" if re.search(r"scan_dataset +1", output) else "NOT NOTICED",
    }


def two_at_once(project: Project) -> Iterator[dict]:
    """Start Snakemake twice in a folder."""
    copy, target = copied(project, "twice"), ("results/reference/models/linear/umap.parquet",)
    first = copy.start("--force", targets=target)
    while first.poll() is None and not list(running(first.pid)):
        time.sleep(0.05)
    code, output = copy.run("--force", targets=target)
    reported = "cannot be locked" in output
    first.wait()
    wrong, _ = differences(project.expected, copy.results)
    yield {
        "trial": "two Snakemakes",
        "where": "one folder",
        "outcome": (
            f"the second {'refused' if code else 'WENT ON'}{', reported the locked folder' if reported else ''}; the"
            f" first ended with {first.returncode}, " + (f"DIFFERS {wrong}" if wrong else "results as expected")
        ),
    }


def read_only(project: Project) -> Iterator[dict]:
    """Make folders read-only."""
    copy = copied(project, "closed")
    for name in ("results", "logs", "benchmarks"):
        subprocess.run(["mount", "--bind", copy.folder / name, copy.folder / name], check=True)
        with mounted(copy.folder / name, "-o", "remount,bind,ro"):
            code, output = copy.run("--forceall")
        reported = "no permission to write" in output and "steps" not in output
        yield {
            "trial": "read-only folder",
            "where": name,
            "outcome": "refused before any job, reported which folder"
            if code and reported
            else f"NOT REPORTED ({code})",
        }


def damaged_index(project: Project) -> Iterator[dict]:
    """Cut off and flip bits of the index that labels are transferred with."""
    copy, random_ = copied(project, "damaged"), random.Random(0)
    index = copy.results / "reference/models/linear/index.npz"
    labels = copy.results / "queries/q/models/linear/labels.parquet"
    intact, expected = index.read_bytes(), content(labels)
    for damage in ("cut off", "cut off", "bit flipped", "bit flipped", "bit flipped", "bit flipped"):
        place = random_.randrange(len(intact))
        index.write_bytes(
            intact[:place]
            if damage == "cut off"
            else intact[:place] + bytes([intact[place] ^ 1 << random_.randrange(8)]) + intact[place + 1 :]
        )
        code, output = copy.run(
            "--rerun-triggers", "mtime", targets=("results/queries/q/models/linear/labels.parquet",)
        )
        reported = re.search(r"index\.npz: .*(delete it|rule index_reference)", output)
        fine = not code and compare(expected, content(labels)) is True
        yield {
            "trial": "damaged index",
            "where": f"{damage} at byte {place}",
            "outcome": (
                "refused, reported what to delete"
                if code and reported
                else "an unused byte: right labels"
                if fine
                else f"NOT REPORTED ({code})"
            ),
        }


def clocks(project: Project) -> Iterator[dict]:
    """Set times of change into the future, as after a clock that was wrong."""
    copy = copied(project, "clock")
    future = time.time() + 86400
    file = copy.folder / "second.h5ad"
    before = file.stat().st_mtime
    os.utime(file, (future, future))
    code, output = copy.run("--dry-run")
    yield {
        "trial": "clock",
        "where": "an input of tomorrow",
        "outcome": "refused, reported what to do" if code and "in the future" in output else f"NOT REPORTED ({code})",
    }
    os.utime(file, (before, before))
    for path in copy.results.rglob("*"):
        os.utime(path, (future, future))
    output = copy.run("--dry-run")[1]
    yield {
        "trial": "clock",
        "where": "results of tomorrow",
        "outcome": "nothing to do" if "Nothing to be done" in output else "RUNS AGAIN",
    }
    os.utime(file)
    output = copy.run("--dry-run")[1]
    yield {
        "trial": "clock",
        "where": "results of tomorrow, a dataset changed today",
        "outcome": "scanned again" if re.search(r"scan_dataset +1", output) else "NOT NOTICED",
    }


def late_output(project: Project) -> Iterator[dict]:
    """Let an output appear four seconds after its job has ended, as on a slow network file system."""
    for wait in (1, 20):
        copy = copied(project, "late")
        target = "results/reference/models/linear/umap.parquet"
        process, ordered = copy.start("--force", "--latency-wait", str(wait), targets=(target,)), set()
        while process.poll() is None:
            time.sleep(0.02)
            for job, _ in running(process.pid):
                if job.pid not in ordered:
                    ordered.add(job.pid)
                    (copy.folder / f"orders/{job.pid}").write_text("late 1")
        time.sleep(5)
        yield {
            "trial": "late output",
            "where": f"4 s late, latency-wait {wait}",
            "outcome": "waited for" if process.returncode == 0 else "job failed: missing output",
        }


def loss_not_finite(project: Project) -> Iterator[dict]:
    """Train with a learning rate so high that the loss is no number."""
    copy = copied(project, "nan")
    config = yaml.safe_load((copy.folder / "config.yaml").read_text())
    config["models"]["scvi"]["train"]["lr"] = 1e18
    (copy.folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = copy.run(targets=("results/reference/models/scvi/model.pt",))
    reported = "also with a tenth of the learning rate" in output
    yield {
        "trial": "loss not finite",
        "where": "scvi, lr 1e18",
        "outcome": f"tried again at a tenth, then {'refused, reported' if code and reported else f'ended with {code}'}",
    }


FAULTS: dict[str, Callable] = {
    trial.__name__: trial
    for trial in (two_at_once, read_only, clocks, changed_input, damaged_index, late_output, loss_not_finite, full_disk)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=["kills", "faults", "all"])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    work, data = given.work.resolve(), given.data.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if given.trial in ("kills", "all"):
        kills(work, data, given.kills, given.seed)
    if given.trial in ("faults", "all"):
        small = small_project(work, data)
        small.make_expected()
        for trial in FAULTS.values():
            for found in trial(small):
                note(work, found)
                print(found, flush=True)
    print(table(work))


if __name__ == "__main__":
    main()
