"""Files in thousands of random layouts are read to exactly what was written, or refused.

A failure prints the seed; `python tests/generated_files.py SEED FOLDER` writes its file again.
"""

import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from generated_files import World, Written, write_file
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_columns import read_batches, read_labels
from refatlas.prepare.genes import gene_table
from refatlas.prepare.raw_values import WrongValues

N_LAYOUTS, N_PARTS = 2000, 8
# Of the ordinary files of each kind: all are to be read, but random values may be ambiguous by chance.
MIN_READ = 0.95
USUAL = {
    "layer": None,
    "gene_key": None,
    "protein_key": None,
    "metadata": None,
    "batch_is_default": False,
}


def differences(world: World, written: Written) -> list[str]:
    """Return what a reader takes otherwise than it was written.

    Raises:
        InputError: the file is refused.
    """
    row = {**USUAL, **written.row, "path": written.path}
    file = open_row(row)
    genes = gene_table(file, None)
    batches = read_batches(file, "d", row)
    labels = read_labels(file, "d", row["label_keys"][0], [])
    counts = sparse.vstack([block for _, block in file.blocks(n_values=150)]).toarray()
    refuse_values(counts, file)
    order = {name: i for i, name in enumerate(world.cells) if name not in written.unlisted}
    cells = [order.get(name, -1) for name in file.cells.index]
    found = []
    if sorted(cells) != sorted(order.values()):
        return [f"cells: {list(file.cells.index[:3])}"]
    if list(batches) != [f"d:{world.batches[i]}" for i in cells]:
        found.append(f"batches: {list(batches[:5])}")
    if [None if v is None or v != v else v for v in labels] != [world.labels[i] for i in cells]:
        found.append(f"labels: {list(labels[:5])}")
    if not np.array_equal(counts, written.counts[cells]):
        found.append(f"counts: {file.location} of {counts.shape}, sum {counts.sum()}, not {written.counts.sum()}")
    for column, expected in (("gene_id", written.ids), ("symbol", written.symbols)):
        values = [None if v is None or v != v else v for v in genes[column]]
        if expected is not None and values != expected:
            found.append(f"{column}: {values[:3]}, not {expected[:3]}")
    return found


def refuse_values(counts: np.ndarray, file) -> None:
    """Refuse values that are no counts, as a scan does."""
    if (counts < 0).any() or (counts != np.rint(counts)).any():
        names = np.arange(max(counts.shape)).astype(str)
        wrong = WrongValues()
        wrong.add(sparse.csr_matrix(counts), names[: len(counts)], names, names)
        wrong.refuse(file.path)


def try_seeds(seeds: range, folder: Path) -> tuple[dict[int, str], dict[int, str], Counter]:
    """Return wrong readings and refusals of ordinary files by seed, and the number of ordinary files of each kind."""
    wrong, refused, ordinary = {}, {}, Counter()
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            world, written = write_file(seed, folder / str(seed))
        ordinary[written.traits[0]] += written.plain
        try:
            if found := differences(world, written):
                wrong[seed] = f"{written.traits}: {'; '.join(found)}"
        except InputError as error:
            if written.plain:
                refused[seed] = f"{written.traits}: {error}"
    return wrong, refused, ordinary


@pytest.mark.parametrize("part", range(N_PARTS))
def test_generated_files_are_read_as_written_or_refused(part, tmp_path):
    seeds = range(part * N_LAYOUTS // N_PARTS, (part + 1) * N_LAYOUTS // N_PARTS)
    wrong, refused, ordinary = try_seeds(seeds, tmp_path)
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {sum(ordinary.values())} ordinary files {dict(ordinary)}")
    assert wrong == {}
    for kind, n in ordinary.items():
        of_kind = [seed for seed, words in refused.items() if words.startswith(f"['{kind}'")]
        assert len(of_kind) <= (1 - MIN_READ) * n, {seed: refused[seed] for seed in of_kind}


if __name__ == "__main__":
    for name, seeds in zip(
        ("WRONG", "REFUSED"), try_seeds(range(*map(int, sys.argv[1:3])), Path(sys.argv[3])), strict=False
    ):
        for seed, words in seeds.items():
            print(name, seed, words)
