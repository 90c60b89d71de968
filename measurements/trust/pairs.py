"""The graded pairs of reference and query of the benchmark of trust (see PROTOCOL.md).

A pair names a reference, its hidden label, a query and what is done to the query. Its half says whether it may be
looked at while methods are developed ("development"), or is looked at once, at the end ("final").
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

KANG_OF_OTHERS = {
    "CD4 T": "CD4 T cells",
    "CD8 T": "CD8 T cells",
    "B": "B cells",
    "NK": "NK cells",
    "CD14 Mono": "CD14+ Monocytes",
    "CD16 Mono": "FCGR3A+ Monocytes",
    "CD4T": "CD4 T cells",
    "CD8T": "CD8 T cells",
    "CD14+Mono": "CD14+ Monocytes",
    "FCGR3A+Mono": "FCGR3A+ Monocytes",
    "Dendritic": "Dendritic cells",
    "CD4+ T-cells": "CD4 T cells",
    "CD8+ T-cells": "CD8 T cells",
    "NK cells": "NK cells",
    "B-cells": "B cells",
}
FILES = {
    "kang": "kang_ctrl_8donors_1287g.h5ad",
    "stim": "kang_ctrl_stim_1975c_6998g.h5ad",
    "citeseq": "citeseq_1400c_3batches_14p.h5ad",
    "pbmc10k": "pbmc10k_6434c_698g_14p.h5ad",
    "baron": "baron_human_1021c_20125g.h5ad",
    "baron_mouse": "baron_mouse_988c_14877g.h5ad",
    "segerstolpe": "pancreas_segerstolpe_lawlor_328c_1403g.h5ad",
    "zeisel": "brain_zeisel_mouse_550c_19972g.h5ad",
    "darmanis": "brain_darmanis_human_329c_22085g.h5ad",
}
# Cells of a batch, at most, so that a pair takes seconds.
MAX_PER_BATCH = 700
KANG_TYPES = (
    "B cells",
    "CD14+ Monocytes",
    "CD4 T cells",
    "CD8 T cells",
    "Dendritic cells",
    "FCGR3A+ Monocytes",
    "Megakaryocytes",
    "NK cells",
)


@dataclass(frozen=True)
class Pair:
    """One reference and one query.

    Attributes:
        half: "development" or "final".
        family: what the pair is graded for.
        reference: file and batches of the reference, "file" or "file/batch,batch".
        query: the same of the query.
        damage: what is done to the query's counts, "kind" or "kind:amount".
        hide: label that is taken out of the reference.
        noise: share of the reference's labels that are exchanged for another.
    """

    half: str
    family: str
    reference: str
    query: str
    damage: str = ""
    hide: str = ""
    noise: float = 0.0

    @property
    def name(self) -> str:
        """Return a name that tells pairs apart."""
        parts = [self.reference, self.query, self.damage, f"hide {self.hide}" * bool(self.hide)]
        parts.append(f"noise {self.noise}" * bool(self.noise))
        return " > ".join(part for part in parts if part)


def _pairs(half: str, family: str, reference: str, query: str, damages=("",), hidden=("",), noises=(0.0,)):
    return [Pair(half, family, reference, query, d, h, n) for d in damages for h in hidden for n in noises]


def pairs() -> list[Pair]:
    """Return all pairs of both halves."""
    kang6, kang5 = "kang/1015,1256,1488,1244,1016,101", "kang/107,1256,1488,1016,1039"
    dev, final = "development", "final"
    baron3 = "baron/human1,human2,human4"
    zeisel5 = "zeisel/run1772062,run1772067,run1772063,run1772058,run1772060"
    zeisel2 = "zeisel/run1772066,run1772071"
    return [
        *_pairs(dev, "donor", kang6, "kang/1039"),
        *_pairs(dev, "donor", kang6, "kang/107"),
        *_pairs(dev, "depth", kang6, "kang/107", ["depth:0.5", "depth:0.25", "depth:0.1", "depth:0.05"]),
        *_pairs(dev, "ambient", kang6, "kang/107", ["ambient:0.2", "ambient:0.5"]),
        *_pairs(dev, "genes", kang6, "kang/107", ["missing:0.3", "missing:0.6", "exchanged:0.1", "exchanged:0.3"]),
        *_pairs(dev, "genes", kang6, "kang/107", ["exchanged:1"]),
        *_pairs(dev, "technology", kang6, "kang/107", ["technology:0.5", "technology:1"]),
        *_pairs(dev, "composition", kang6, "kang/1039,107", ["dirichlet:0", "dirichlet:1", "alone:B cells"]),
        *_pairs(dev, "doublets", kang6, "kang/107", ["doublets:0.25"]),
        *_pairs(dev, "tissue", kang6, "baron"),
        *_pairs(dev, "hidden", kang6, "kang/1039,107", hidden=KANG_TYPES),
        *_pairs(dev, "laboratory", "kang/control", "stim/stimulated"),
        *_pairs(dev, "hidden in another state", "kang", "stim/stimulated", hidden=("B cells", "NK cells")),
        *_pairs(dev, "laboratory", "kang", "citeseq/pbmc10k_v3"),
        *_pairs(dev, "hidden in another laboratory", "kang", "citeseq/pbmc10k_v3", hidden=("B cells", "NK cells")),
        *_pairs(dev, "reference size", "kang/1016", "kang/107"),
        *_pairs(dev, "reference size", "kang/1016,1015", "kang/107"),
        *_pairs(dev, "reference size", "kang/1016,1015,101", "kang/107"),
        *_pairs(dev, "label noise", kang6, "kang/107", noises=(0.1, 0.25)),
        *_pairs(dev, "donor", baron3, "baron/human3"),
        *_pairs(dev, "depth", baron3, "baron/human3", ["depth:0.1"]),
        *_pairs(dev, "ambient", baron3, "baron/human3", ["ambient:0.5"]),
        *_pairs(dev, "genes", baron3, "baron/human3", ["exchanged:1"]),
        *_pairs(dev, "doublets", baron3, "baron/human3", ["doublets:0.25"]),
        *_pairs(dev, "hidden", baron3, "baron/human3", hidden=("beta", "ductal", "stellate", "delta")),
        *_pairs(dev, "species", "baron", "baron_mouse"),
        *_pairs(final, "donor", kang5, "kang/1015"),
        *_pairs(final, "donor", kang5, "kang/101"),
        *_pairs(final, "depth", kang5, "kang/101", ["depth:0.35", "depth:0.15", "depth:0.07"]),
        *_pairs(final, "ambient", kang5, "kang/101", ["ambient:0.3", "ambient:0.6"]),
        *_pairs(final, "genes", kang5, "kang/101", ["missing:0.45", "missing:0.8", "exchanged:0.2", "exchanged:0.5"]),
        *_pairs(final, "genes", kang5, "kang/101", ["exchanged:1"]),
        *_pairs(final, "technology", kang5, "kang/101", ["technology:0.7", "technology:1.2"]),
        *_pairs(final, "composition", kang5, "kang/1015,101", ["dirichlet:2", "dirichlet:3", "alone:CD8 T cells"]),
        *_pairs(final, "doublets", kang5, "kang/101", ["doublets:0.25"]),
        *_pairs(final, "tissue", kang5, "darmanis"),
        *_pairs(final, "tissue", "zeisel", "citeseq/malt10k_v3"),
        *_pairs(final, "hidden", kang5, "kang/1015,101", hidden=KANG_TYPES),
        *_pairs(final, "laboratory", "kang", "citeseq/malt10k_v3"),
        *_pairs(final, "laboratory", "kang", "citeseq/pbmc5k_v3"),
        *_pairs(final, "hidden in another laboratory", "kang", "citeseq/malt10k_v3", hidden=("B cells", "CD8 T cells")),
        *_pairs(final, "laboratory", "citeseq/malt10k_v3,pbmc5k_v3", "kang/1244"),
        *_pairs(final, "laboratory", "pbmc10k", "kang/1244"),
        *_pairs(final, "technology", "baron", "segerstolpe/Segerstolpe_SmartSeq2"),
        *_pairs(final, "technology", "baron", "segerstolpe/Lawlor_C1"),
        *_pairs(final, "species", "baron_mouse", "baron"),
        *_pairs(final, "species", "zeisel", "darmanis"),
        *_pairs(final, "species", "darmanis", "zeisel"),
        *_pairs(final, "donor", zeisel5, zeisel2),
        *_pairs(final, "depth", zeisel5, zeisel2, ["depth:0.02"]),
        *_pairs(final, "genes", zeisel5, zeisel2, ["exchanged:1"]),
        *_pairs(final, "hidden", zeisel5, zeisel2, hidden=("neuron", "astrocyte", "endothelial")),
        *_pairs(final, "donor", "baron_mouse/mouse1", "baron_mouse/mouse2"),
        *_pairs(final, "hidden", "baron_mouse/mouse1", "baron_mouse/mouse2", hidden=("beta", "ductal", "endothelial")),
        *_pairs(final, "reference size", "kang/1256", "kang/1039"),
        *_pairs(final, "reference size", "kang/1256,1488", "kang/1039"),
        *_pairs(final, "reference size", "kang/1256,1488,101,1244,1015,1016,107", "kang/1039"),
        *_pairs(final, "label noise", kang5, "kang/101", noises=(0.15, 0.3)),
    ]


@cache
def read(data: str, name: str) -> ad.AnnData:
    """Return a file's counts with human symbols, and batch and label in obs; label is missing where it is unknown."""
    cells = ad.read_h5ad(Path(data) / FILES[name])
    if "human" in cells.var:
        human = cells.var["human"].astype(str)
        usable = ((human != "") & ~human.duplicated(keep=False)).to_numpy()
        cells = cells[:, usable].copy()
        cells.var_names = human[usable].to_numpy()
    label = cells.obs["cell_type"].astype(str)
    if name in ("stim", "citeseq", "pbmc10k"):
        label = label.replace(KANG_OF_OTHERS)
        if name == "pbmc10k":
            # Its monocytes are not separated, nor are Kang's dendritic cells from them.
            label = label.replace({"Monocytes": "CD14+ Monocytes"})
    unknown = label.isin(["unassigned", "fetal_quiescent", "nan"])
    obs = pd.DataFrame({"batch": cells.obs["batch"].astype(str), "label": label.where(~unknown, None)})
    return ad.AnnData(sparse.csr_matrix(cells.X, dtype=np.float32), obs=obs, var=pd.DataFrame(index=cells.var_names))


