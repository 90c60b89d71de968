# in:  the latent spaces of the reference, the users' files, and what people wrote: an annotation of clusters, a map of label names
# out: clusters of every model's latent space, their markers, suggested names and templates to fill in (results/reference/models/MODEL);
#      cells and counts with the labels that the annotation and the map give; which model suits the atlas (results/evaluation/models.csv)


rule cluster_reference:
    input:
        latent="<results>/reference/models/{model}/latent.parquet",
    output:
        clusters="<results>/reference/models/{model}/clusters.parquet",
        stability="<results>/reference/models/{model}/cluster_stability.csv",
        by_cluster="<results>/reference/models/{model}/cluster_stability_by_cluster.csv",
        tree="<results>/reference/models/{model}/cluster_tree.csv",
        figure=report(
            "<results>/reference/models/{model}/clusters.png",
            caption="../report/clusters.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "clusters and their stability"},
        ),
    log:
        "<logs>/cluster_reference/{model}.log",
    benchmark:
        "<benchmarks>/cluster_reference/{model}.tsv"
    group:
        shared(group_of_clusters)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=30),
        runtime=minutes(120, per_input_mb=0.5),
    params:
        revision=revision("cluster_reference"),
        settings={k: v for k, v in CONFIG["clusters"].items() if k != "changed"},
        seed=CONFIG["seed"],
    script:
        "../scripts/cluster_reference.py"


# Over all genes of the users' files, read in blocks.
rule find_markers:
    input:
        **of_datasets(scan="scan.json", cells="cells.parquet", genes="genes.parquet"),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        selected="<results>/reference/genes.parquet",
        groups="<results>/reference/models/{model}/clusters.parquet",
        stability="<results>/reference/models/{model}/cluster_stability.csv",
    output:
        markers="<results>/reference/models/{model}/markers.parquet",
        top="<results>/reference/models/{model}/markers.csv",
        dot_plot=report(
            "<results>/reference/models/{model}/markers.png",
            caption="../report/markers.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "markers of clusters"},
        ),
        heat_map="<results>/reference/models/{model}/marker_heat_map.png",
    log:
        "<logs>/find_markers/{model}.log",
    benchmark:
        "<benchmarks>/find_markers/{model}.tsv"
    group:
        shared(group_of_clusters)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=3500, per_input_mb=6, of="groups"),
        runtime=minutes(120, per_input_mb=0.2),
    params:
        revision=revision("find_markers"),
        rows=DATASETS,
    script:
        "../scripts/find_markers.py"


use rule find_markers as find_label_markers with:
    input:
        **of_datasets(
            scan="scan.json",
            cells="cells.parquet",
            genes="genes.parquet",
            labels=CELLS,
        ),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        selected="<results>/reference/genes.parquet",
    output:
        markers="<results>/reference/label_markers.parquet",
        top="<results>/reference/label_markers.csv",
        dot_plot=report(
            "<results>/reference/label_markers.png",
            caption="../report/markers.rst",
            category="Reference",
            labels={"model": "all", "figure": "markers of labels"},
        ),
        heat_map="<results>/reference/label_marker_heat_map.png",
    log:
        "<logs>/find_label_markers.log",
    benchmark:
        "<benchmarks>/find_label_markers.tsv"
    group:
        shared("integration")
    resources:
        mem_mb=scaled_mem_mb(base=3500),
        runtime=minutes(120, per_input_mb=0.2),
    params:
        revision=revision("find_markers"),
        rows=DATASETS,
        columns=["label"],


# By the datasets' own labels, not those of an annotation: a cluster does not suggest its own name.
rule describe_clusters:
    input:
        **of_datasets(dataset_cells="cells.parquet"),
        clusters="<results>/reference/models/{model}/clusters.parquet",
        markers="<results>/reference/models/{model}/markers.parquet",
        genes="<results>/reference/genes.parquet",
        files=suggestion_files(),
    output:
        **of_each(
            RESOLUTIONS,
            "resolution",
            {
                "template": "<results>/reference/models/{model}/annotation/{resolution}.tsv"
            },
        ),
        clusters="<results>/reference/models/{model}/clusters.csv",
        suggestions="<results>/reference/models/{model}/suggestions.csv",
    log:
        "<logs>/describe_clusters/{model}.log",
    benchmark:
        "<benchmarks>/describe_clusters/{model}.tsv"
    group:
        # None where it reads the user's files, which it may refuse: a failed group loses the clusters as well.
        shared(None if suggestion_files() else group_of_clusters)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(60),
    params:
        revision=revision("describe_clusters"),
        suggestions=CONFIG["suggestions"],
        unlabeled=lambda w: CONFIG["unlabeled"],
        n_levels=N_LEVELS,
    script:
        "../scripts/describe_clusters.py"


