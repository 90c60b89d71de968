"""Regions of query cells by what was learned on all spots, and where the types of a query lie."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.atomic import atomic_path
from refatlas.prepare.normalization import log_normalized
from refatlas.spatial.features import Features, fit_features, mean_and_sd
from refatlas.spatial.held_out import FAR_QUANTILE, Choice, HeldOut, far_from
from refatlas.spatial.methods import METHODS, Training, principal_components
from refatlas.spatial.regions import Partition, expected_place
from refatlas.spatial.spots import Spots
from refatlas.transfer.calibration import calibrated
from refatlas.transfer.logistic import Arrays

PLACED, NOT_PLACED = "placed", "cannot be placed"
# The first two are of a partition: where held-out spots are hardly told apart, no cell has a place.
NOT, HARDLY, NO_COUNTS, TOO_FEW, UNCERTAIN, UNLIKE = (
    "location is not identifiable",
    "location is hardly identifiable",
    "no counts of these genes",
    "too few cells to standardise",
    "less certain than held-out spots",
    "unlike all spots",
)
# Good cells of a query by which genes can be standardised.
MIN_STANDARDIZED = 30
# The one type of a query without labels.
ALL_CELLS = "all cells"
# Cells whose regions are computed together: so dense values of a large query stay small.
BLOCK = 20_000


@dataclass
class Placer:
    """All that places cells.

    Attributes:
        genes: names of all genes that counts are normalised over. symbols: of these.
        features: the genes that regions are told by.
        components: principal components of the spots, shape (n_latent, n_used).
        spots: standardised expression of the spots, shape (n_spots, n_used).
        far: distance from the spots beyond which a cell is unlike them.
        parts: partitions, with the regions of the spots. choices: of each. arrays: of the chosen methods, by partition.
    """

    genes: list[str]
    symbols: list[str]
    features: Features
    components: np.ndarray
    spots: np.ndarray
    far: float
    parts: list[Partition]
    choices: list[Choice]
    arrays: list[Arrays]

    @classmethod
    def fit(
        cls,
        spots: Spots,
        parts: list[Partition],
        choices: list[Choice],
        held: HeldOut,
        settings: Mapping[str, Any],
        seed: int,
        threads: int = 1,
    ) -> "Placer":
        """Return the chosen methods fitted to all spots."""
        features = fit_features(spots, settings["n_genes"])
        training = Training(features.apply(log_normalized(spots.counts)), seed, settings["epochs"], threads)
        arrays = [
            METHODS[choice.method][0](training, part.codes, len(part.regions))
            for part, choice in zip(parts, choices, strict=True)
        ]
        far = float(np.quantile(held.distances, FAR_QUANTILE))
        components = principal_components(training.x)
        return cls(
            list(spots.genes), spots.symbols, features, components, training.x, far, parts,
            choices, arrays,
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write arrays and plain text to an npz, atomically: reading it runs no code."""
        facts = {
            "genes": self.genes,
            "symbols": self.symbols,
            "far": self.far,
            "parts": [{"name": p.name, "regions": p.regions, "sections": p.sections} for p in self.parts],
            "choices": [
                {
                    "method": c.method,
                    "calibrator": c.calibrator,
                    "threshold": c.threshold,
                    "identifiable": c.identifiable,
                }
                for c in self.choices
            ],
        }
        arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts)), "components": self.components}
        arrays |= {"spots": self.spots, "used": self.features.genes, "mean": self.features.mean, "sd": self.features.sd}
        for i, (part, own) in enumerate(zip(self.parts, self.arrays, strict=True)):
            arrays |= {f"{i}/codes": part.codes, f"{i}/centers": part.centers, f"{i}/spreads": part.spreads}
            arrays |= {f"{i}/method/{name}": value for name, value in own.items()}
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Placer":
        """Return what `save` wrote; probabilities and scores of held-out spots are not in it."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        facts = json.loads(str(arrays["facts"]))
        parts, methods = [], []
        for i, part in enumerate(facts["parts"]):
            codes, centers, spreads = (arrays[f"{i}/{name}"] for name in ("codes", "centers", "spreads"))
            parts.append(Partition(part["name"], part["regions"], codes, centers, spreads, part["sections"]))
            begin = f"{i}/method/"
            methods.append({n.removeprefix(begin): value for n, value in arrays.items() if n.startswith(begin)})
        choices = [
            Choice(c["method"], c["calibrator"], np.zeros((0, 0)), c["threshold"], c["identifiable"])
            for c in facts["choices"]
        ]
        features = Features(arrays["used"], arrays["mean"], arrays["sd"])
        return cls(
            facts["genes"], facts["symbols"], features, arrays["components"], arrays["spots"],
            facts["far"], parts, choices, methods,
        )  # fmt: skip


@dataclass
class Query:
    """Cells to place.

    Attributes:
        counts: CSR of cells × genes.
        genes: names of the columns. measured: whether the query has each.
        good: whether each cell is of good quality: genes are standardised by these.
        standardize: "each" or "spots", see `place`.
    """

    counts: sparse.csr_matrix
    genes: pd.Index
    measured: np.ndarray
    good: np.ndarray
    standardize: str = "each"


@dataclass
class Placed:
    """Query cells in the tissue.

    Attributes:
        probabilities: calibrated, of each partition, shape (n_cells, n_regions).
        distances: to the nearest spots, as a multiple of the distance beyond which a cell is unlike all spots.
        empty: whether a cell has no count of any gene that all spots have in common with the atlas.
        too_few: whether the query has too few good cells to standardise genes by.
        n_used, n_missing: number of genes that regions are told by, and of those that the query lacks.
        agreement: correlation of the mean log-normalised expression of these genes in query and spots.
    """

    probabilities: list[np.ndarray]
    distances: np.ndarray
    empty: np.ndarray
    too_few: bool
    n_used: int
    n_missing: int
    agreement: float | None


def place(
    placer: Placer,
    query: Query,
    floor: float,
    where: str,
    threads: int = 1,
) -> Placed:
    """Return the regions of a query's cells.

    With `standardize: each`, genes are standardised by the mean and spread of the query's own good cells: cells of
    dissociated tissue differ from spots in all genes. That takes the query for a sample of the same tissue. With
    "spots", they are standardised by those of the spots.

    Args:
        floor: least share of the genes that regions are told by.
        where: the query, for messages.

    Raises:
        InputError: the query lacks too many of these genes.
    """
    rows = query.genes.get_indexer(pd.Index(placer.genes))
    if (rows < 0).any():
        raise InputError(
            f"{where}: the counts lack genes of the regions ({listed(np.array(placer.genes)[rows < 0], 3)}); delete"
            " results/spatial and run again"
        )
    used = placer.features.genes
    has = query.measured[rows][used]
    if has.mean() < floor:
        raise InputError(
            f"{where}: {int(has.sum())} of the {len(used)} genes that regions are told by are measured"
            f" ({has.mean():.0%}), need {floor:.0%}; missing are {listed(np.array(placer.symbols)[used][~has], 5)};"
            " lower query: min_gene_overlap, or leave the query out"
        )
    own = query.counts[:, rows].tocsr()
    empty = np.asarray(own.sum(axis=1)).ravel() == 0
    good = query.good & ~empty
    expression = log_normalized(own)
    mean, sd = mean_and_sd(expression[good if good.any() else slice(None)][:, used])
    agreement = _correlation(mean[has], placer.features.mean[has])
    scale = (mean, sd) if query.standardize == "each" else (None, None)
    found = [np.zeros((own.shape[0], len(part.regions)), dtype=np.float32) for part in placer.parts]
    distances = np.zeros(own.shape[0])
    for start in range(0, own.shape[0], BLOCK):
        x = placer.features.apply(expression[start : start + BLOCK], *scale)
        x[:, ~has] = 0
        distances[start : start + BLOCK] = far_from(placer.spots, x, placer.components, threads) / placer.far
        for p, arrays, choice in zip(found, placer.arrays, placer.choices, strict=True):
            given = METHODS[choice.method][1](arrays, x, threads)
            p[start : start + BLOCK] = calibrated(given, choice.calibrator)
    too_few = query.standardize == "each" and int(good.sum()) < MIN_STANDARDIZED
    return Placed(found, distances, empty, too_few, len(used), int((~has).sum()), agreement)


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else None


def cell_table(placer: Placer, found: Placed, cells: pd.Index) -> pd.DataFrame:
    """Return one row per partition and cell.

    The columns: partition, cell, region (the most probable), probability, entropy (of the regions, in units of the
    entropy of equal probabilities, 0 to 1), x, y, section (expected coordinates and the section that they are of),
    spread (in the unit of the coordinates), distance (to the spots), status, reason, identifiable.
    """
    tables = []
    for part, choice, p in zip(placer.parts, placer.choices, found.probabilities, strict=True):
        xy, spread, sections = expected_place(p.astype(np.float64), part)
        reasons = _reasons(p, choice, found)
        tables.append(
            pd.DataFrame(
                {
                    "partition": part.name,
                    "cell": cells,
                    "region": np.array(part.regions, dtype=object)[p.argmax(axis=1)],
                    "probability": p.max(axis=1).astype(np.float64).round(6),
                    "entropy": entropy(p).round(6),
                    "x": xy[:, 0].round(3),
                    "y": xy[:, 1].round(3),
                    "spread": spread.round(3),
                    "section": sections,
                    "distance": found.distances.round(4),
                    "status": np.where(reasons == "", PLACED, NOT_PLACED),
                    "reason": reasons,
                    "identifiable": choice.identifiable,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _reasons(p: np.ndarray, choice: Choice, found: Placed) -> np.ndarray:
    """Return why each cell cannot be placed, "" for one that can; the first reason counts."""
    verdicts = [np.full(len(p), choice.identifiable == verdict) for verdict in ("no", "hardly")]
    return np.select(
        [*verdicts, found.empty, np.full(len(p), found.too_few), found.distances > 1, p.max(axis=1) < choice.threshold],
        [NOT, HARDLY, NO_COUNTS, TOO_FEW, UNLIKE, UNCERTAIN],
        "",
    ).astype(object)


def entropy(p: np.ndarray) -> np.ndarray:
    """Return the entropy of each row, as a share of that of equal probabilities: 0 to 1."""
    values = p.astype(np.float64)
    logs = np.log(np.maximum(values, 1e-30))
    return np.clip(-(values * logs).sum(axis=1) / np.log(p.shape[1]), 0, 1)


def probability_table(placer: Placer, found: Placed, cells: pd.Index) -> pd.DataFrame:
    """Return the probabilities of all regions, one row per cell, with columns "PARTITION|REGION", float32."""
    columns = [f"{part.name}|{region}" for part in placer.parts for region in part.regions]
    return pd.DataFrame(np.hstack(found.probabilities), index=cells.rename("cell"), columns=columns)


def type_regions(
    placer: Placer, found: Placed, labels: np.ndarray, table: pd.DataFrame, counted: np.ndarray
) -> pd.DataFrame:
    """Return where the cells of each type are: one row per partition, type and region.

    The columns: partition, label, cells, placed (of these), region, share (mean probability of the region over the
    cells of the type), even (share of the spots that are in the region).

    Args:
        labels: type of each cell, None for none.
        table: of `cell_table`.
        counted: cells of good quality, which alone count.
    """
    rows = []
    for part, shares, names in _shares(placer, found, labels, counted):
        status = table.loc[table["partition"] == part.name, "status"].to_numpy()
        known = part.codes[part.codes >= 0]
        even = np.bincount(known, minlength=len(part.regions)) / len(known)
        for name, own in zip(names, shares, strict=True):
            mask = counted & (labels == name)
            first = {"partition": part.name, "label": name, "cells": int(mask.sum())}
            first["placed"] = int((status[mask] == PLACED).sum())
            rows += [
                {**first, "region": region, "share": round(float(share), 6), "even": round(float(usual), 6)}
                for region, share, usual in zip(part.regions, own, even, strict=True)
            ]
    columns = ["partition", "label", "cells", "placed", "region", "share", "even"]
    return pd.DataFrame(rows, columns=columns)


def type_distances(placer: Placer, found: Placed, labels: np.ndarray, counted: np.ndarray) -> pd.DataFrame:
    """Return how far types lie from each other: one row per partition and pair of types, also of a type with itself.

    The columns: partition, label_1, label_2, distance (expected distance between a cell of one and a cell of the other,
    by the centres of their regions, in the unit of the coordinates; missing with several sections), divergence (the
    Jensen-Shannon divergence of their regions, base 2: 0 for the same, 1 for regions that do not overlap).
    """
    rows = []
    for part, shares, names in _shares(placer, found, labels, counted):
        single = len(set(part.sections)) == 1 and None not in part.sections
        between = np.linalg.norm(part.centers[:, None] - part.centers[None], axis=2)
        for i, first in enumerate(names):
            for j in range(i, len(names)):
                distance = float(shares[i] @ between @ shares[j])
                rows.append(
                    {
                        "partition": part.name,
                        "label_1": first,
                        "label_2": names[j],
                        "distance": round(distance, 3) if single else None,
                        "divergence": round(divergence(shares[i], shares[j]), 6),
                    }
                )
    return pd.DataFrame(rows, columns=["partition", "label_1", "label_2", "distance", "divergence"])


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two distributions, base 2 (Lin 1991)."""
    middle = (p + q) / 2

    def relative(a: np.ndarray) -> float:
        known = a > 0
        return float((a[known] * np.log2(a[known] / middle[known])).sum())

    return max((relative(p) + relative(q)) / 2, 0.0)


