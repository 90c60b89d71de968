# in:  an atlas bundle
# out: the results of the reference that jobs of queries read, as the run that made the bundle wrote them


# The time of the bundle's file is not looked at: the same bundle from elsewhere runs nothing again.
rule unpack_atlas:
    input:
        bundle=ancient(local(str(find_manifest(ATLAS_PATH)))),
    output:
        **{f"file:{name}": f"<results>/{name}" for name in bundled_files()},
    log:
        "<logs>/unpack_atlas.log",
    benchmark:
        "<benchmarks>/unpack_atlas.tsv"
    priority: 100
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=1000),
        runtime=minutes(60, per_input_mb=0.01),
    params:
        revision=revision("unpack_atlas"),
        digest=digest_of(ATLAS),
        sha256=CONFIG["atlas"]["sha256"],
    script:
        "../scripts/unpack_atlas.py"
