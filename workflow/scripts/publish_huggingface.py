"""Publishes the bundle on the Hugging Face Hub, or shows what would be sent.

in:  atlas.tar, bundle.json and README.md of the bundle; hub/, if the run has a model of scvi-tools
out: published_huggingface.json: address, commit, checksums, and the line to write in another config;
     dry_run_huggingface.json with the setting publish.dry_run: repository and files;
     model_card.md: README.md of the repository
"""

from refatlas.io.atomic import write_json
from refatlas.jobs.run import print_on_screen, run_job
from refatlas.publish.bundle_files import print_files, read_bundle
from refatlas.publish.hub_api import VARIABLE, HubApi
from refatlas.publish.hub_files import files_for_hub
from refatlas.publish.huggingface import publish_on_hub, published_record
from refatlas.publish.tokens import read_token, with_token_hidden


def main(smk) -> None:
    i, settings, output, card = smk.input, smk.params.settings, smk.output.record, smk.output.card
    bundle = read_bundle(i.tar, i.manifest, i.card)
    files = files_for_hub(bundle, i.get("hub"), card)
    print_files(files, settings["repo"])
    if not i.get("hub"):
        print_on_screen("No model of scvi-tools in this run: published without one, so that scvi-hub cannot load it")
    if smk.params.dry_run:
        write_json({"settings": settings, "files": {file.name: file.described() for file in files}}, output)
        print_on_screen(f"Nothing was sent; {output} and {card} have what would be sent to {settings['repo']}")
        return
    token = read_token(VARIABLE, "the Hugging Face Hub")
    hub = HubApi(settings, token)
    message = f"{bundle.manifest['name']} {bundle.manifest['version']}"
    commit, sent = with_token_hidden(token, lambda: publish_on_hub(hub, files, message))
    write_json(published_record(hub, bundle, files, commit, sent), output)
    print_on_screen(f"Published: {hub.address}/{hub.repo}/tree/{commit}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
