"""Learns regions of a tissue from its spots: methods compete on held-out spots, and the best is fitted to all.

in:  spots.h5ad
out: regions.npz (all that places cells, as plain arrays); methods.csv (scores of each method on held-out spots);
     held_out_spots.csv.gz (what each spot was given when it was held out); figures of the tissue and of the scores
"""

from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.spatial_figures import plot_accuracy, plot_tissue
from refatlas.spatial.held_out import choose, held_out_table, hold_out, score_table
from refatlas.spatial.placing import Placer
from refatlas.spatial.regions import partitions
from refatlas.spatial.spots import read_spots


def main(smk) -> None:
    settings, seed, out = smk.params.settings, smk.params.seed, smk.output
    spots = read_spots(smk.input.spots)
    parts = partitions(spots, settings["grids"])
    held = hold_out(spots, parts, settings, seed, smk.threads)
    choices = [choose(part, held, spots, settings) for part in parts]
    scores = score_table(choices)
    placed = held_out_table(parts, choices, spots, held)
    print(scores.to_string(index=False))
    placer = Placer.fit(spots, parts, choices, held, settings, seed, smk.threads)
    save_figure(plot_tissue(parts, placed), out.tissue)
    save_figure(plot_accuracy(scores), out.accuracy)
    write_table(placed, out.held_out)
    write_table(scores, out.methods)
    placer.save(out.regions)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
