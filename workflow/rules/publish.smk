# in:  the bundle of the atlas, a trained reference model and its counts
# out: the model in the format of scvi-hub, and records of what was published; only on request (targets publish_huggingface
#      and publish_zenodo)


rule make_hub_model:
    input:
        unpack(hub_model_files),
    output:
        folder=directory("<results>/bundle/hub"),
    log:
        "<logs>/make_hub_model.log",
    benchmark:
        "<benchmarks>/make_hub_model.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=describing_mem_mb(),
        runtime=minutes(120),
    params:
        revision=revision("make_hub_model"),
        name=HUB_MODEL,
        type=MODELS[HUB_MODEL]["type"] if HUB_MODEL else None,
    script:
        "../scripts/make_hub_model.py"


# On the machine that runs Snakemake: nodes of a cluster often reach no other machine, and the token stays here.
rule publish_huggingface:
    input:
        unpack(published_files("huggingface")),
    output:
        record=publication("huggingface"),
        card="<results>/bundle/model_card.md",
    log:
        "<logs>/publish_huggingface.log",
    benchmark:
        "<benchmarks>/publish_huggingface.tsv"
    localrule: True
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=720,
    params:
        revision=revision("publish_huggingface"),
        settings=CONFIG["publish"]["huggingface"],
        dry_run=CONFIG["publish"]["dry_run"],
    script:
        "../scripts/publish_huggingface.py"


# Beside its output it keeps zenodo.json, which Snakemake does not know: with it, a run that was cut goes on.
rule publish_zenodo:
    input:
        unpack(published_files("zenodo")),
    output:
        record=publication("zenodo"),
    log:
        "<logs>/publish_zenodo.log",
    benchmark:
        "<benchmarks>/publish_zenodo.tsv"
    localrule: True
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=720,
    params:
        revision=revision("publish_zenodo"),
        settings=CONFIG["publish"]["zenodo"],
        dry_run=CONFIG["publish"]["dry_run"],
    script:
        "../scripts/publish_zenodo.py"
