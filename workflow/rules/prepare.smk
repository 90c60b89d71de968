# in:  the users' files named in the sheets
# out: which cells to keep, which genes to take, and the counts that models see


rule make_demo:
    output:
        **DEMO,
    log:
        "<logs>/make_demo.log",
    benchmark:
        "<benchmarks>/make_demo.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=3000),
        runtime=minutes(10),
    params:
        seed=20,
    script:
        "../scripts/make_demo.py"


rule scan_dataset:
    input:
        files=lambda w: files_of(DATASETS[w.dataset]),
    output:
        cells="<results>/datasets/{dataset}/cells.parquet",
        genes="<results>/datasets/{dataset}/genes.parquet",
        summary="<results>/datasets/{dataset}/scan.json",
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
        row=lambda w: DATASETS[w.dataset],
        files=lambda w: stamps_of(DATASETS[w.dataset]),
        qc=CONFIG["qc"],
        unlabeled=unlabeled,
        seed=CONFIG["seed"],
    script:
        "../scripts/scan_dataset.py"


rule hash_files:
    input:
        files=lambda w: files_of(
            (DATASETS if w.sheet == "datasets" else QUERIES)[w.name]
        ),
        read=lambda w: f"<results>/{w.sheet}/{w.name}/"
        + ("scan.json" if w.sheet == "datasets" else "check.json"),
    output:
        files="<results>/{sheet}/{name}/files.json",
    log:
        "<logs>/hash_files/{sheet}/{name}.log",
    benchmark:
        "<benchmarks>/hash_files/{sheet}/{name}.tsv"
    wildcard_constraints:
        sheet="datasets|queries",
        name=one_of([*DATASETS, *QUERIES]),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(120),
    script:
        "../scripts/hash_files.py"


rule read_pretrained:
    input:
        model=lambda w: f"{MODELS[w.model]['pretrained']['path']}/model.pt",
    output:
        facts="<results>/pretrained/{model}/facts.json",
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
        kind=lambda w: MODELS[w.model]["type"],
        sha256=lambda w: MODELS[w.model]["pretrained"]["sha256"],
    script:
        "../scripts/read_pretrained.py"


rule select_genes:
    input:
        unpack(fold_of),
        pretrained=expand("<results>/pretrained/{model}/facts.json", model=PRETRAINED),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        scans=expand("<results>/datasets/{dataset}/scan.json", dataset=DATASETS),
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
        genes=expand("<results>/datasets/{dataset}/genes.parquet", dataset=DATASETS),
    output:
        genes="<results>/{split}/genes.parquet",
    log:
        "<logs>/select_genes/{split}.log",
    benchmark:
        "<benchmarks>/select_genes/{split}.tsv"
    # check_query waits for it, and comes before training of a fold.
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=0.5),
        runtime=minutes(120),
    params:
        rows=list(DATASETS.values()),
        settings=CONFIG["genes"],
        pretrained=PRETRAINED,
    script:
        "../scripts/select_genes.py"


rule build_reference:
    input:
        unpack(fold_of),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        scans=expand("<results>/datasets/{dataset}/scan.json", dataset=DATASETS),
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
        genes=expand("<results>/datasets/{dataset}/genes.parquet", dataset=DATASETS),
        selected="<results>/{split}/genes.parquet",
        pretrained=expand(
            "<results>/pretrained/{model}/facts.json", model=PRETRAINED_PROTEINS
        ),
    output:
        counts="<results>/{split}/counts.h5ad",
    log:
        "<logs>/build_reference/{split}.log",
    benchmark:
        "<benchmarks>/build_reference/{split}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=0.7),
        runtime=minutes(120),
    params:
        rows=DATASETS,
        pretrained=PRETRAINED_PROTEINS,
    script:
        "../scripts/build_reference.py"


# Ahead of training, so that a query that cannot be mapped is refused before it.
rule check_query:
    input:
        files=lambda w: files_of(QUERIES[w.query]),
        genes="<results>/atlas/genes.parquet",
    output:
        cells="<results>/queries/{query}/cells.parquet",
        genes="<results>/queries/{query}/genes.parquet",
        check="<results>/queries/{query}/check.json",
    log:
        "<logs>/check_query/{query}.log",
    benchmark:
        "<benchmarks>/check_query/{query}.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    threads: 2
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=0.5),
        runtime=minutes(60),
    params:
        row=lambda w: QUERIES[w.query],
        files=lambda w: stamps_of(QUERIES[w.query]),
        qc=CONFIG["qc"],
        unlabeled=unlabeled,
        min_gene_overlap=CONFIG["query"]["min_gene_overlap"],
    script:
        "../scripts/check_query.py"


rule build_query:
    input:
        unpack(proteins_of),
        files=lambda w: counts_of(QUERIES[w.query]),
        check="<results>/queries/{query}/check.json",
        cells="<results>/queries/{query}/cells.parquet",
        genes="<results>/queries/{query}/genes.parquet",
        selected="<results>/{split}/genes.parquet",
    output:
        counts="<results>/{split}/queries/{query}/counts.h5ad",
    log:
        "<logs>/build_query/{split}/{query}.log",
    benchmark:
        "<benchmarks>/build_query/{split}/{query}.tsv"
    wildcard_constraints:
        split="atlas",
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=0.5),
        runtime=minutes(60),
    params:
        row=lambda w: {
            key: QUERIES[w.query][key]
            for key in ("path", "layer", "protein_key", "protein_is_default")
        },
    script:
        "../scripts/build_query.py"
