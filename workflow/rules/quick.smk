# in:  the cells of queries with their labels by the matched baseline, and its calibration
# out: a first answer, before any model is trained: labels and verdict of every query (results/queries/NAME/quick); after the
#      whole run, what the models changed of it
#
# Jobs before these are those of the whole run, which goes on from them.


# What assess_query and deliver_labels make of all sources, made of the matched baseline.
rule deliver_quick:
    input:
        unpack(species_of),
        **of_datasets(dataset_cells=CELLS),
        **of_matched("<results>/queries/{name}"),
        calibration=calibration_of_quick(),
        cells="<results>/queries/{name}/cells.parquet",
    output:
        labels="<results>/queries/{name}/quick/labels.csv",
        verdict="<results>/queries/{name}/quick/verdict.json",
    log:
        "<logs>/deliver_quick/{name}.log",
    benchmark:
        "<benchmarks>/deliver_quick/{name}.tsv"
    priority: 60
    group:
        shared(group_of_query)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=12),
        runtime=minutes(60),
    params:
        revision=revision("deliver_quick"),
        novel=CONFIG["deliver"]["novel"],
        min_confidence=CONFIG["deliver"]["min_confidence"],
        alpha=CONFIG["deliver"]["alpha"],
    script:
        "../scripts/deliver_quick.py"


# Of queries that got a first answer (common.smk: changes_of_first_labels).
rule compare_quick:
    input:
        quick="<results>/queries/{name}/quick/labels.csv",
        labels="<results>/queries/{name}/labels.csv",
    output:
        changes="<results>/queries/{name}/quick/changes.csv",
        cells="<results>/queries/{name}/quick/changed_cells.csv",
    log:
        "<logs>/compare_quick/{name}.log",
    benchmark:
        "<benchmarks>/compare_quick/{name}.tsv"
    group:
        shared(group_of_delivery)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=10),
        runtime=minutes(10),
    params:
        revision=revision("compare_quick"),
    script:
        "../scripts/compare_quick.py"
