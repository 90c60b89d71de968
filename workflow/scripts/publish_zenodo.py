"""Publishes the bundle as a record on Zenodo, or shows what would be sent.

in:  atlas.tar, bundle.json and README.md of the bundle
out: published_zenodo.json: address, DOI, checksums, and the line to write in another config;
     dry_run_zenodo.json with the setting publish.dry_run: files and metadata
"""

from pathlib import Path

from refatlas.io.atomic import write_json
from refatlas.jobs.run import print_on_screen, run_job
from refatlas.publish.bundle_files import print_files, read_bundle
from refatlas.publish.tokens import read_token, with_token_hidden
from refatlas.publish.zenodo import publish_on_zenodo
from refatlas.publish.zenodo_api import VARIABLE, ZenodoApi
from refatlas.publish.zenodo_metadata import record_metadata


def main(smk) -> None:
    i, settings = smk.input, smk.params.settings
    bundle = read_bundle(i.tar, i.manifest, i.card)
    print_files(bundle.files, settings["url"])
    if smk.params.dry_run:
        files = {file.name: file.described() for file in bundle.files}
        shown = {"settings": settings, "files": files, "metadata": record_metadata(bundle, settings["communities"])}
        write_json(shown, smk.output.record)
        print_on_screen(f"Nothing was sent; {smk.output.record} has what would be sent to {settings['url']}")
        return
    token = read_token(VARIABLE, settings["url"])
    api, state = ZenodoApi(settings["url"], token), Path(smk.output.record).with_name("zenodo.json")
    record = with_token_hidden(token, lambda: publish_on_zenodo(api, bundle, settings, state))
    write_json(record, smk.output.record)
    print_on_screen(f"{'Published' if record['published'] else 'Draft'}: {record['address']}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
