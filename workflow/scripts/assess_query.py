"""Says whether a mapping can be trusted: pass, warn or fail, with every reason, its value, its
limits and what to do.

in:  measures.json of the query, and mapqc.json if it has controls; the same of every fold's held-out cells, whose batches say what is usual
out: verdict.json
"""

from refatlas.evaluate.verdict import assess, report_verdict
from refatlas.io.atomic import read_json, write_json


def main(smk) -> None:
    measures, held_out = read_json(smk.input.measures), [read_json(path) for path in smk.input.held_out]
    if smk.input.get("mapqc"):
        measures["query"]["mapqc"] = read_json(smk.input.mapqc)["control_distant"]
        for fold, path in zip(held_out, smk.input.mapqc_held_out, strict=True):
            for batch, share in read_json(path)["batches"].items():
                fold["batches"].setdefault(batch, {})["mapqc"] = share
    found = assess(measures, held_out)
    report_verdict(smk.wildcards.query, found)
    write_json({"query": smk.wildcards.query, **found}, smk.output.verdict)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
