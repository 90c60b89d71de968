# in:  the users' files; the labels of the reference
# out: labels of their cells that were made elsewhere (results/reference/datasets/DATASET/external, results/queries/NAME/external),
#      and the votes that they are (results/queries/NAME/external, results/evaluation/FOLD/heldout/external); included only if
#      the configuration names such labels


# Ahead of training, so that a file without them is refused before it.
rule read_query_external_labels:
    input:
        files=lambda w: files_of(query_row(w.name)),
        cells="<results>/queries/{name}/cells.parquet",
    output:
        given="<results>/queries/{name}/external/{external}/given.parquet",
    log:
        "<logs>/read_query_external_labels/{name}/{external}.log",
    benchmark:
        "<benchmarks>/read_query_external_labels/{name}/{external}.tsv"
    wildcard_constraints:
        external=one_of(GIVEN_LABELS),
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60),
    params:
        revision=revision("read_external_labels"),
        row=lambda w: query_row(w.name),
        settings=lambda w: reading_of(w.external),
        unlabeled=lambda w: CONFIG["unlabeled"],
    script:
        "../scripts/read_external_labels.py"


if not ATLAS:

    use rule read_query_external_labels as read_external_labels with:
        input:
            files=lambda w: files_of(DATASETS[w.dataset]),
            cells="<results>/reference/datasets/{dataset}/cells.parquet",
        output:
            given="<results>/reference/datasets/{dataset}/external/{external}/given.parquet",
        log:
            "<logs>/read_external_labels/{dataset}/{external}.log",
        benchmark:
            "<benchmarks>/read_external_labels/{dataset}/{external}.tsv"
        params:
            revision=revision("read_external_labels"),
            row=lambda w: DATASETS[w.dataset],
            settings=lambda w: reading_of(w.external),
            unlabeled=lambda w: CONFIG["unlabeled"],


# It may refuse labels that the reference lacks, so it is in no group, and ahead of training where no annotation waits for a
# model.
rule match_external_labels:
    input:
        unpack(given_labels),
        **of_datasets(dataset_cells=CELLS),
        cells="<results>/{query}/cells.parquet",
    output:
        labels="<results>/{query}/external/{external}/labels.parquet",
        votes="<results>/{query}/external/{external}/votes.json",
    log:
        "<logs>/match_external_labels/{query}/{external}.log",
    benchmark:
        "<benchmarks>/match_external_labels/{query}/{external}.tsv"
    wildcard_constraints:
        external=one_of(GIVEN_LABELS),
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(30),
    params:
        revision=revision("match_external_labels"),
        settings=lambda w: {
            key: GIVEN_LABELS[w.external][key] for key in ("map", "unmapped")
        },
    script:
        "../scripts/match_external_labels.py"
