"""Contrasts on real cells: false discoveries without an effect, power with a planted one, interferon, time and memory.

    python measurements/contrasts.py DATA null|planted|interferon
    python measurements/contrasts.py DATA cost N_CELLS
    python measurements/contrasts.py DATA abundance N_SIMULATIONS

DATA is the folder of the test data. Each prints a table; `cost` repeats the cells of eight donors until there are
N_CELLS, writes them to a temporary file, and prints seconds and peak memory of a process that reads it. `abundance`
compares tests of the abundance of labels on simulated samples, without and with a label that is doubled, and then shows
the one that refatlas takes on the eight donors.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, special, stats

from refatlas.config.contrasts import complete_contrasts, gene_set_file
from refatlas.differential import abundance
from refatlas.differential.comparison import Comparison, compare_labels, label_samples
from refatlas.differential.design import Design
from refatlas.differential.gene_sets import gene_set_table
from refatlas.differential.moderated import Moderated, moderated_tests
from refatlas.differential.participants import Source
from refatlas.differential.plan import plan_contrast
from refatlas.differential.pseudobulk import CountedFile, sum_counts
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_quality import scan_file

NO_LIMITS = {"min_counts": 0, "min_genes": 0, "max_mito_share": None, "mads": None, "min_batch_cells": 1}
ROW = {
    "layer": None,
    "batch_key": "batch",
    "batch_is_default": True,
    "label_keys": ["cell_type"],
    "gene_key": None,
    "protein_key": None,
    "protein_is_default": True,
    "metadata": None,
}
PLANTED, N_PLANTED = "CD14+ Monocytes", 100
MONOCYTES = "CD14+Mono"
HALVES = {"condition": "half", "groups": ["even", "odd"]}


def counted(path: Path, **contrast) -> tuple[CountedFile, pd.DataFrame, dict]:
    """Return a file with the pseudobulk sample of each cell, the samples, and the contrast."""
    row = {**ROW, "path": str(path)}
    found = scan_file(open_row(row), "a", row, NO_LIMITS, [])
    contrast = complete_contrasts({"contrasts": {"c": contrast}, "gene_sets": "reactome"})["contrasts"]["c"]
    cells, samples, _ = plan_contrast("c", {"a": Source(row, found.cells, False)}, contrast)
    table, numbers = label_samples(cells, found.cells["label"], samples, contrast)
    used = numbers.where(table["used"].to_numpy()[numbers], -1)
    own = used.reindex(found.cells.index, fill_value=-1).to_numpy(np.int64)
    return CountedFile(row, found.cells, found.genes, own), table, contrast


def compared(counts: ad.AnnData, folder: Path, n_threads: int = 1, **contrast) -> Comparison:
    """Return a contrast of the cells of one AnnData, with Reactome's gene sets."""
    path = folder / "cells.h5ad"
    counts.write_h5ad(path)
    file, table, contrast = counted(path, **contrast)
    sets = gene_set_table(gene_set_file({"gene_sets": "reactome"}))
    return compare_labels([file], table, contrast, sets, n_threads)


def halves(counts: ad.AnnData) -> ad.AnnData:
    """Return cells with a condition that means nothing: every other donor."""
    donors = counts.obs["batch"].astype(str)
    counts.obs["half"] = np.where(donors.isin(sorted(donors.unique())[::2]), "even", "odd")
    return counts


