"""What the models changed of a query's first labels.

in:  labels.csv of the query, and the one of its first answer
out: changes.csv: how many cells changed from which label and status to which; changed_cells.csv:
     these cells
"""

from refatlas.io.atomic import write_table
from refatlas.io.labels_csv import read_labels
from refatlas.jobs.run import print_on_screen, run_job
from refatlas.transfer.label_changes import changed_cells, count_changes, summarize_changes


def main(smk) -> None:
    quick, whole = read_labels(smk.input.quick), read_labels(smk.input.labels)
    cells = changed_cells(quick, whole)
    write_table(cells, smk.output.cells)
    write_table(count_changes(cells), smk.output.changes)
    line = f"{smk.wildcards.name}: {summarize_changes(cells, len(whole))}"
    print(line)
    print_on_screen(line)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
