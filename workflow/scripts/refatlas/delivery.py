"""From all sources to one label a cell: what is learned on held-out cells, and how it is applied. Used by calibrate and combine_labels."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from refatlas.calibration import calibrated, fit_calibrator, fit_pool, fit_sets, pool, prediction_sets
from refatlas.jobs import whole
from refatlas.knn import nearest
from refatlas.labels import SEPARATOR, coarser, label_table, names_of, probabilities

# Fewer cells of a query say nothing of a source's confidence in it.
MIN_CELLS = 30
# Cells of a batch over which strangeness is averaged, the cell itself included.
NEIGHBORS = 15
# The measure of cells' neighbourhoods, which cells of small batches have not; all others are of cells by themselves.
DIVERGENCE = "divergence"
GRID = np.linspace(0, 1, 501)


@dataclass
class Evidence:
    """What is known of some query cells.

    Attributes:
        cells: their names. labels: the reference's labels.
        sources: probabilities of the labels by each source ("model:source"), shape (n_cells, n_labels).
        strangeness: how unlike the reference each cell is in each model's eyes, one column a measure; larger is stranger.
        positions: each cell's place in the baseline's latent space, shape (n_cells, n_latent). groups: each cell's batch, of one split's latent space: within it, cells are
            each other's neighbours.
    """

    cells: pd.Index
    labels: list[str]
    sources: dict[str, np.ndarray]
    strangeness: pd.DataFrame
    positions: np.ndarray
    groups: np.ndarray

    def take(self, wanted: np.ndarray) -> "Evidence":
        """Return the part of some cells."""
        sources = {name: p[wanted] for name, p in self.sources.items()}
        return Evidence(self.cells[wanted], self.labels, sources, self.strangeness[wanted], self.positions[wanted], self.groups[wanted])


@dataclass
class HeldOut:
    """Held-out cells to learn from, in memory and as a file: probabilities by source, the true labels' columns, and batches."""

    sources: dict[str, np.ndarray]
    truth: np.ndarray
    batches: np.ndarray

    def save(self, path: str) -> None:
        """Write them to one file, whole or not at all."""
        with whole(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, truth=self.truth, batches=self.batches, **{f"source {name}": p.astype(np.float32) for name, p in self.sources.items()})

    @classmethod
    def load(cls, path: str) -> "HeldOut":
        """Return what `save` wrote; no code is run by loading it."""
        with np.load(path, allow_pickle=False) as arrays:
            sources = {name.removeprefix("source "): arrays[name].astype(np.float64) for name in arrays.files if name.startswith("source ")}
            return cls(sources, arrays["truth"], arrays["batches"])


def read_evidence(split: str, batches: pd.Series, models: list[str], labels: list[str], distances: list[str], fits: list[str], positions: str, known: list[str]) -> Evidence:
    """Return the evidence of one query out of each model's labels.parquet, distance.parquet and fit.parquet, and the baseline's latent.parquet.

    Args:
        batches: of the query's cells, by their names.
    """
    sources, strange, cells = {}, {}, batches.index
    for model, label_file, distance_file, fit_file in zip(models, labels, distances, fits, strict=True):
        table = pd.read_parquet(label_file)
        for source in table["source"].unique():
            sources[f"{model}:{source}"] = probabilities(table, source, known).loc[cells].to_numpy()
        for name, values in {**pd.read_parquet(distance_file), **pd.read_parquet(fit_file)}.items():
            strange[f"{model}:{name}"] = values.loc[cells].to_numpy()
    places, groups = pd.read_parquet(positions).loc[cells].to_numpy(), (f"{split} " + batches.astype(str)).to_numpy(dtype=str)
    return Evidence(cells, known, sources, pd.DataFrame(strange, index=cells), places, groups)


def stack(parts: list[Evidence]) -> Evidence:
    """Return the evidence of several queries as one."""
    first = parts[0]
    sources = {name: np.vstack([part.sources[name] for part in parts]) for name in first.sources}
    cells, strange = pd.Index(np.concatenate([p.cells for p in parts])), pd.concat([p.strangeness for p in parts])
    # Latent spaces of splits may differ in dimensions, where a reference is tiny.
    width = max(p.positions.shape[1] for p in parts)
    positions = np.vstack([np.pad(p.positions, ((0, 0), (0, width - p.positions.shape[1]))) for p in parts])
    return Evidence(cells, first.labels, sources, strange, positions, np.concatenate([p.groups for p in parts]))


