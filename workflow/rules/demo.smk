# out: the demo's data, simulated from a seed, in the formats that people have


rule make_demo:
    output:
        **{name: local(file) for name, file in DEMO.items()},
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
        revision=revision("make_demo"),
        seed=20,
    script:
        "../scripts/make_demo.py"
