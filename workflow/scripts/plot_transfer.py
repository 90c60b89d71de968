"""Figure of the held-out evaluation: how good each source of labels is, and whether confidence
means what it says.

in:  transfer.csv, transfer_reliability.csv
out: a PNG
"""

from refatlas.io.atomic import read_csv
from refatlas.plots import save
from refatlas.report.transfer_figure import draw


def main(smk) -> None:
    save(draw(read_csv(smk.input.transfer), read_csv(smk.input.reliability)), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
