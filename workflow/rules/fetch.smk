# in:  addresses in the sheets
# out: links to the files in the cache that all runs share, and markers that say where they came from


# Where Snakemake runs, because the nodes of many clusters have no way to the internet.
rule fetch_file:
    output:
        file="<results>/fetched/{key}/{file}",
        # What Snakemake keeps if a further download fails: without it, results would be computed again.
        marker=update("<results>/fetched/{key}/{file}.fetched.json"),
    log:
        "<logs>/fetch_file/{key}/{file}.log",
    benchmark:
        "<benchmarks>/fetch_file/{key}/{file}.tsv"
    wildcard_constraints:
        key="[0-9a-f]{64}|address-[0-9a-f]{16}",
        file="[^/]+",
    priority: 200
    localrule: True
    conda:
        "../../envs/refatlas.yaml"
    resources:
        mem_mb=scaled_mem_mb(base=500),
        runtime=minutes(1440),
    params:
        revision=revision("fetch_file"),
        # Not the address, which may hold a password: the job reads it from the sheet.
        sheets={kind: CONFIG[kind] for kind in ("reference", "queries")},
    script:
        "../scripts/fetch_file.py"