def known_labels(tables: list[str]) -> list[str]:
    """Return all labels that any of these labels.parquet has probabilities of."""
    import pyarrow.parquet as pq

    return sorted({name for path in tables for name in names_of(pd.DataFrame(columns=pq.read_schema(path).names))})


def learn(evidence: Evidence, truth: pd.Series, batches: np.ndarray, wanted: list[str], alpha: float) -> dict:
    """Return how sources are calibrated and pooled, the limits of prediction sets, and how strange held-out cells are; plain JSON.

    Args:
        evidence: of held-out cells whose label the fold's reference has. truth: their labels. batches: their batches. wanted: the sources to pool.
    """
    codes = pd.Index(evidence.labels).get_indexer(truth)
    calibrators = {name: fit_calibrator(p, codes, batches) for name, p in evidence.sources.items()}
    parts = {name: calibrated(p, calibrators[name]) for name, p in evidence.sources.items()}
    pooled = learn_pool([parts[name] for name in wanted], codes, batches, alpha)
    return {
        "labels": evidence.labels,
        "sources": {name: {**how, "confidence": usual_confidence(parts[name], batches)} for name, how in calibrators.items()},
        "wanted": wanted,
        **pooled,
        **learn_strangeness(evidence, delivered_probabilities([parts[name] for name in wanted], pooled)),
    }


def learn_pool(parts: list[np.ndarray], truth: np.ndarray, batches: np.ndarray, alpha: float) -> dict:
    """Return the weights of calibrated sources in the pool, its calibration, and the limits of its prediction sets."""
    weights = fit_pool(parts, truth)
    pooled = pool(parts, weights)
    final = fit_calibrator(pooled, truth, batches)
    return {"weights": weights.tolist(), "delivered": final, "alpha": alpha, "set_limits": fit_sets(calibrated(pooled, final), truth, alpha).tolist()}


def delivered_probabilities(parts: list[np.ndarray], pooled: dict) -> np.ndarray:
    """Return the calibrated pool of calibrated sources; `pooled` is of `learn_pool`."""
    return calibrated(pool(parts, np.array(pooled["weights"])), pooled["delivered"])


def of_cells(evidence: Evidence, p: np.ndarray) -> pd.DataFrame:
    """Return the measures of cells by themselves, with one more: how unlike any label a cell is, 1 - the delivered confidence."""
    return evidence.strangeness.loc[:, [not _is_divergence(name) for name in evidence.strangeness]].assign(doubt=1 - p.max(axis=1))


def learn_strangeness(evidence: Evidence, p: np.ndarray) -> dict:
    """Return quantiles over held-out cells: of each measure of cells by themselves and of all these together, and the same of cells with what is around them (None if no batch is large).

    Args:
        p: delivered probabilities of the cells.
    """
    alone, alone_quantiles, novelty_alone = _learn_together(of_cells(evidence, p))
    around = surroundings(evidence, alone)
    _, around_quantiles, novelty_around = _learn_together(pd.concat([table for _, table in around])) if around else (None, None, None)
    return {"strangeness": alone_quantiles, "novelty_alone": novelty_alone, "strangeness_around": around_quantiles, "novelty": novelty_around}


def _learn_together(measures: pd.DataFrame) -> tuple[np.ndarray, dict[str, list[float]], list[float]]:
    """Return the strangeness by some measures, the measures' quantiles, and its own."""
    quantiles = {name: np.quantile(values, GRID).tolist() for name, values in measures.items()}
    together = strangeness(measures, quantiles)
    return together, quantiles, np.quantile(together, GRID).tolist()


