# in:  an atlas bundle, unpacked, and labelled queries that were mapped onto it
# out: its next version, in which these queries' cells vote


rule grow_atlas:
    input:
        **{f"file:{name}": f"<results>/{name}" for name in bundled_files()},
        **{
            f"{kind}:{name}:{model}": f"<results>/queries/{name}/models/{model}/{kind}.parquet"
            for kind in ("latent", "umap")
            for name in GROWN
            for model in MODELS
        },
        **of_queries(
            GROWN,
            cells="<results>/queries/{name}/cells.parquet",
            counts="<results>/queries/{name}/counts.h5ad",
            check="<results>/queries/{name}/check.json",
        ),
    output:
        archive="<results>/bundle/atlas.tar",
        manifest="<results>/bundle/bundle.json",
        card="<results>/bundle/README.md",
    log:
        "<logs>/grow_atlas.log",
    benchmark:
        "<benchmarks>/grow_atlas.tsv"
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=2000, per_input_mb=12),
        runtime=minutes(60, per_input_mb=0.1),
    params:
        **about_grown_bundle(),
        revision=revision("grow_atlas"),
        atlas=ATLAS,
        version=lambda w: CONFIG["bundle"]["version"],
        rows={name: query_row(name) for name in GROWN},
        cells=CELLS,
        sample=MATCHED_COUNTS,
        seed=CONFIG["seed"],
    script:
        "../scripts/grow_atlas.py"