def planted(counts: ad.AnnData, seed: int = 0) -> tuple[ad.AnnData, pd.Series]:
    """Return cells with `halves`, and the true sign of each gene: half of the counts are taken away in one label.

    Of N_PLANTED genes with the label's usual counts; of the first half of them in the odd donors, of the others in the
    even ones. Binomial thinning leaves counts what they are: a sample of molecules.
    """
    counts, random = halves(counts.copy()), np.random.default_rng(seed)
    x = counts.X.toarray()
    cells = (counts.obs["cell_type"] == PLANTED).to_numpy()
    usual = np.flatnonzero(x[cells].mean(axis=0) > np.median(x[cells].mean(axis=0)))
    genes = random.choice(usual, N_PLANTED, replace=False)
    signs = pd.Series(0, index=counts.var_names)
    for side, sign, own in (("odd", 1, genes[: N_PLANTED // 2]), ("even", -1, genes[N_PLANTED // 2 :])):
        place = np.ix_(cells & (counts.obs["half"] == side).to_numpy(), own)
        x[place] = random.binomial(x[place].astype(np.int64), 0.5)
        signs.iloc[own] = sign
    counts.X = sparse.csr_matrix(x)
    return counts, signs


def split_samples(counts: ad.AnnData, n: int = 4, seed: int = 0) -> ad.AnnData:
    """Return cells of two conditions, each split at random into n parts, since the file has no donors.

    The parts are no biological replicates: p-values say nothing, but what changes most can be seen.
    """
    parts = np.random.default_rng(seed).integers(n, size=counts.n_obs).astype(str)
    counts.obs["part"] = counts.obs["batch"].astype(str) + "_" + parts
    return counts


def show_null(data: Path, folder: Path) -> None:
    """Print how many genes and gene sets differ between two halves of the control donors."""
    counts = halves(ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad"))
    found = compared(counts, folder, **HALVES)
    rows = []
    for label, own in found.enrichment.groupby("label"):
        # As if genes were independent.
        slopes = own["score"] * np.sqrt(own["variance_inflation"])
        n_genes = (found.genes["label"] == label).sum()
        plain = stats.false_discovery_control(2 * stats.t.sf(slopes.abs(), n_genes - 2))
        rows.append([label, len(own), (own["fdr"] < 0.05).sum(), (plain < 0.05).sum()])
    sets = pd.DataFrame(rows, columns=["label", "sets", "sets_differ", "sets_differ_uncorrected"])
    print(found.labels.merge(sets, on="label").to_string(index=False))
    print(sets.drop(columns="label").sum().to_dict(), found.labels[["higher_in_test", "lower_in_test"]].sum().to_dict())


def show_planted(data: Path, folder: Path) -> None:
    """Print which planted genes are found, and which others are called."""
    counts, signs = planted(ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad"))
    found = compared(counts, folder, **HALVES)
    print(found.labels.to_string(index=False))
    own = found.genes[found.genes["label"] == PLANTED]
    true = signs[own["symbol"]].to_numpy()
    differ = (own["fdr"] < 0.05).to_numpy()
    right = differ & (np.sign(own["log2_fold_change"].to_numpy()) == true)
    print(f"{PLANTED}: {differ.sum()} differ: {right.sum()} of {N_PLANTED} planted, {(differ & ~right).sum()} false")
    print(
        "median log2 fold change of planted genes, true 1:",
        np.median((own["log2_fold_change"] * true)[true != 0]).round(2),
    )


def show_interferon(data: Path, folder: Path) -> None:
    """Print the gene sets and genes of stimulated against control monocytes."""
    counts = split_samples(ad.read_h5ad(data / "kang_ctrl_stim_1975c_6998g.h5ad"))
    groups = {"condition": "condition", "groups": ["stimulated", "control"], "sample": "part"}
    # The file's batches are the two conditions.
    groups["allow_confounded"] = True
    found = compared(counts, folder, **groups, labels=[MONOCYTES])
    print(found.labels.to_string(index=False))
    print(found.enrichment.head(8).drop(columns="label").to_string(index=False))
    print(" ".join(found.genes.sort_values("p_value").head(20)["symbol"]))


# Mean shares of the labels of simulated samples; how much they vary between samples: Dirichlet, and log-normal.
SHARES = np.array([0.35, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02])
CONCENTRATION, DEVIATION = 60, 0.3
REMOVED = 0.7


def simulated(
    random: np.random.Generator, n: int, label: int = 0, factor: float = 1, kind: str = "dirichlet"
) -> tuple[np.ndarray, Design]:
    """Return numbers of cells of 2 n samples, every other one of the test group, in which a label is multiplied.

    Samples differ in their shares: Dirichlet-multinomial counts, or log-normal ones whose variance is the same for all
    labels. The other labels keep their numbers, and their shares fall.
    """
    test = np.arange(2 * n) % 2
    counts = []
    for is_test in test:
        if kind == "dirichlet":
            cells = random.gamma(CONCENTRATION * SHARES)
        else:
            cells = SHARES * np.exp(random.normal(0, DEVIATION, len(SHARES)))
        cells[label] *= factor if is_test else 1
        counts.append(random.multinomial(random.integers(500, 2500), cells / cells.sum()))
    matrix = pd.DataFrame({"Intercept": 1.0, "test": test.astype(float)})
    return np.array(counts), Design(matrix, np.array([0.0, 1.0]))


def p_of_logit_shares(counts: np.ndarray, design: Design) -> np.ndarray:
    """Return p-values of the logit of shares, with moderated variances."""
    more = counts + 0.5
    logits = special.logit(more / more.sum(axis=1, keepdims=True))
    return p_of(moderated_tests(logits, design))


def p_of_clr(counts: np.ndarray, design: Design) -> np.ndarray:
    """Return p-values of centred log-ratios, with moderated variances."""
    logs = np.log(counts + 0.5)
    return p_of(moderated_tests(logs - logs.mean(axis=1, keepdims=True), design))


def p_of_deseq(counts: np.ndarray, design: Design) -> np.ndarray:
    """Negative binomial, median-of-ratios size factors; one mean dispersion, since a few labels make no trend."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    names = [f"s{i}" for i in range(len(counts))]
    table = pd.DataFrame(counts, index=names, columns=[f"l{i}" for i in range(counts.shape[1])])
    matrix = design.matrix.set_axis(names)
    kept = {"size_factors_fit_type": "poscounts", "fit_type": "mean", "refit_cooks": False, "n_cpus": 1}
    with warnings.catch_warnings():
        # That dispersions are all near their mean, in many of the simulations.
        warnings.simplefilter("ignore")
        fitted = DeseqDataSet(counts=table, metadata=matrix, design=matrix, quiet=True, **kept)
        fitted.deseq2()
        tested = DeseqStats(
            fitted, contrast=design.contrast, cooks_filter=False, independent_filter=False, quiet=True, n_cpus=1
        )
        tested.summary()
    return tested.results_df["pvalue"].fillna(1).to_numpy()


def p_of(found: Moderated) -> np.ndarray:
    """Return the two-sided p-values of moderated tests."""
    return 2 * stats.t.sf(np.abs(found.effect / found.standard_error), found.freedom)


TESTS = {
    "shares, logit": p_of_logit_shares,
    "shares, arcsine": lambda c, d: p_of(abundance.share_effects(c, np.ones(c.shape[1], bool), d)),
    "CLR": p_of_clr,
    "CLR, median": lambda c, d: p_of(abundance.relative_effects(c, np.ones(c.shape[1], bool), d)),
    "DESeq2": p_of_deseq,
}


def show_simulations(n_simulations: int, seed: int = 0) -> None:
    """Print, for each test: p < 0.05 among unchanged labels, runs that find the label, runs with a false label."""
    rows = []
    for kind in ("dirichlet", "log-normal"):
        for n in (2, 4, 8):
            for label, factor in ((0, 1), (0, 2), (3, 2)):
                random = np.random.default_rng(seed)
                found: dict[str, list] = {name: [] for name in TESTS}
                changed = (np.arange(len(SHARES)) == label) & (factor != 1)
                for i in range(n_simulations):
                    counts, design = simulated(random, n, label, factor, kind)
                    for name, test in TESTS.items():
                        # A twentieth of the runs: a fit takes a tenth of a second.
                        if test is p_of_deseq and i % 20:
                            continue
                        p = test(counts, design)
                        called = stats.false_discovery_control(p) < 0.05
                        found[name].append([(p[~changed] < 0.05).mean(), called[changed].any(), called[~changed].any()])
                planted_share = SHARES[label] if factor != 1 else 0
                rows += [[kind, n, planted_share, name, *np.mean(own, axis=0)] for name, own in found.items()]
    columns = ["samples", "n_a_group", "doubled_share", "test", "p_below_0.05", "power", "any_false"]
    print(pd.DataFrame(rows, columns=columns).round(3).to_string(index=False))


def donor_abundance(counts: ad.AnnData, folder: Path, swapped: bool = False) -> abundance.Abundance:
    """Return the abundance of labels in the two halves of the donors."""
    path = folder / "cells.h5ad"
    counts.write_h5ad(path)
    row = {**ROW, "path": str(path)}
    found = scan_file(open_row(row), "a", row, NO_LIMITS, [])
    given = {**HALVES, "groups": HALVES["groups"][::-1] if swapped else HALVES["groups"]}
    contrast = complete_contrasts({"contrasts": {"c": given}, "gene_sets": None})["contrasts"]["c"]
    cells, samples, _ = plan_contrast("c", {"a": Source(row, found.cells, False)}, contrast)
    categories = abundance.reference_categories(found.cells)
    return abundance.compare_abundance(
        abundance.count_categories(cells, categories, samples, contrast), samples, contrast
    )


def without_cells(counts: ad.AnnData, label: str, seed: int = 0) -> ad.AnnData:
    """Return cells of which REMOVED of one label's are taken away in the odd half of the donors."""
    own = ((counts.obs["cell_type"] == label) & (counts.obs["half"] == "odd")).to_numpy()
    removed = own & (np.random.default_rng(seed).random(len(own)) < REMOVED)
    return counts[~removed].copy()


def show_abundance(data: Path, folder: Path, n_simulations: int) -> None:
    """Print the tests of abundance on simulated samples, and on donors without and with cells taken away."""
    show_simulations(n_simulations)
    counts = halves(ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad"))
    print("null", donor_abundance(counts, folder).labels.round(4).to_string(index=False), sep="\n")
    for label in counts.obs["cell_type"].cat.categories:
        found = donor_abundance(without_cells(counts, label), folder).labels.set_index("label")
        own = found.loc[label]
        for scale in ("relative", "share"):
            others = found.index[(found[f"{scale}_fdr"] < 0.05) & (found.index != label)]
            print(f"{label} thinned, {scale}: FDR {own[f'{scale}_fdr']:.2g}; others called: {list(others)}")


def show_cost(data: Path, folder: Path, n_cells: int) -> None:
    """Print time and memory of a contrast of so many cells."""
    counts = halves(ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad"))
    rows = np.resize(np.arange(counts.n_obs), n_cells)
    obs = counts.obs.iloc[rows].set_axis([f"c{i}" for i in range(n_cells)])
    path = folder / "cells.h5ad"
    ad.AnnData(counts.X[rows], obs=obs, var=counts.var).write_h5ad(path)
    # In a process of its own, whose peak is that of reading.
    reading = multiprocessing.get_context("spawn").Process(target=measure_cost, args=(path,))
    reading.start()
    reading.join()


def measure_cost(path: Path) -> None:
    """Print time and peak memory of the plan, the sums and the tests of one label."""
    wall, cpu, found = time.perf_counter(), time.process_time(), counted(path, **HALVES, labels=[PLANTED])
    report("scan and plan", wall, cpu)
    file, table, contrast = found
    wall, cpu = time.perf_counter(), time.process_time()
    sum_counts([file], len(table))
    report("sums of all genes", wall, cpu)
    wall, cpu = time.perf_counter(), time.process_time()
    compare_labels([file], table, contrast, None)
    report("sums and tests of one label", wall, cpu)


def report(what: str, wall: float, cpu: float) -> None:
    """Print what has passed since these readings of the clocks, and the peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, of_cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {seconds:.1f} s, {of_cpu:.1f} s of CPU, peak {peak:.0f} MB")


def main(arguments: list[str]) -> None:
    """Run one of the measurements."""
    data, what = Path(arguments[0]), arguments[1]
    with tempfile.TemporaryDirectory() as folder:
        shown = {"null": show_null, "planted": show_planted, "interferon": show_interferon, "cost": show_cost}
        shown["abundance"] = show_abundance
        shown[what](data, Path(folder), *map(int, arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
