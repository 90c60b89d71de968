"""Fetches a file that a sheet or a model's settings name by address into the cache of all runs, unless it is there.

in:  the sheets and models of the Hugging Face Hub, which have the address and the SHA-256
out: a link to the file in the cache; its marker (address without secrets, SHA-256, size in bytes)
"""

from refatlas.config.sheets import find_address
from refatlas.jobs.run import run_job
from refatlas.remote.fetched import fetch_linked, refuse_unchecked


def main(smk) -> None:
    key = smk.wildcards.key
    address, place, sheet = find_address(f"{key}/{smk.wildcards.file}")
    if key.startswith("address-"):
        refuse_unchecked(address, place, sheet)
    fetch_linked(address, key, smk.output.file)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
