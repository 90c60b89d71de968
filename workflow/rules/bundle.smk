# in:  the results of the reference that jobs of queries read, and the scores of held-out cells
# out: on request, the atlas in one file: queries are mapped onto it without the files it was made from


rule write_bundle:
    input:
        **{f"file:{name}": f"<results>/{name}" for name in bundled_files()},
        **of_datasets(dataset_cells=CELLS),
        **of_folds(
            held_out_scores=f"<results>/evaluation/{{fold}}/{HELD_OUT}/scores.csv",
            held_out_label_scores=f"<results>/evaluation/{{fold}}/{HELD_OUT}/label_scores.csv",
        ),
        genes="<results>/reference/genes.parquet",
        integration="<results>/evaluation/integration.csv",
    output:
        archive="<results>/bundle/atlas.tar",
        manifest="<results>/bundle/bundle.json",
        card="<results>/bundle/README.md",
    log:
        "<logs>/write_bundle.log",
    benchmark:
        "<benchmarks>/write_bundle.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1500, per_input_mb=2),
        runtime=minutes(60, per_input_mb=0.01),
    params:
        revision=revision("write_bundle"),
        fixed=facts_of_bundle(),
    script:
        "../scripts/write_bundle.py"
