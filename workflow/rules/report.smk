# in:  everything above
# out: the provenance of all results, and the report


# After every job but the report's own, because a job that has not ended has left no record to gather.
rule record_provenance:
    input:
        unpack(reported),
        **of_queries(exported="<results>/queries/{name}/{name}.h5ad"),
        exported="<results>/reference/reference.h5ad",
        updated_trees=updated_trees(),
    output:
        provenance="<results>/provenance.json",
    log:
        "<logs>/record_provenance.log",
    benchmark:
        "<benchmarks>/record_provenance.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(10),
    params:
        revision=revision("record_provenance"),
        known={
            "dataset": list(DATASETS),
            "name": list(QUERIES),
            "query": [
                *(f"queries/{name}" for name in QUERIES),
                *(f"evaluation/{fold}/{HELD_OUT}" for fold in FOLDS),
            ],
            "model": list(MODELS),
            "split": ["reference", *(f"evaluation/{fold}" for fold in FOLDS)],
            "fold": list(FOLDS),
        },
        config=CONFIG,
    script:
        "../scripts/record_provenance.py"


rule write_report:
    input:
        unpack(reported),
        provenance="<results>/provenance.json",
    output:
        page="<results>/report/index.html",
        config="<results>/report/config.yaml",
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    group:
        shared(group_of_report)
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000, per_input_mb=4),
        runtime=minutes(30),
    params:
        revision=revision("write_report"),
        config=CONFIG,
        left_out=LEFT_OUT,
    script:
        "../scripts/write_report.py"
