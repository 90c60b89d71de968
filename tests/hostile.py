"""Damaged files, and names that could break something, for the tests.

Run as a program, it reads many damaged files and prints a table of the outcomes:
PYTHONPATH=workflow/scripts:tests python tests/hostile.py --each 500
"""

import argparse
import csv
import json
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import yaml

from conftest import sheet_row, small_counts
from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.io import watchdog
from refatlas.io.raw_counts import open_counts
from refatlas.jobs.child_process import CRASHES
from refatlas.prepare.cell_quality import scan_file

# For reading one part of a file, as the watchdog has it, and for all of it.
LOOP_LIMIT_S, TIME_LIMIT_S = 10, 60
SHELL = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned #",
    "| touch pwned",
    "&& touch pwned",
    "--version",
    "-rf",
    "'\"",
    "a\nb",
    "../../pwned",
    "/etc/passwd",
    "~",
    "*",
    "%s",
    "\\",
)
HTML = (
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "</pre></main><h1>pwned</h1>",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "&lt;b&gt;",
    "' onload='x",
)
WORDS = (
    "nan",
    "NaN",
    "NA",
    "null",
    "None",
    "",
    " ",
    "unknown",
    "delivered",
    "majority",
    "all",
    "root",
    "rejected",
    "heldout",
    "set",
    "label",
    "-",
    "1",
    "1.0",
    "1e5",
    "True",
    "=1+1",
    "#N/A",
)
UNICODE = (
    "naïve",
    "nai\u0308ve",
    "Ⅷ",
    "\u202egnp.exe",
    "細胞",
    "🧬",
    "a\u0000b",
    "\ud800",
    "\u2028",
    "ﬁ",
    "İ",
    "\x1b[31mred\x1b[0m",
    "a\rb",
    "\x7f",
)
PLACEHOLDERS = ("{split}", "{x", "<results>", "<x>", "{", "}", "<NA>", "{0}", "%(x)s", "${HOME}")
NASTY = (*SHELL, *HTML, *WORDS, *UNICODE, *PLACEHOLDERS, "x" * 10_000)


def write_file(folder: Path, kind: str) -> Path:
    """Write 60 cells × 80 genes as a file of some kind; return its path."""
    counts, path = small_counts(), folder / f"{kind.replace(' ', '_')}.h5ad"
    if kind == "csc":
        counts.X = counts.X.tocsc()
    if kind == "dense":
        counts.X = counts.X.toarray()
    if kind == "10x h5":
        return _write_10x(counts, folder / "counts.h5")
    counts.write_h5ad(path, compression="gzip" if kind == "csr gzip" else "lzf" if kind == "csr lzf" else None)
    return path


def _write_10x(counts: ad.AnnData, path: Path) -> Path:
    by_gene = counts.X.tocsr()
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        for name, values in (
            ("data", by_gene.data.astype(np.int32)),
            ("indices", by_gene.indices.astype(np.int64)),
            ("indptr", by_gene.indptr.astype(np.int64)),
            ("shape", [80, 60]),
        ):
            matrix.create_dataset(name, data=values, compression="gzip" if name != "shape" else None)
        matrix.create_dataset("barcodes", data=np.array(counts.obs_names, dtype="S"))
        for name, values in (
            ("id", counts.var_names),
            ("name", counts.var_names),
            ("feature_type", ["Gene Expression"] * 80),
        ):
            matrix.create_dataset(f"features/{name}", data=np.array(values, dtype="S"))
    return path


FILES = ("csr", "csr gzip", "csr lzf", "csc", "dense", "10x h5")


