# in:  the reference's cells; latent spaces and labels
# out: held-out folds; how labels are calibrated (results/evaluation/calibration.json); results/evaluation/integration.csv (scib metrics) and transfer.csv
#      (labels against known ones, baselines beside)


rule plan_fold:
    input:
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        cells="<results>/{split}/fold.parquet",
        fold="<results>/{split}/fold.json",
    log:
        "<logs>/plan_fold/{split}.log",
    benchmark:
        "<benchmarks>/plan_fold/{split}.tsv"
    wildcard_constraints:
        split=one_of(FOLDS),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=60),
        runtime=minutes(10),
    params:
        fold=lambda w: FOLDS[w.split],
        unit=CONFIG["evaluation"]["unit"],
        needs_proteins=bool(models_with_proteins(CONFIG)),
        seed=CONFIG["seed"],
    script:
        "../scripts/plan_fold.py"


rule hold_out:
    input:
        unpack(proteins_of),
        files=[file for row in DATASETS.values() for file in files_of(row)],
        scans=expand("<results>/datasets/{dataset}/scan.json", dataset=DATASETS),
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
        genes=expand("<results>/datasets/{dataset}/genes.parquet", dataset=DATASETS),
        selected="<results>/{split}/genes.parquet",
        fold="<results>/{split}/fold.parquet",
        plan="<results>/{split}/fold.json",
    output:
        counts=f"<results>/{{split}}/queries/{HELD_OUT}/counts.h5ad",
        cells=f"<results>/{{split}}/queries/{HELD_OUT}/cells.parquet",
    log:
        "<logs>/hold_out/{split}.log",
    benchmark:
        "<benchmarks>/hold_out/{split}.tsv"
    wildcard_constraints:
        split=one_of(FOLDS),
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=1),
        runtime=minutes(60),
    params:
        rows=list(DATASETS.values()),
        seed=lambda w: [CONFIG["seed"], *w.split.encode()],
        proteins=CONFIG["evaluation"]["proteins"],
    script:
        "../scripts/hold_out.py"


rule score_integration:
    input:
        latent="<results>/{split}/models/{model}/reference/latent.parquet",
        unintegrated=f"<results>/{{split}}/models/{BASELINE}/reference/latent.parquet",
        cells=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        scores="<results>/{split}/models/{model}/reference/integration.csv",
    log:
        "<logs>/score_integration/{split}/{model}.log",
    benchmark:
        "<benchmarks>/score_integration/{split}/{model}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=6000, per_input_mb=14),
        runtime=minutes(120, per_input_mb=0.5),
    params:
        settings=CONFIG["integration"],
        seed=CONFIG["seed"],
    script:
        "../scripts/score_integration.py"


rule collect_integration:
    input:
        scores=expand(
            "<results>/atlas/models/{model}/reference/integration.csv", model=MODELS
        ),
    output:
        table="<results>/evaluation/integration.csv",
    log:
        "<logs>/collect_integration.log",
    benchmark:
        "<benchmarks>/collect_integration.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    script:
        "../scripts/collect_tables.py"


rule calibrate:
    input:
        **sources_of(list(FOLDS), HELD_OUT),
        positions=expand(
            f"<results>/{{split}}/models/{BASELINE}/queries/{HELD_OUT}/latent.parquet",
            split=FOLDS,
        ),
        cells=expand(
            f"<results>/{{split}}/queries/{HELD_OUT}/cells.parquet", split=FOLDS
        ),
        reference=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        calibration="<results>/evaluation/calibration.json",
        held_out="<results>/evaluation/held_out.npz",
        delivered=expand(
            f"<results>/{{split}}/queries/{HELD_OUT}/delivered.parquet", split=FOLDS
        ),
        combined=expand(
            f"<results>/{{split}}/queries/{HELD_OUT}/combined.parquet", split=FOLDS
        ),
    log:
        "<logs>/calibrate.log",
    benchmark:
        "<benchmarks>/calibrate.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=10),
        runtime=minutes(60),
    params:
        models=list(MODELS),
        splits=list(FOLDS),
        folds=calibrating(FOLDS),
        wanted=delivered_source(CONFIG),
        alpha=CONFIG["deliver"]["alpha"],
        novel=CONFIG["deliver"]["novel"],
    script:
        "../scripts/calibrate.py"


rule score_transfer:
    input:
        unpack(fold_of),
        **sources_of("{split}", "{query}"),
        combined="<results>/{split}/queries/{query}/combined.parquet",
        delivered="<results>/{split}/queries/{query}/delivered.parquet",
        cells=cells_of,
        reference=expand("<results>/datasets/{dataset}/cells.parquet", dataset=DATASETS),
    output:
        scores="<results>/{split}/queries/{query}/scores.csv",
        label_scores="<results>/{split}/queries/{query}/label_scores.csv",
        confusion="<results>/{split}/queries/{query}/confusion.csv",
        reliability="<results>/{split}/queries/{query}/reliability.csv",
    log:
        "<logs>/score_transfer/{split}/{query}.log",
    benchmark:
        "<benchmarks>/score_transfer/{split}/{query}.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=60),
        runtime=minutes(30),
    params:
        models=list(MODELS),
    script:
        "../scripts/score_transfer.py"


rule collect_transfer:
    input:
        scores=scored("scores"),
        label_scores=scored("label_scores"),
        reliability=scored("reliability"),
    output:
        transfer="<results>/evaluation/transfer.csv",
        labels="<results>/evaluation/transfer_labels.csv",
        reliability="<results>/evaluation/transfer_reliability.csv",
    log:
        "<logs>/collect_transfer.log",
    benchmark:
        "<benchmarks>/collect_transfer.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    script:
        "../scripts/collect_transfer.py"
