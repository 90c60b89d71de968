# in:  a query's file, or the counts that a fold holds out; the trained models
# out: the query's counts and latent spaces, its labels by each source, the delivered labels and the verdict on the mapping


# Ahead of training, so that a query that cannot be mapped is refused before it. Its labels stay behind: no model sees them.
rule prepare_query:
    input:
        # The names of the reference's proteins, which a query's are matched to.
        reference=read_by_queries("reference", "counts.h5ad") if WITH_PROTEINS else [],
        files=lambda w: files_of(query_row(w.name)),
        genes="<results>/reference/genes.parquet",
    output:
        cells="<results>/queries/{name}/cells.parquet",
        genes="<results>/queries/{name}/genes.parquet",
        check="<results>/queries/{name}/check.json",
        counts="<results>/queries/{name}/counts.h5ad",
    log:
        "<logs>/prepare_query/{name}.log",
    benchmark:
        "<benchmarks>/prepare_query/{name}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=0.5),
        runtime=minutes(120),
    params:
        revision=revision("prepare_query"),
        row=lambda w: query_row(w.name),
        files=lambda w: fingerprints_of(query_row(w.name)),
        settings=lambda w: {
            "qc": CONFIG["qc"],
            "unlabeled": CONFIG["unlabeled"],
            "min_gene_overlap": CONFIG["query"]["min_gene_overlap"],
        },
    script:
        "../scripts/prepare_query.py"


# Known labels of a query that have no name in common with the reference cannot be scored.
rule check_query_labels:
    input:
        **of_datasets(dataset_cells=CELLS),
        cells="<results>/queries/{name}/cells.parquet",
    output:
        check="<results>/queries/{name}/known_labels.json",
    log:
        "<logs>/check_query_labels/{name}.log",
    benchmark:
        "<benchmarks>/check_query_labels/{name}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(10),
    params:
        revision=revision("check_query_labels"),
        names=[CONFIG["annotation"], CONFIG["label_map"]],
    script:
        "../scripts/check_query_labels.py"


rule map_query:
    input:
        unpack(embeddings_of_query),
        # Not read: a query waits for the choice, so that none is mapped to a model that is about to be trained again.
        unpack(chosen_settings),
        model=of_reference("models/{model}/model.pt"),
        reference=sampled(counts_of_model),
        query="<results>/{query}/counts.h5ad",
    output:
        model="<results>/{query}/models/{model}/model.pt",
        checksum="<results>/{query}/models/{model}/model.pt.sha256",
        description="<results>/{query}/models/{model}/model.json",
        latent="<results>/{query}/models/{model}/latent.parquet",
        training="<results>/{query}/models/{model}/training.csv",
        classifier="<results>/{query}/models/{model}/classifier.parquet",
        fit="<results>/{query}/models/{model}/fit.parquet",
        mapping="<results>/{query}/models/{model}/mapping.json",
    log:
        "<logs>/map_query/{query}/{model}.log",
    benchmark:
        "<benchmarks>/map_query/{query}/{model}.tsv"
    priority: 50
    group:
        shared(unless_on_gpu(group_of_query))
    conda:
        "../../envs/refatlas.yaml"
    resources:
        gpu=gpus_of,
        mem_mb=mapping_mem_mb(MODELS),
        runtime=minutes_by_type(
            MODELS,
            on_gpu=minutes(240, per_input_mb=4, of="query"),
            on_cpu=minutes(60, per_input_mb=0.2, of="query"),
        ),
        checkpoint_seconds=CHECKPOINT_SECONDS,
    params:
        revision=revision("map_query"),
        settings=lambda w: mapping_settings(settings_of(w)),
        seed=CONFIG["seed"],
    script:
        "../scripts/map_query.py"


# By every model: weighted kNN, logistic regression, and what the model's own classifier and its tree of labels say.
rule transfer_labels:
    input:
        unpack(indices_of),
        **of_models(
            query="<results>/{query}/models/{model}/latent.parquet",
            classifier="<results>/{query}/models/{model}/classifier.parquet",
        ),
        **of_each(
            CONFIG["tree"]["models"],
            "model",
            {"tree": "<results>/{query}/models/{model}/tree_labels.parquet"},
        ),
    output:
        **of_models(
            labels="<results>/{query}/models/{model}/labels.parquet",
            distance="<results>/{query}/models/{model}/distance.parquet",
        ),
    log:
        "<logs>/transfer_labels/{query}.log",
    benchmark:
        "<benchmarks>/transfer_labels/{query}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(120),
    params:
        revision=revision("transfer_labels"),
        k=CONFIG["transfer"]["k"],
    script:
        "../scripts/transfer_labels.py"


