# in:  an atlas bundle
# out: the results of the reference that jobs of queries read, as the run that made the bundle wrote them

# Versions before 0.9.2 had path and checksum of the bundle as input and param, which Snakemake goes on comparing.
BEFORE = bundle_of_record(Path(LOGS) / "unpack_atlas.json", digest_of(ATLAS))


def place_of_bundle(wildcards, input):
    """Path and checksum of the bundle. Snakemake compares no param whose function takes the inputs, so that the same bundle in another place runs nothing again."""
    file = str(find_manifest(ATLAS_PATH))
    return {"path": file, "sha256": CONFIG["atlas"]["sha256"]}


rule unpack_atlas:
    input:
        bundle=ancient(local(BEFORE["path"])) if BEFORE else [],
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
        runtime=minutes(60 + 0.01 * megabytes([str(find_manifest(ATLAS_PATH))])),
    params:
        **({"sha256": BEFORE["sha256"]} if BEFORE else {}),
        revision=revision("unpack_atlas"),
        digest=digest_of(ATLAS),
        place=place_of_bundle,
    script:
        "../scripts/unpack_atlas.py"
