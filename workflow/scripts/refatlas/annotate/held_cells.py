"""Which cells a cluster held when it was named: a digest of all of them, and a sample to follow them by.

Both stand in one column of the annotation, so that the table needs no second file. The
sample has the cells with the smallest hashes (bottom-k sampling, Cohen 1997), so that it is a random one, and the same
for the same cells.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed

SAMPLED = 128
HASH_BYTES = 5
# A cluster takes over a name if at least this share of its cells had it.
CARRIED_SHARE = 0.8
# In place of the name of a cluster whose cells are excluded.
EXCLUDED = "excluded"
COLUMNS = ["resolution", "cluster", "label", "n_cells", "change", "new_cluster", "share_of_old", "share_of_new"]


@dataclass(frozen=True)
class Held:
    """What a text of `held_cells` says.

    Attributes:
        n_cells: number of cells.
        digest: of all cells, in any order.
        sample: hashes of some of the cells, ascending, shape (min(n_cells, SAMPLED),).
    """

    n_cells: int
    digest: str
    sample: np.ndarray


def cell_hashes(names: Iterable[str]) -> np.ndarray:
    """Return a hash of each cell's name, uint64 below 2^40."""
    digests = b"".join(hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64) >> np.uint64(64 - 8 * HASH_BYTES)


def held_cells(hashes: np.ndarray) -> str:
    """Return a text that stands for cells: their number, a digest, and a sample.

    Args:
        hashes: of the cells, of `cell_hashes`.
    """
    hashes = np.sort(hashes)
    sample = b"".join(int(value).to_bytes(HASH_BYTES, "big") for value in hashes[:SAMPLED])
    return f"{len(hashes)}:{_digest(hashes)}:{base64.urlsafe_b64encode(sample).decode()}"


def read_held(text: str, where: str) -> Held:
    """Return what a text of `held_cells` says.

    Args:
        where: file and line, for the message.

    Raises:
        InputError: it is empty or damaged.
    """
    try:
        number, digest, sample = text.split(":")
        content = base64.urlsafe_b64decode(sample)
        values = [int.from_bytes(content[i : i + HASH_BYTES], "big") for i in range(0, len(content), HASH_BYTES)]
        held = Held(int(number), digest, np.array(values, dtype=np.uint64))
        if len(content) != HASH_BYTES * min(held.n_cells, SAMPLED):
            raise ValueError("incomplete")
    except ValueError:
        raise InputError(
            f"{where}: column held is {'empty' if not text else 'damaged'}; it says which cells the cluster held when"
            " it was named. Copy it from the template, unchanged"
        ) from None
    return held


def require_same_cells(
    rows: pd.DataFrame, clusters: pd.DataFrame, path: str, changed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of an annotation for the clusters as they are now, and a table of what changed.

    Args:
        rows: of the annotation: line, resolution, cluster, labels, exclude, held.
        clusters: clusters.parquet of its model.
        path: of the annotation, for messages.
        changed: "refuse" or "carry".

    Returns:
        The rows, carried over if clusters changed; and a table with one row per named cluster: resolution, cluster,
        label, n_cells, change ("same", "changed"), new_cluster (which holds most of its cells), share_of_old (of the
        named cluster's cells that are there) and share_of_new (of that cluster's cells that had the same name).

    Raises:
        InputError: a cluster holds other cells, and `changed` is "refuse"; or held cannot be read.
    """
    kept, tables = [], []
    hashes = cell_hashes(clusters.index)
    for resolution, part in rows.groupby("resolution", sort=False):
        held = [read_held(row.held, f"{path}, line {row.line}") for row in part.itertuples()]
        now = clusters[str(resolution)].to_numpy()
        same = [
            _digest(np.sort(hashes[now == int(cluster)])) == known.digest
            for cluster, known in zip(part["cluster"], held, strict=True)
        ]
        follower = Follower(part, held, now, hashes)
        tables.append(follower.changes(same))
        kept.append(part if all(same) else follower.carried())
    changes = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    if changed == "refuse" and (changes["change"] == "changed").any():
        raise InputError(_refusal(path, changes[changes["change"] == "changed"]))
    return (pd.concat(kept) if kept else rows), changes


def _digest(ascending: np.ndarray) -> str:
    return hashlib.blake2b(ascending.tobytes(), digest_size=8).hexdigest()


def _refusal(path: str, changes: pd.DataFrame) -> str:
    moved = listed(
        (
            f"cluster {row.cluster} ({row.label}, resolution {row.resolution}): {row.share_of_old:.0%} of its cells are"
            f" now in cluster {row.new_cluster}"
            for row in changes.itertuples()
        ),
        5,
    )
    return (
        f"{path}: {len(changes)} named clusters no longer contain the same cells, because the data, the seed"
        f" or the settings changed: {moved}. Name the clusters anew from the template of this run, or set"
        " clusters.changed to carry: then each cluster takes over the name that at least"
        f" {CARRIED_SHARE:.0%} of its cells had"
    )


class Follower:
    """Follows the cells of named clusters to the clusters of now, by the samples of the former.

    Args:
        rows: of the annotation, of one resolution.
        held: what each row's cells were.
        clusters: of each cell now.
        hashes: of the same cells.
    """

    def __init__(self, rows: pd.DataFrame, held: list[Held], clusters: np.ndarray, hashes: np.ndarray) -> None:
        self.rows, self.held = rows, held
        self.names = [EXCLUDED if row.exclude else " / ".join(filter(None, row.labels)) for row in rows.itertuples()]
        self.sizes = np.bincount(clusters)
        # Sampled cells of each named cluster (rows) that each cluster holds now (columns).
        self.hits = np.stack(
            [np.bincount(clusters[np.isin(hashes, known.sample)], minlength=len(self.sizes)) for known in held]
        )
        sampled = np.array([max(len(known.sample), 1) for known in held])
        self.share_of_old = self.hits / sampled[:, None]
        # Estimated number of a named cluster's cells in each cluster, from its sample.
        self.shared = self.share_of_old * np.array([known.n_cells for known in held])[:, None]

    def share_of_new(self, row: int, cluster: int) -> float:
        """Return the share of a cluster's cells that had the name of a row."""
        alike = [other for other, name in enumerate(self.names) if name == self.names[row]]
        return float(min(self.shared[alike, cluster].sum() / max(self.sizes[cluster], 1), 1.0))

    def changes(self, same: list[bool]) -> pd.DataFrame:
        """Return the table of `require_same_cells` for these rows."""
        table = []
        for place, row in enumerate(self.rows.itertuples()):
            to = int(row.cluster) if same[place] else int(self.hits[place].argmax())
            table.append(
                {
                    "resolution": row.resolution,
                    "cluster": row.cluster,
                    "label": self.names[place],
                    "n_cells": self.held[place].n_cells,
                    "change": "same" if same[place] else "changed",
                    "new_cluster": to,
                    "share_of_old": 1.0 if same[place] else float(self.share_of_old[place, to]),
                    "share_of_new": 1.0 if same[place] else self.share_of_new(place, to),
                }
            )
        return pd.DataFrame(table, columns=COLUMNS)

    def carried(self) -> pd.DataFrame:
        """Return the rows for the clusters of now: each takes the name that most of its cells had, or none."""
        rows = []
        for cluster in range(len(self.sizes)):
            place = int(self.shared[:, cluster].argmax())
            if self.share_of_new(place, cluster) >= CARRIED_SHARE:
                rows.append(self.rows.iloc[[place]].assign(cluster=str(cluster)))
        return pd.concat(rows) if rows else self.rows.iloc[:0]
