# in:  the reference's counts
# out: trained models, their latent spaces, and a UMAP of each


def base_of(wildcards):
    """The model that init_from names, as an input named base; nothing for a model that starts afresh."""
    base = MODELS[wildcards.model].get("init_from")
    return {"base": f"<results>/{wildcards.split}/models/{base}/reference/model.pt"} if base else {}


rule train_reference:
    input:
        unpack(base_of),
        counts="<results>/{split}/counts.h5ad",
    output:
        model="<results>/{split}/models/{model}/reference/model.pt",
        training="<results>/{split}/models/{model}/reference/training.csv",
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
        record="<results>/{split}/models/{model}/reference/training.md",
    log:
        "<logs>/train_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/train_reference/{split}/{model}.tsv"
    params:
        spec=lambda w: MODELS[w.model],
        seed=CONFIG["seed"],
    threads: 8
    resources:
        gpu=gpus_of,
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        runtime=lambda wildcards, attempt: 720 * attempt,
    conda:
        "../../envs/refatlas.yaml"
    script:
        "../scripts/train_reference.py"


rule embed_reference:
    input:
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
    output:
        umap="<results>/{split}/models/{model}/reference/umap.parquet",
    log:
        "<logs>/embed_reference/{split}/{model}.log",
    params:
        settings=CONFIG["umap"],
        seed=CONFIG["seed"],
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=30),
        runtime=120,
    conda:
        "../../envs/refatlas.yaml"
    script:
        "../scripts/embed_reference.py"
