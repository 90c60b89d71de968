# in:  the counts of a reference
# out: trained models, their latent spaces, an index and integration scores of each; of the atlas also a UMAP and figures


# One thread a process: the matrices are small, and a second thread adds a fifth of speed at most. More by --set-threads train_reference=8.
rule train_reference:
    input:
        unpack(start_of),
        unpack(known_embeddings),
        unpack(chosen_settings),
        counts=lambda w: f"<results>/{w.split}/{counts_of_model(w)}",
        files=setting_files_of,
    output:
        model="<results>/{split}/models/{model}/model.pt",
        checksum="<results>/{split}/models/{model}/model.pt.sha256",
        description="<results>/{split}/models/{model}/model.json",
        training="<results>/{split}/models/{model}/training.csv",
        latent="<results>/{split}/models/{model}/latent.parquet",
        record="<results>/{split}/models/{model}/training.md",
    log:
        "<logs>/train_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/train_reference/{split}/{model}.tsv"
    priority: 50
    group:
        shared(unless_on_gpu(group_of_fold))
    conda:
        "../../envs/refatlas.yaml"
    threads: processes_of
    resources:
        gpu=training_gpus_of,
        mem_mb=training_mem_mb(MODELS, CONFIG["memory"]),
        runtime=minutes_by_type(MODELS, on_gpu=minutes(720), on_cpu=minutes(240)),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        revision=revision("train_reference"),
        from_disk=CONFIG["memory"]["from_disk"],
        settings=lambda w: settings_of(w, "surgery", "outputs"),
        seed=CONFIG["seed"],
    script:
        "../scripts/train_reference.py"


# Of types that have more to report, and of the atlas alone: nothing reads it in folds.
rule describe_reference:
    input:
        model="<results>/reference/models/{model}/model.pt",
        counts=f"<results>/reference/{COUNTS}",
    output:
        tables=directory("<results>/reference/models/{model}/tables"),
    log:
        "<logs>/describe_reference/{model}.log",
    benchmark:
        "<benchmarks>/describe_reference/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=describing_mem_mb(),
        runtime=minutes(120),
    params:
        revision=revision("describe_reference"),
        settings=lambda w: table_settings(MODELS[w.model]),
    script:
        "../scripts/describe_model.py"


# Once per reference: the cells whose counts every query reads.
rule sample_reference:
    input:
        **simulated_from("reference"),
        counts="<results>/reference/counts.h5ad",
    output:
        sample=read_by_queries("reference", "counts.h5ad"),
    log:
        "<logs>/sample_reference/counts.log",
    benchmark:
        "<benchmarks>/sample_reference/counts.tsv"
    group:
        # Simulated counts wait for the baseline, which waits for the counts.
        shared(None if SIMULATED else "prepare_reference")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=2),
        runtime=minutes(30),
    params:
        revision=revision("sample_reference"),
        seed=CONFIG["seed"],
    script:
        "../scripts/sample_reference.py"


# With the labels of the annotation and the label map.
use rule sample_reference as sample_labelled_reference with:
    input:
        **simulated_from("reference"),
        counts="<results>/reference/labelled_counts.h5ad",
    output:
        sample=read_by_queries("reference", "labelled_counts.h5ad"),
    log:
        "<logs>/sample_reference/labelled_counts.log",
    benchmark:
        "<benchmarks>/sample_reference/labelled_counts.tsv"
    group:
        # None: it waits for the clusters, which wait for the counts.
        shared(None)


# Queries read a sample, in which other batches are the largest.
rule list_proteins:
    input:
        counts="<results>/reference/counts.h5ad",
    output:
        proteins="<results>/reference/measured_proteins.parquet",
    log:
        "<logs>/list_proteins.log",
    benchmark:
        "<benchmarks>/list_proteins.tsv"
    group:
        shared("prepare_reference")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=2),
        runtime=minutes(30),
    params:
        revision=revision("list_proteins"),
    script:
        "../scripts/list_proteins.py"


# Held-out cells are compared with what queries are compared with.
if SIMULATED:

    use rule sample_reference as sample_fold with:
        input:
            **simulated_from("evaluation/{fold}"),
            counts="<results>/evaluation/{fold}/counts.h5ad",
        output:
            sample="<results>/evaluation/{fold}/simulated.h5ad",
        log:
            "<logs>/sample_reference/{fold}/counts.log",
        benchmark:
            "<benchmarks>/sample_reference/{fold}/counts.tsv"

    use rule sample_reference as sample_labelled_fold with:
        input:
            **simulated_from("evaluation/{fold}"),
            counts="<results>/evaluation/{fold}/labelled_counts.h5ad",
        output:
            sample="<results>/evaluation/{fold}/labelled_simulated.h5ad",
        log:
            "<logs>/sample_reference/{fold}/labelled_counts.log",
        benchmark:
            "<benchmarks>/sample_reference/{fold}/labelled_counts.tsv"


# Once per reference: every query reads it.
rule index_reference:
    input:
        **of_datasets(dataset_cells=CELLS),
        latent="<results>/{split}/models/{model}/latent.parquet",
    output:
        index="<results>/{split}/models/{model}/index.npz",
    log:
        "<logs>/index_reference/{split}/{model}.log",
    benchmark:
        "<benchmarks>/index_reference/{split}/{model}.tsv"
    group:
        shared(group_of_fold)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=12),
        runtime=minutes(60),
    params:
        revision=revision("index_reference"),
        seed=CONFIG["seed"],
    script:
        "../scripts/index_reference.py"


rule embed_reference:
    input:
        training="<results>/reference/models/{model}/training.csv",
        latent="<results>/reference/models/{model}/latent.parquet",
    output:
        umap="<results>/reference/models/{model}/umap.parquet",
        training_figure=report(
            "<results>/reference/models/{model}/training.png",
            caption="../report/training.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "loss curves"},
        ),
    log:
        "<logs>/embed_reference/{model}.log",
    benchmark:
        "<benchmarks>/embed_reference/{model}.tsv"
    group:
        shared(group_of_clusters)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=30),
        runtime=minutes(120, per_input_mb=0.5),
    params:
        revision=revision("embed_reference"),
        settings=CONFIG["umap"],
        seed=CONFIG["seed"],
    script:
        "../scripts/embed_reference.py"


# Apart from the UMAP itself, which other labels do not change.
rule draw_reference:
    input:
        **of_datasets(dataset_cells=CELLS),
        **clusters_of_model(),
        umap="<results>/reference/models/{model}/umap.parquet",
    output:
        figure=report(
            "<results>/reference/models/{model}/umap.png",
            caption="../report/umap.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "UMAP by batch, label and cluster"},
        ),
    log:
        "<logs>/draw_reference/{model}.log",
    benchmark:
        "<benchmarks>/draw_reference/{model}.tsv"
    group:
        shared(group_of_figures)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(30),
    params:
        revision=revision("draw_reference"),
    script:
        "../scripts/draw_reference.py"


rule score_integration:
    input:
        **of_datasets(dataset_cells=CELLS),
        latent="<results>/reference/models/{model}/latent.parquet",
        unintegrated=f"<results>/reference/models/{BASELINE}/latent.parquet",
    output:
        scores="<results>/reference/models/{model}/integration.csv",
    log:
        "<logs>/score_integration/{model}.log",
    benchmark:
        "<benchmarks>/score_integration/{model}.tsv"
    group:
        shared("integration")
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=6000, per_input_mb=14),
        runtime=minutes(120, per_input_mb=0.5),
    params:
        revision=revision("score_integration"),
        settings=CONFIG["integration"],
        seed=CONFIG["seed"],
    script:
        "../scripts/score_integration.py"
