# in:  the reference's counts
# out: trained models, their latent spaces, and an index and a UMAP of each


# One thread a process: the matrices are small, and a second thread adds a fifth of speed at most. More by --set-threads train_reference=8.
rule train_reference:
    input:
        unpack(start_of),
        counts="<results>/{split}/counts.h5ad",
        files=setting_files_of,
    output:
        model="<results>/{split}/models/{model}/reference/model.pt",
        checksum="<results>/{split}/models/{model}/reference/model.pt.sha256",
        training="<results>/{split}/models/{model}/reference/training.csv",
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
        record="<results>/{split}/models/{model}/reference/training.md",
    log:
        "<logs>/train_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/train_reference/{split}/{model}.tsv"
    priority: 50
    conda:
        "../../envs/refatlas.yaml"
    threads: processes_of
    resources:
        gpu=training_gpus_of,
        mem_mb=memory_of_training(base=3000, per_input_mb=12),
        runtime=minutes(720),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        from_disk=CONFIG["memory"]["from_disk"],
        spec=lambda w: spec_of(w, "surgery", "outputs"),
        seed=CONFIG["seed"],
    script:
        "../scripts/train_reference.py"


# Of types that have more to tell, and of the atlas alone: nothing reads it in folds.
rule describe_reference:
    input:
        model="<results>/{split}/models/{model}/reference/model.pt",
        counts="<results>/{split}/counts.h5ad",
    output:
        tables=directory("<results>/{split}/models/{model}/reference/tables"),
    log:
        "<logs>/describe_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/describe_reference/{split}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=12),
        runtime=minutes(120),
    params:
        spec=outputs_of,
    script:
        "../scripts/describe_model.py"


# Once per reference: every query reads it.
rule index_reference:
    input:
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        index="<results>/{split}/models/{model}/reference/index.npz",
    log:
        "<logs>/index_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/index_reference/{split}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=12),
        runtime=minutes(60),
    params:
        seed=CONFIG["seed"],
    script:
        "../scripts/index_reference.py"


rule embed_reference:
    input:
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
    output:
        umap="<results>/{split}/models/{model}/reference/umap.parquet",
    log:
        "<logs>/embed_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/embed_reference/{split}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=30),
        runtime=minutes(120, per_input_mb=0.5),
    params:
        settings=CONFIG["umap"],
        seed=CONFIG["seed"],
    script:
        "../scripts/embed_reference.py"
