# in:  the reference's files named in the sheet
# out: which cells to keep, which genes to take, and the counts that models are trained on


rule scan_dataset:
    input:
        **({"exclude": local(CONFIG["exclude"])} if CONFIG["exclude"] else {}),
        files=lambda w: files_of(DATASETS[w.dataset]),
    output:
        cells="<results>/reference/datasets/{dataset}/cells.parquet",
        genes="<results>/reference/datasets/{dataset}/genes.parquet",
        summary="<results>/reference/datasets/{dataset}/scan.json",
    log:
        "<logs>/scan_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/scan_dataset/{dataset}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=0.5),
        runtime=minutes(60),
    params:
        **({"datasets": list(DATASETS)} if CONFIG["exclude"] else {}),
        revision=revision("scan_dataset"),
        row=lambda w: DATASETS[w.dataset],
        files=lambda w: fingerprints_of(DATASETS[w.dataset]),
        settings=lambda w: {
            "qc": CONFIG["qc"],
            "unlabeled": CONFIG["unlabeled"],
            "seed": CONFIG["seed"],
        },
    script:
        "../scripts/scan_dataset.py"


rule read_pretrained:
    input:
        pretrained=lambda w: pretrained_files(w.model),
    output:
        facts="<results>/reference/models/{model}/pretrained.json",
    log:
        "<logs>/read_pretrained/{model}.log",
    benchmark:
        "<benchmarks>/read_pretrained/{model}.tsv"
    wildcard_constraints:
        model=one_of(PRETRAINED),
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=3000, per_input_mb=3),
        runtime=minutes(20),
    params:
        revision=revision("read_pretrained"),
        kind=lambda w: MODELS[w.model]["type"],
        sha256=lambda w: MODELS[w.model]["pretrained"]["sha256"],
    script:
        "../scripts/read_pretrained.py"


rule select_genes:
    input:
        unpack(fold_of),
        **of_each(
            PRETRAINED,
            "model",
            {"pretrained": "<results>/reference/models/{model}/pretrained.json"},
        ),
        **of_datasets(scan="scan.json", cells="cells.parquet", genes="genes.parquet"),
        files=[file for row in DATASETS.values() for file in files_of(row)],
    output:
        genes="<results>/{split}/genes.parquet",
    log:
        "<logs>/select_genes/{split}.log",
    benchmark:
        "<benchmarks>/select_genes/{split}.tsv"
    # prepare_query waits for it, and comes before training of a fold.
    priority: 100
    group:
        shared(group_of_split)
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=0.5),
        runtime=minutes(120),
    params:
        revision=revision("select_genes"),
        rows=DATASETS,
        settings=CONFIG["genes"],
    script:
        "../scripts/select_genes.py"


rule build_reference:
    input:
        unpack(fold_of),
        **of_datasets(scan="scan.json", cells="cells.parquet", genes="genes.parquet"),
        **of_each(
            PRETRAINED_WITH_PROTEINS,
            "model",
            {"pretrained": "<results>/reference/models/{model}/pretrained.json"},
        ),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        selected="<results>/{split}/genes.parquet",
    output:
        counts="<results>/{split}/counts.h5ad",
    log:
        "<logs>/build_reference/{split}.log",
    benchmark:
        "<benchmarks>/build_reference/{split}.tsv"
    group:
        shared(group_of_split)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=0.7),
        runtime=minutes(120),
    params:
        revision=revision("build_reference"),
        rows=DATASETS,
    script:
        "../scripts/build_reference.py"
