"""Unpacks an atlas bundle to the places of the results that it was made of, each file by its checksum.

in:  the bundle: atlas.tar, or bundle.json of an unpacked one, where planning found it
out: the results of the reference that jobs of queries read
"""

from refatlas.bundle.archive import unpack
from refatlas.bundle.manifest import digest_of, read_manifest, require_sha256
from refatlas.errors import InputError
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    p, path = smk.params, smk.params.place["path"]
    require_sha256(path, p.place["sha256"])
    manifest = read_manifest(path)
    if digest_of(manifest) != p.digest:
        raise InputError(f"{path}: the bundle changed since this run was planned; run again")
    unpack(path, manifest, by_name(smk.output, "file"))
    print(f"{path}: atlas {manifest['name']} {manifest['version']}, made by refatlas {manifest['refatlas']}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
