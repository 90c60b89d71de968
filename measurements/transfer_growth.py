"""What the transfer of labels costs as the reference grows: all that rule transfer_labels does for one model.

usage: .venv/bin/python measurements/transfer_growth.py DATA CACHE SCRIPTS [N_REFERENCE …]

DATA and CACHE as in label_transfer.py, whose cells in 30 dimensions are the reference. SCRIPTS is the folder
workflow/scripts of the version before, which is measured in turn with this one, from an index of version 1. Each
measurement is a process of its own; functions were compiled before. Bytes read are those of read(), not of mapped
files. 10 million cells take 8 GB of memory.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from label_transfer import real_latent, resampled
from refatlas.io.fingerprints import sha256_of
from refatlas.transfer.reference_index import index_cells

SIZES, N_QUERY, DIMENSIONS, K, REPEATS, THREADS = (11_000, 1_000_000, 10_000_000), 2_000, 30, 50, 3, 2
HERE = str(Path(__file__).parents[1] / "workflow/scripts")
CHILD = """
import hashlib, json, os, sys, time
import numba, pandas, pyarrow.parquet
from refatlas.transfer.model_labels import model_labels
folder, index, k, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def read():
    return int(open("/proc/self/io").read().split()[1])

paths = [f"{folder}/{name}.parquet" for name in ("latent", "query", "classifier")]
wall, cpu, bytes_read = time.perf_counter(), time.process_time(), read()
labels, distance = model_labels(f"{folder}/{index}", *paths, k=k, threads=threads)
wall, cpu, bytes_read = time.perf_counter() - wall, time.process_time() - cpu, read() - bytes_read
status = dict(line.split(":") for line in open("/proc/self/status").read().splitlines())
memory = {name: int(status[name].split()[0]) / 1e6 for name in ("VmHWM", "RssAnon", "RssFile")}
found = hashlib.sha256(labels.to_csv().encode() + distance.to_csv().encode()).hexdigest()
print(json.dumps({"wall, s": wall, "CPU, s": cpu, "read, GB": bytes_read / 1e9, "peak, GB": memory["VmHWM"],
                  "own at the end, GB": memory["RssAnon"], "found": found}))
"""


def prepare(data: Path, cache: Path, n_reference: int) -> Path:
    """Return the folder with the files of a reference and a query, which are made at the first call."""
    folder = cache / f"growth_{n_reference}"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    latent, names = real_latent(data, cache, DIMENSIONS)
    random = np.random.default_rng(0)
    held_out = random.random(len(latent)) < 0.3
    query, _ = resampled(latent, np.flatnonzero(held_out), N_QUERY, random)
    reference, drawn = resampled(latent, np.flatnonzero(~held_out), n_reference, random)
    columns = [f"z{i}" for i in range(DIMENSIONS)]
    cells = pd.Index([f"q{i}" for i in range(N_QUERY)], name="cell")
    pd.DataFrame(query, cells, columns).to_parquet(folder / "query.parquet")
    pd.DataFrame({"cell": [], "source": []}).to_parquet(folder / "classifier.parquet")
    write_latent(reference, columns, folder / "latent.parquet")
    made = index_cells(reference, pd.Series(pd.Categorical(names[drawn])), 0)
    del reference
    made.save(folder / "index.npz", folder / "latent.parquet")
    del made
    write_version_1(folder)
    (folder / "done").touch()
    return folder


def write_latent(reference: np.ndarray, columns: list[str], path: Path, step: int = 1_000_000) -> None:
    """Write a latent space, step by step, with names of cells as rules write them."""
    writer = None
    for start in range(0, len(reference), step):
        part = reference[start : start + step]
        table = pa.table({name: np.ascontiguousarray(part[:, i]) for i, name in enumerate(columns)})
        names = pa.array([f"donor_1:ACGTACGTACGT-{i}" for i in range(start, start + len(part))])
        table = table.append_column("cell", names)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def write_version_1(folder: Path) -> None:
    """Write the index as the version before did."""
    with np.load(folder / "index.npz") as arrays:
        old = {name: values for name, values in arrays.items() if not name.startswith("density ")}
    latent = sha256_of(folder / "latent.parquet")
    np.savez(folder / "version_1.npz", **old | {"version": 1, "latent": latent})


def measured(folder: Path, scripts: str, index: str) -> dict:
    """Return what one transfer costs in a new process."""
    command = [sys.executable, "-c", CHILD, str(folder), index, str(K), str(THREADS)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": scripts}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    data, cache, sizes = Path(sys.argv[1]), Path(sys.argv[2]), [int(n) for n in sys.argv[4:]] or SIZES
    sides = {"before": (sys.argv[3], "version_1.npz"), "after": (HERE, "index.npz")}
    for n_reference in sizes:
        folder, rows = prepare(data, cache, n_reference), []
        for turn in range(-1, REPEATS):
            found = {side: measured(folder, *how) for side, how in sides.items()}
            # The first turn compiles functions and fills the page cache.
            rows += [{"side": side, **row} for side, row in found.items() if turn >= 0]
        table = pd.DataFrame(rows)
        print(
            f"\n{n_reference:,} reference cells, {DIMENSIONS} dimensions, {N_QUERY:,} query cells; medians of {REPEATS}"
        )
        print(table.drop(columns="found").groupby("side", sort=False).median().round(3).to_markdown())
        walls = [table.loc[table["side"] == side, "wall, s"].to_numpy() for side in sides]
        same = len(set(table["found"])) == 1
        print(
            f"before / after, by turn: {np.round(walls[0] / walls[1], 1)}; {'same results' if same else 'DIFFERENT'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