def _shares(
    placer: Placer, found: Placed, labels: np.ndarray, counted: np.ndarray
) -> Iterator[tuple[Partition, np.ndarray, list[str]]]:
    """Yield each partition, the mean probabilities of its regions, shape (n_types, n_regions), and the types."""
    known = np.array([label is not None for label in labels]) & counted & ~found.empty
    names, codes = np.unique(labels[known].astype(str), return_inverse=True)
    sums = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(names), len(codes)))
    for part, p in zip(placer.parts, found.probabilities, strict=True):
        totals = sums @ p[known].astype(np.float64)
        yield part, totals / np.maximum(totals.sum(axis=1, keepdims=True), 1e-12), list(map(str, names))


def types_of_cells(cells: pd.DataFrame, delivered: str | None) -> np.ndarray:
    """Return the delivered label of each cell; "all cells" for each where the query has no labels.

    Args:
        cells: cells.parquet of the query. delivered: path of delivered.parquet.
    """
    if not delivered:
        return np.full(len(cells), ALL_CELLS, dtype=object)
    labels = pd.read_parquet(delivered, columns=["label"])["label"].reindex(cells.index)
    return labels.astype(object).where(labels.notna(), None).to_numpy(dtype=object)


def summary(placer: Placer, found: Placed, table: pd.DataFrame) -> dict[str, Any]:
    """Return what the report says of a query: genes, and numbers of cells by partition and reason."""
    counts = table.groupby(["partition", "reason"], sort=False).size()
    return {
        "cells": len(found.empty),
        "genes": found.n_used,
        "missing_genes": found.n_missing,
        "agreement": found.agreement,
        "partitions": {
            part.name: {
                "method": choice.method,
                "identifiable": choice.identifiable,
                "threshold": choice.threshold,
                "placed": int(counts.get((part.name, ""), 0)),
                "reasons": {str(r): int(n) for r, n in counts.get(part.name, pd.Series(dtype=int)).items() if r},
            }
            for part, choice in zip(placer.parts, placer.choices, strict=True)
        },
    }
