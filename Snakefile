# The entry point: what there is to make. How it is made stands in workflow/rules.
from snakemake.utils import min_version

min_version("9.20")


if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/query.smk"
include: "workflow/rules/tree.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    labels,
    reference,


# Everything: labels, scores, atlas files and the report.
rule all:
    default_target: True
    input:
        expand("<results>/queries/{query}/labels.csv", query=QUERIES),
        expand("<results>/atlas/{model}.h5ad", model=MODELS),
        updated_trees(),
        "<results>/evaluation/integration.csv",
        "<results>/evaluation/transfer.csv",
        "<results>/report/index.html",


# The labels of all queries, without scores and report.
rule labels:
    input:
        expand("<results>/queries/{query}/labels.csv", query=QUERIES),


# The trained reference models alone.
rule reference:
    input:
        expand("<results>/atlas/models/{model}/reference/model.pt", model=MODELS),
