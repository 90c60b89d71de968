# The entry point of a checkout. The workflow itself is workflow/Snakefile, where Snakemake's workflow catalog expects it.
include: "workflow/Snakefile"


localrules:
    everything,


# An included file sets no default target, so that the root has one of its own.
rule everything:
    default_target: True
    input:
        rules.all.input,