def damaged(content: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """Return how a file's content was damaged, and the damaged content."""
    kind, size = (
        str(random.choice(["truncated", "bit flipped", "bits flipped", "zeroed", "overwritten", "part missing"])),
        len(content),
    )
    broken = bytearray(content)
    place = int(random.integers(size))
    if kind == "truncated":
        return kind, content[:place]
    if kind == "part missing":
        return kind, content[:place] + content[place + int(random.integers(1, 512)) :]
    if "flipped" in kind:
        for at in random.integers(size, size=1 if kind == "bit flipped" else 64):
            broken[at] ^= 1 << int(random.integers(8))
    else:
        n = min(int(random.integers(1, 512)), size - place)
        broken[place : place + n] = bytes(n) if kind == "zeroed" else random.bytes(n)
    return kind, bytes(broken)


def read_as_scan_does(path: Path, config: dict):
    """Return what scan_dataset finds in a file."""
    row = sheet_row(
        path,
        batch_key="-" if path.suffix == ".h5" else "batch",
        label_keys=[] if path.suffix == ".h5" else ["cell_type"],
    )
    return scan_file(open_counts(str(path)), "d", row, config["qc"], config["unlabeled"])


def end_of_reading(path: Path, expected, config: dict) -> tuple[str, str]:
    """Return the outcome of reading a file in a child process, and the message.

    Outcomes: "right", "refused", "other values" (which nothing in the file reveals), "looped" or
    "crashed" (a library, which `run_in_child_process` reports), "traceback", "hung".
    """
    outcome = path.with_suffix(".outcome")
    outcome.write_text("")
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        watchdog.READ_LIMIT_S = LOOP_LIMIT_S
        watchdog.enable_watchdog()
        outcome.write_text(json.dumps(_try(path, expected, config)))
        os._exit(0)
    started = time.monotonic()
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - started > TIME_LIMIT_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hung", ""
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(ended[1])
    if code == 0:
        return tuple(json.loads(outcome.read_text()))
    return ("looped" if code == -signal.SIGALRM else "crashed" if -code in CRASHES else "ended"), str(code)


def _try(path: Path, expected, config: dict) -> tuple[str, str]:
    try:
        found = read_as_scan_does(path, config)
    except InputError as error:
        return ("refused" if str(path) in str(error) else "refused without the file's name"), str(error)
    except BaseException as error:  # noqa: BLE001  (any error is an outcome)
        return "traceback", f"{type(error).__name__}: {error}"
    same = found.cells.equals(expected.cells) and found.genes.equals(expected.genes)
    return ("right" if same else "other values"), ""


UNDERSTOOD = ("refused", "right", "other values", "looped", "crashed")


def try_damaged_files(n_each: int, seed: int, kinds=FILES) -> tuple[dict[str, Counter], list[tuple[str, str, str]]]:
    """Return the outcomes of reading damaged files, by kind of file, and the bad cases.

    Bad cases are those that leave a user without a message: kind, damage, outcome and message.
    """
    config = complete_config({"reference": "r.tsv", "queries": "q.tsv", "qc": {"min_counts": 0, "min_genes": 0}})
    ends, bad, random = {}, [], np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            path, ends[kind] = write_file(Path(folder), kind), Counter()
            content, expected = path.read_bytes(), read_as_scan_does(path, config)
            for i in range(n_each):
                how, broken = damaged(content, random)
                path.write_bytes(broken)
                end, message = end_of_reading(path, expected, config)
                ends[kind][end] += 1
                if end not in UNDERSTOOD:
                    bad.append((kind, f"{how} (seed {seed}, case {i})", f"{end}: {message}"))
    return ends, bad


# Names of the folder, labels, batches and genes.
FOLDER = "$(touch pwned);'q\" é <b>{x}"
LABELS = (
    *HTML[:2],
    "$(touch pwned); `touch pwned`",
    'a, "b"\nc\t\x1b[31m',
    "null",
    "naïve $\\frac{ 細胞",
    "=1+1|x",
    "x" * 200,
)
BATCHES = ("$(touch pwned)", "<b>", "'\"", "a\nb", "é", "--x", ";rm", "{split}")
GENES = (HTML[0], "$(touch pwned)", "../../x", "nan", "g" * 10_000, "a/b", "{split}")


def write_hostile_project(folder: Path, cells: ad.AnnData, **config) -> list[str]:
    """Write a project in which every name is hostile; return the query's true labels.

    Sheets, configuration and files of a reference (six donors) and a query (two).

    Args:
        cells: Kang's, with eight batches and eight labels; at most 150 cells of a batch are used.
    """
    random = np.random.default_rng(0)
    donors, types = (list(cells.obs[column].astype(str).unique()) for column in ("batch", "cell_type"))
    batches, labels = (
        {name: f"{name}:/../{bad}" for name, bad in zip(donors, BATCHES, strict=True)},
        dict(zip(types, LABELS, strict=True)),
    )
    parts = {
        "reference": ("NA", "-rf; $(touch pwned).h5ad", donors[:6]),
        "queries": ("null", "q 'u\"é&|.h5ad", donors[6:]),
    }
    for sheet, (name, file, kept) in parts.items():
        drawn = [random.permutation(np.flatnonzero(cells.obs["batch"].astype(str) == donor))[:150] for donor in kept]
        part = cells[np.sort(np.concatenate(drawn))].copy()
        part.var_names = [*GENES, *part.var_names[len(GENES) :]]
        part.obs["batch"], part.obs["cell_type"] = (
            part.obs[column].astype(str).map(names) for column, names in (("batch", batches), ("cell_type", labels))
        )
        part.obs_names = [f"{barcode};$(touch pwned)<i>{i}" for i, barcode in enumerate(part.obs_names)]
        part.write_h5ad(folder / file)
        with (folder / f"{sheet}.tsv").open("w", newline="") as stream:
            csv.writer(stream, delimiter="\t").writerows(
                [["dataset" if sheet == "reference" else "query", "path", "label_key"], [name, file, "cell_type"]]
            )
    settings = {
        "reference": "reference.tsv",
        "queries": "queries.tsv",
        "models": {"linear": {"type": "linear"}},
        "unlabeled": ["{x}", "<NA>"],
        **config,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return list(part.obs["cell_type"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=500, help="damaged files of each kind")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    ends, bad = try_damaged_files(arguments.each, arguments.seed)
    columns = (*UNDERSTOOD, "traceback", "hung", "ended", "refused without the file's name")
    print("| file | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for kind, found in ends.items():
        print(f"| {kind} | " + " | ".join(str(found[column]) for column in columns) + " |")
    for case in bad:
        print(*case, sep=": ")


if __name__ == "__main__":
    main()