rule match_labels:
    input:
        unpack(tree_of),
        **of_datasets(dataset_cells="cells.parquet"),
        latent="<results>/reference/models/{model}/latent.parquet",
    output:
        agreement="<results>/reference/models/{model}/label_agreement.csv",
        template="<results>/reference/models/{model}/label_map_template.tsv",
        figure=report(
            "<results>/reference/models/{model}/label_agreement.png",
            caption="../report/label_agreement.rst",
            category="Reference",
            labels={"model": "{model}", "figure": "agreement of the datasets' labels"},
        ),
    log:
        "<logs>/match_labels/{model}.log",
    benchmark:
        "<benchmarks>/match_labels/{model}.tsv"
    group:
        shared(group_of_clusters)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(60),
    params:
        revision=revision("match_labels"),
        k=CONFIG["clusters"]["n_neighbors"],
        seed=CONFIG["seed"],
    script:
        "../scripts/match_labels.py"


# What people wrote becomes the labels of the cells. Ahead of training, so that what does not fit is refused before it.
rule annotate_cells:
    input:
        **of_datasets(dataset_cells="cells.parquet"),
        **clusters_of_annotation(),
        **written_by_people(),
    output:
        **of_datasets(cells="labelled_cells.parquet"),
        summary="<results>/reference/annotation.json",
        changes="<results>/reference/annotation_changes.csv",
        excluded="<results>/reference/excluded_cells.tsv",
    log:
        "<logs>/annotate_cells.log",
    benchmark:
        "<benchmarks>/annotate_cells.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=20),
        runtime=minutes(60),
    params:
        revision=revision("annotate_cells"),
        changed=CONFIG["clusters"]["changed"],
    script:
        "../scripts/annotate_cells.py"


# The counts stay where they are: the file links to them, and has labels of its own.
rule label_counts:
    input:
        **of_datasets(dataset_cells="labelled_cells.parquet"),
        counts="<results>/{split}/counts.h5ad",
    output:
        counts="<results>/{split}/labelled_counts.h5ad",
    log:
        "<logs>/label_counts/{split}.log",
    benchmark:
        "<benchmarks>/label_counts/{split}.tsv"
    priority: 100
    group:
        shared(group_of_labels)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=2),
        runtime=minutes(30),
    params:
        revision=revision("label_counts"),
    script:
        "../scripts/label_counts.py"


rule label_held_out:
    input:
        **of_datasets(dataset_cells="labelled_cells.parquet"),
        cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/cells.parquet",
    output:
        cells=f"<results>/evaluation/{{fold}}/{HELD_OUT}/labelled_cells.parquet",
    log:
        "<logs>/label_held_out/{fold}.log",
    benchmark:
        "<benchmarks>/label_held_out/{fold}.tsv"
    group:
        shared(group_of_split)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(30),
    params:
        revision=revision("label_held_out"),
    script:
        "../scripts/label_held_out.py"


# Which model and settings suit the atlas: with and without labels, beside run time and memory.
rule compare_models:
    input:
        **of_datasets(dataset_cells=CELLS),
        **of_each(
            CLUSTERED,
            "model",
            {
                "clusters": "<results>/reference/models/{model}/clusters.parquet",
                "stability": "<results>/reference/models/{model}/cluster_stability.csv",
                "training": "<results>/reference/models/{model}/training.csv",
            },
        ),
        **of_folds(
            held_out_scores=f"<results>/evaluation/{{fold}}/{HELD_OUT}/scores.csv"
        ),
        integration="<results>/evaluation/integration.csv",
    output:
        table="<results>/evaluation/models.csv",
        clusters="<results>/evaluation/model_clusters.csv",
        labels="<results>/evaluation/model_labels.csv",
        figure=report(
            "<results>/evaluation/models.png",
            caption="../report/models.rst",
            category="Evaluation",
            labels={"figure": "models side by side"},
        ),
    log:
        "<logs>/compare_models.log",
    benchmark:
        "<benchmarks>/compare_models.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(30),
    params:
        revision=revision("compare_models"),
        models=MODELS,
        replicates=CONFIG["comparison"]["replicates"],
    script:
        "../scripts/compare_models.py"


# Ahead of training, so that a table that does not fit the labels is refused before it.
rule find_terms:
    input:
        **of_datasets(dataset_cells=CELLS),
        terms=local(CONFIG["ontology"]["terms"]) if CONFIG["ontology"]["terms"] else [],
    output:
        terms="<results>/reference/ontology.csv",
    log:
        "<logs>/find_terms.log",
    benchmark:
        "<benchmarks>/find_terms.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=10),
        runtime=minutes(10),
    params:
        revision=revision("find_terms"),
        names=CONFIG["ontology"]["names"],
    script:
        "../scripts/find_terms.py"