# By the baseline fitted anew to the reference as the query measured it: labels, and what novelty and verdict are made of.
rule match_query:
    input:
        reference=matched_with,
        query="<results>/{query}/counts.h5ad",
        cells="<results>/{query}/cells.parquet",
    output:
        labels="<results>/{query}/matched/labels.parquet",
        measures="<results>/{query}/matched/measures.parquet",
        agreement="<results>/{query}/matched/agreement.json",
    log:
        "<logs>/match_query/{query}.log",
    benchmark:
        "<benchmarks>/match_query/{query}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2500, per_input_mb=24, of="query"),
        runtime=minutes(120),
    params:
        revision=revision("match_query"),
        seed=CONFIG["seed"],
    script:
        "../scripts/match_query.py"


# One label per cell out of all sources, how the query compares with held-out cells, and the verdict: what calibrate and
# measure_held_out do for held-out cells.
rule assess_query:
    input:
        unpack(calibration_of),
        unpack(criticism_of),
        unpack(mapqc_of),
        unpack(species_of),
        **of_models(
            labels="<results>/queries/{name}/models/{model}/labels.parquet",
            fit="<results>/queries/{name}/models/{model}/fit.parquet",
            mapping="<results>/queries/{name}/models/{model}/mapping.json",
            latent="<results>/queries/{name}/models/{model}/latent.parquet",
            reference_latent="<results>/reference/models/{model}/latent.parquet",
        ),
        **of_folds(
            CALIBRATION_FOLDS,
            measures=f"<results>/evaluation/{{fold}}/{HELD_OUT}/measures.json",
        ),
        **of_datasets(dataset_cells=CELLS),
        **of_matched("<results>/queries/{name}"),
        **of_external("<results>/queries/{name}"),
        cells="<results>/queries/{name}/cells.parquet",
        counts="<results>/queries/{name}/counts.h5ad",
        reference=read_by_queries("reference"),
        baseline=f"<results>/reference/models/{BASELINE}/model.pt",
    output:
        delivered="<results>/queries/{name}/delivered.parquet",
        sources="<results>/queries/{name}/sources.parquet",
        facts="<results>/queries/{name}/sources.json",
        measures="<results>/queries/{name}/measures.json",
        verdict="<results>/queries/{name}/verdict.json",
    log:
        "<logs>/assess_query/{name}.log",
    benchmark:
        "<benchmarks>/assess_query/{name}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(120),
    params:
        revision=revision("assess_query"),
        source=delivered_source(CONFIG),
        novel=CONFIG["deliver"]["novel"],
        seed=CONFIG["seed"],
    script:
        "../scripts/assess_query.py"


rule deliver_labels:
    input:
        **terms_of_labels(),
        **of_models(labels="<results>/queries/{name}/models/{model}/labels.parquet"),
        **of_each(
            CONFIG["tree"]["models"],
            "model",
            {"tree": "<results>/queries/{name}/models/{model}/tree.parquet"},
        ),
        **of_external("<results>/queries/{name}"),
        delivered="<results>/queries/{name}/delivered.parquet",
        verdict="<results>/queries/{name}/verdict.json",
        cells="<results>/queries/{name}/cells.parquet",
    output:
        labels="<results>/queries/{name}/labels.csv",
    log:
        "<logs>/deliver_labels/{name}.log",
    benchmark:
        "<benchmarks>/deliver_labels/{name}.tsv"
    group:
        shared(group_of_delivery)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(30),
    params:
        revision=revision("deliver_labels"),
        min_confidence=CONFIG["deliver"]["min_confidence"],
        alpha=CONFIG["deliver"]["alpha"],
        stop=CONFIG["verdict"]["stop"],
    script:
        "../scripts/deliver_labels.py"


rule classify_by_tree:
    input:
        tree=of_reference("models/{model}/tree.npz"),
        latent="<results>/{query}/models/{model}/latent.parquet",
    output:
        nodes="<results>/{query}/models/{model}/tree.parquet",
        labels="<results>/{query}/models/{model}/tree_labels.parquet",
    log:
        "<logs>/classify_by_tree/{query}/{model}.log",
    benchmark:
        "<benchmarks>/classify_by_tree/{query}/{model}.tsv"
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=10),
        runtime=minutes(60),
    params:
        revision=revision("classify_by_tree"),
    script:
        "../scripts/classify_by_tree.py"