def part(data: str, spec: str, seed: int) -> ad.AnnData:
    """Return the cells that "file/batch,batch" names, at most MAX_PER_BATCH of each batch."""
    name, _, batches = spec.partition("/")
    cells = read(data, name if spec != "kang/control" else "stim")
    wanted = batches.split(",") if batches else list(cells.obs["batch"].unique())
    random = np.random.default_rng(seed)
    rows = [
        np.sort(random.permutation(np.flatnonzero(cells.obs["batch"] == batch))[:MAX_PER_BATCH]) for batch in wanted
    ]
    return cells[np.concatenate(rows)].copy()


def reference(data: str, pair: Pair, seed: int) -> ad.AnnData:
    """Return the reference of a pair: its labelled cells, without the hidden label."""
    cells = part(data, pair.reference, seed)
    keep = cells.obs["label"].notna() & (cells.obs["label"] != pair.hide)
    cells = cells[keep.to_numpy()].copy()
    if pair.noise:
        random = np.random.default_rng([seed, 1])
        label = cells.obs["label"].to_numpy(dtype=object)
        wrong = random.random(len(label)) < pair.noise
        label[wrong] = random.choice(np.unique(label), int(wrong.sum()))
        cells.obs["label"] = label
    cells.obs_names = [f"r{i}" for i in range(cells.n_obs)]
    return cells