def surroundings(evidence: Evidence, alone: np.ndarray) -> list[tuple[np.ndarray, pd.DataFrame]]:
    """Return the cells of each batch that has neighbourhoods, as a mask, with their measures: strangeness smoothed over neighbours, and divergence from the reference.

    Args:
        alone: strangeness of each cell by itself.
    """
    divergence = evidence.strangeness.loc[:, [_is_divergence(name) for name in evidence.strangeness]]
    large = divergence.notna().all(axis=1).to_numpy()
    masks = [large & (evidence.groups == name) for name in np.unique(evidence.groups[large])]
    return [(part, divergence[part].assign(smoothed=smooth(alone[part], evidence.positions[part]))) for part in masks]


def _is_divergence(measure: str) -> bool:
    return measure.endswith(f":{DIVERGENCE}")


def smooth(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return each cell's value averaged with the mean of its nearest cells: a type that the reference lacks is many strange cells side by side.

    Half is the cell's own, because the mean alone calls a whole type novel that another state of the cells has shifted by little.

    Args:
        values: shape (n_cells,). positions: of the same cells, shape (n_cells, n_latent).
    """
    neighbors, _ = nearest(positions, positions, NEIGHBORS)
    return (values + values[neighbors].mean(axis=1)) / 2


def novelty(evidence: Evidence, p: np.ndarray, learned: dict) -> np.ndarray:
    """Return each cell's percentile of strangeness among held-out cells: with what is around it, or by itself in a batch that is too small for that."""
    alone = strangeness(of_cells(evidence, p), learned["strangeness"])
    found = percentile(alone, learned["novelty_alone"])
    for part, around in surroundings(evidence, alone) if learned["novelty"] else ():
        found[part] = percentile(strangeness(around, learned["strangeness_around"]), learned["novelty"])
    return found


def usual_confidence(p: np.ndarray, batches: np.ndarray) -> dict:
    """Return how sure a calibrated source is of held-out cells that it gives each label, and how far a batch may fall short of that.

    The tolerance is three standard deviations of the held-out batches' shortfalls, at least 0.05; 0.1 with fewer than three batches.
    """
    given, confidence = p.argmax(axis=1), p.max(axis=1)
    overall = float(confidence.mean())
    by_label = [float(confidence[given == k].mean()) if (given == k).any() else overall for k in range(p.shape[1])]
    names = np.unique(batches)
    falls = [shortfall(p[batches == name], by_label) for name in names]
    tolerance = max(3 * float(np.std(falls, ddof=1)), 0.05) if len(names) >= 3 else 0.1
    return {"by_label": by_label, "tolerance": tolerance}


def shortfall(p: np.ndarray, by_label: list[float], errors: float = 0) -> float:
    """Return how much less sure a source is of these cells than of held-out cells with the same labels, less so many standard errors."""
    falls = np.array(by_label)[p.argmax(axis=1)] - p.max(axis=1)
    return float(falls.mean() - errors * falls.std() / np.sqrt(len(falls)))


def unsure_sources(parts: dict[str, np.ndarray], learned: dict) -> dict[str, float]:
    """Return the sources that are less sure of a query than they were of any usual held-out batch, with their shortfall.

    A fall of confidence tells a fall of accuracy on new kinds of data (Guillory 2021), without a label of the query. Two standard errors are taken off, so that
    few cells prove little. Where all sources fall, none stands out.
    """
    if len(next(iter(parts.values()))) < MIN_CELLS:
        return {}
    falls = {name: shortfall(p, learned["sources"][name]["confidence"]["by_label"], errors=2) for name, p in parts.items()}
    unsure = {name: fall for name, fall in falls.items() if fall > learned["sources"][name]["confidence"]["tolerance"]}
    return {} if len(unsure) == len(parts) else unsure


def percentile(values: np.ndarray, quantiles: list[float]) -> np.ndarray:
    """Return which share of the held-out cells is below each value."""
    return np.interp(values, quantiles, GRID)


def strangeness(measures: pd.DataFrame, quantiles: dict[str, list[float]]) -> np.ndarray:
    """Return each cell's mean normal score over all measures: its percentile among held-out cells, as a standard normal's quantile (Stouffer)."""
    shares = [percentile(measures[name].to_numpy(), values) for name, values in quantiles.items()]
    return ndtri(np.clip(shares, 1e-3, 1 - 1e-3)).mean(axis=0)


def pooled_probabilities(evidence: Evidence, learned: dict, held_out: "HeldOut") -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Return the delivered probabilities of a query, the limits of its prediction sets, and the sources left out because they are unsure of it.

    Without these, what remains is pooled by weights learned for it alone on the same held-out cells.
    """
    parts = {name: calibrated(evidence.sources[name], learned["sources"][name]) for name in learned["wanted"]}
    unsure = unsure_sources(parts, learned)
    left = [name for name in parts if name not in unsure]
    how = learned
    if unsure:
        how = learn_pool([calibrated(held_out.sources[name], learned["sources"][name]) for name in left], held_out.truth, held_out.batches, learned["alpha"])
    p = delivered_probabilities([parts[name] for name in left], how)
    return p, np.array(how["set_limits"]), unsure


def deliver(evidence: Evidence, learned: dict, held_out: "HeldOut", parents: pd.DataFrame, novel: float) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Return the delivered labels, one row a cell, the delivered probabilities, cells × labels, and the sources that were left out.

    Args:
        learned: of `learn`. held_out: what it was learned on. parents: of `labels.hierarchy`. novel: percentile of strangeness from which a cell is novel.

    Columns: label, confidence; then for each coarser level label_N and confidence_N; set (all labels of the prediction set, likeliest first), set_label
    (the label or coarser label that holds the whole set, empty if none does), novelty (percentile among held-out cells) and novel.
    """
    p, limits, unsure = pooled_probabilities(evidence, learned, held_out)
    names = np.array(evidence.labels, dtype=object)
    found = pd.DataFrame({"label": names[p.argmax(axis=1)], "confidence": p.max(axis=1)}, index=evidence.cells)
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    for column in parents:
        level = coarser(shares, found["label"], parents[column])
        found[column], found[column.replace("label", "confidence")] = level["label"], level["confidence"]
    inside = prediction_sets(p, limits)
    order = np.argsort(-p, axis=1)
    found["set"] = [SEPARATOR.join(names[row][keep[row]]) for row, keep in zip(order, inside, strict=True)]
    found["set_label"] = common_labels(found["set"], parents)
    found["novelty"] = novelty(evidence, p, learned)
    found["novel"] = found["novelty"] >= novel
    return found, shares, unsure


def common_labels(sets: pd.Series, parents: pd.DataFrame) -> pd.Series:
    """Return for each set the label that holds all of it: its only member, or the finest common parent, or nothing."""

    def common(members: str) -> str:
        names = members.split(SEPARATOR)
        if len(names) == 1:
            return names[0]
        for column in parents:
            found = set(parents[column].reindex(names))
            if len(found) == 1 and isinstance(only := found.pop(), str):
                return only
        return ""

    return sets.map({members: common(members) for members in sets.unique()})


def deliver_uncalibrated(evidence: Evidence, source: str, parents: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labels of one source as they are, for a run without held-out folds; columns as of `deliver`, sets and novelty empty."""
    p = evidence.sources[source]
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    found = pd.DataFrame({"label": np.array(evidence.labels, dtype=object)[p.argmax(axis=1)], "confidence": p.max(axis=1)}, index=evidence.cells)
    for column in parents:
        level = coarser(shares, found["label"], parents[column])
        found[column], found[column.replace("label", "confidence")] = level["label"], level["confidence"]
    return found.assign(set="", set_label="", novelty=np.nan, novel=False), shares


def combined_table(evidence: Evidence, learned: dict | None, shares: pd.DataFrame) -> pd.DataFrame:
    """Return label and calibrated confidence of every source, and the delivered probabilities under the source "delivered"."""
    tables = [label_table(evidence.cells, "delivered", list(shares.columns), shares.to_numpy())]
    for name, how in (learned["sources"] if learned else {}).items():
        table = label_table(evidence.cells, name, evidence.labels, calibrated(evidence.sources[name], how))
        tables.append(table[["cell", "source", "label", "confidence"]])
    return pd.concat(tables, ignore_index=True)
