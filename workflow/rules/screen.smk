# in:  what Snakemake logs of its jobs; the progress files that trainings write beside their logs
# out: lines on the screen: progress, failed jobs, and at the end the verdicts and where results are
#
# Only of the Snakemake that a user starts. Where the workflow is a module, the main workflow calls these handlers.
import logging
from pathlib import Path

from snakemake.settings.enums import Quietness
from snakemake.shell import shell

from refatlas.jobs import fork_server
from refatlas.jobs.fork_client import MODEL_SCRIPTS
from refatlas.jobs.gpus import visible_gpus
from refatlas.jobs.progress import (
    ProgressReport,
    in_terminal,
    progress_seconds,
)
from refatlas.jobs.screen import failure_text, quieten
from refatlas.jobs.summary import Delivered, failure_summary, run_summary
from refatlas.jobs.torch_use import needs_torch
from refatlas.jobs.watch import JobWatch

SCREEN = workflow.output_settings
QUIET = set(SCREEN.quiet or ())
# Both profiles ask for it: then the lines of this file take the place of Snakemake's own.
TERSE = bool(QUIET & {Quietness.RULES, Quietness.ALL}) and not SCREEN.verbose
if TERSE and workflow.is_main_process and not SCREEN.dryrun:
    if workflow.modifier.is_main_snakefile():
        quieten(logger)


def show_failure(jobs, message, cluster_logs):
    """Show jobs that failed, which quiet: rules would hide."""
    text = failure_text(
        jobs, message, cluster_logs, SCREEN.show_failed_logs, workflow.local_exec
    )
    if text:
        logger.error(text)


def show_progress(text):
    """Show progress, unless the user wants none."""
    logger.info(text, extra={"quietness": Quietness.PROGRESS})


WATCH = JobWatch(show_failure if TERSE else None)
# One at most; made when the run starts.
PROGRESS_REPORTS = []
# Of fewer jobs, the libraries load as soon without the process.
ENOUGH_TO_FORK = 4


def jobs_of(rule):
    """The jobs of a rule that the targets of this run need, whether they ran now or before."""
    return [job for job in workflow.dag.jobs if job.rule.name.endswith(rule)]


def delivered_queries():
    """The queries whose labels, or first labels, the targets of this run need."""
    delivered = [
        Delivered(job.wildcards["name"], str(job.output.labels), str(job.input.verdict))
        for job in jobs_of("deliver_labels")
    ]
    return delivered or [
        Delivered(
            job.wildcards["name"], str(job.output.labels), str(job.output.verdict)
        )
        for job in jobs_of("deliver_quick")
    ]


def end_progress():
    """Show no more progress."""
    for thread in PROGRESS_REPORTS:
        thread.stop()
    logger.removeHandler(WATCH)


def loads_torch(job):
    """Whether a job loads torch: it trains or applies a model of a type that needs it."""
    script = Path(job.rule.script).stem
    # A query is placed by the methods that the regions were learned with.
    learned = jobs_of("learn_regions") if script == "place_query" else []
    return script in MODEL_SCRIPTS and needs_torch(script, (learned or [job])[0].params)


def fork_jobs():
    """Before the first job: have the jobs of a run on this machine forked from a process that has loaded the libraries, which takes most of the time of small jobs. If any needs torch, those with models are forked from a second process, unless there is a GPU. Not of a few jobs, with software environments, beside another workflow's shell commands, or where REFATLAS_FORK_JOBS is 0."""
    wanted = os.environ.get("REFATLAS_FORK_JOBS") != "0"
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.script]
    with_models = [job for job in jobs if Path(job.rule.script).stem in MODEL_SCRIPTS]
    torch = any(loads_torch(job) for job in with_models)
    enough = len(jobs) - len(with_models) * torch >= ENOUGH_TO_FORK
    alone = all(rule.script or rule.norun for rule in workflow.rules)
    environments = workflow.deployment_settings.deployment_method
    if wanted and enough and alone and workflow.local_exec and not environments:
        models = not torch or (len(with_models) > 1 and not visible_gpus())
        command = fork_server.start(models, torch)
        if command:
            # Snakemake puts it before the command of a script, in place of its own prefix.
            shell.prefix(
                "set -euo pipefail; " + command.replace("{", "{{").replace("}", "}}")
            )


# Snakemake has one handler of each kind for the whole workflow.
onstart:
    fork_jobs()
    try:
        seconds = progress_seconds()
    except InputError as error:
        raise WorkflowError(str(error)) from None
    WATCH.total = len(workflow.dag)
    logger.addHandler(WATCH)
    if seconds != 0 and not QUIET & {Quietness.PROGRESS, Quietness.ALL}:
        other = "running" if workflow.local_exec else "submitted"
        PROGRESS_REPORTS.append(
            ProgressReport(WATCH, show_progress, seconds, in_terminal(), other)
        )
        PROGRESS_REPORTS[-1].start()


onsuccess:
    end_progress()
    pages = {"report": str(job.output.page) for job in jobs_of("write_report")}
    pages |= {"atlas": str(job.output.atlas) for job in jobs_of("export_atlas")}
    text = run_summary(delivered_queries(), pages)
    if text:
        logger.info(text)


onerror:
    end_progress()
    logger.error(failure_summary(WATCH.failed.values()))
