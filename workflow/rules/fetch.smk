# in:  addresses in the sheets, and those of pretrained models of the Hugging Face Hub
# out: links to the files in the cache that all runs share, and markers that say where they came from


# Where Snakemake runs, because the nodes of many clusters have no way to the internet.
rule fetch_file:
    output:
        file="<results>/fetched/{key}/{file}",
        marker="<results>/fetched/{key}/{file}.fetched.json",
    log:
        "<logs>/fetch_file/{key}/{file}.log",
    benchmark:
        "<benchmarks>/fetch_file/{key}/{file}.tsv"
    wildcard_constraints:
        key=one_of(missing_files()),
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
    script:
        "../scripts/fetch_file.py"