def query(data: str, pair: Pair, seed: int) -> ad.AnnData:
    """Return the query of a pair, damaged as the pair says."""
    cells = part(data, pair.query, seed)
    kind, _, amount = pair.damage.partition(":")
    random = np.random.default_rng([seed, 2])
    if kind:
        cells = DAMAGES[kind](cells, amount, random)
    if pair.family == "tissue":
        cells.obs["label"] = "foreign " + cells.obs["label"].astype(str)
    cells.obs_names = [f"q{i}" for i in range(cells.n_obs)]
    return cells


def depth(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Keep a share of the counts; cells without any are dropped."""
    cells.X.data = random.binomial(cells.X.data.astype(np.int64), float(amount)).astype(np.float32)
    cells.X.eliminate_zeros()
    return cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0].copy()


def ambient(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Replace a share of the counts by draws from the mean profile of the cell's batch."""
    share, rows = float(amount), []
    for batch in cells.obs["batch"].unique():
        mask = (cells.obs["batch"] == batch).to_numpy()
        x = cells.X[mask]
        profile = np.asarray(x.sum(axis=0)).ravel().astype(float)
        profile /= profile.sum()
        kept = x.copy()
        kept.data = random.binomial(x.data.astype(np.int64), 1 - share).astype(np.float32)
        lost = np.asarray(x.sum(axis=1) - kept.sum(axis=1)).ravel().astype(int)
        soup = sparse.csr_matrix(np.stack([random.multinomial(n, profile) for n in lost]).astype(np.float32))
        rows.append(ad.AnnData((kept + soup).tocsr(), obs=cells.obs[mask], var=cells.var))
    return ad.concat(rows)


def missing(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Leave out a share of the genes, as if they were not measured."""
    return cells[:, np.sort(random.permutation(cells.n_vars)[: round(cells.n_vars * (1 - float(amount)))])].copy()


def exchanged(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Exchange the names of a share of the genes among each other."""
    chosen = random.permutation(cells.n_vars)[: round(cells.n_vars * float(amount))]
    names = cells.var_names.to_numpy(dtype=object).copy()
    names[chosen] = names[random.permutation(chosen)]
    cells.var_names = names
    return cells


def technology(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Thin each gene by a log-normal factor of this spread, with half of the depth."""
    rates = np.minimum(0.5 * np.exp(random.normal(0, float(amount), cells.n_vars)), 1)
    cells.X.data = random.binomial(cells.X.data.astype(np.int64), rates[cells.X.indices]).astype(np.float32)
    cells.X.eliminate_zeros()
    return cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0].copy()


def dirichlet(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Draw 300 cells with a Dirichlet(1) composition of labels; the amount is a further seed."""
    random = np.random.default_rng([int(amount), *random.integers(0, 2**31, 1)])
    labels = cells.obs["label"].astype(str).to_numpy()
    names = np.unique(labels)
    shares = random.dirichlet(np.ones(len(names)))
    rows = [
        random.choice(np.flatnonzero(labels == name), min(round(300 * share), (labels == name).sum()), replace=False)
        for name, share in zip(names, shares, strict=True)
    ]
    return cells[np.sort(np.concatenate(rows).astype(int))].copy()


def alone(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Keep the cells of one label."""
    return cells[(cells.obs["label"] == amount).to_numpy()].copy()


def doublets(cells: ad.AnnData, amount: str, random: np.random.Generator) -> ad.AnnData:
    """Turn a share of the cells into doublets with a cell of another label; their label is "doublet"."""
    labels = cells.obs["label"].astype(str).to_numpy(dtype=object)
    chosen = np.sort(random.permutation(cells.n_obs)[: round(cells.n_obs * float(amount))])
    partners = np.array([random.choice(np.flatnonzero(labels != labels[i])) for i in chosen])
    x = cells.X.tolil()
    x[chosen] = cells.X[chosen] + cells.X[partners]
    cells.X = x.tocsr().astype(np.float32)
    labels[chosen] = "doublet"
    cells.obs["label"] = labels
    return cells


DAMAGES = {f.__name__: f for f in (depth, ambient, missing, exchanged, technology, dirichlet, alone, doublets)}
