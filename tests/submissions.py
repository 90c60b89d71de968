"""Plans a run on a cluster and prints its submissions, one per line: the rules of their jobs.

usage: python tests/submissions.py ARGUMENTS OF SNAKEMAKE

Snakemake's dry run ignores groups when it prints its jobs, although it has formed them.
"""

import contextlib
import os
import sys
from unittest.mock import patch

from snakemake import cli
from snakemake.dag import DAG


def submissions(arguments: list[str]) -> list[list[str]]:
    """Return the rules of each submission's jobs, in a dry run; local rules are no submissions."""
    planned = []
    postprocess = DAG.postprocess

    async def keep(dag, *args, **kwargs):
        await postprocess(dag, *args, **kwargs)
        planned.append(dag)

    with (
        patch.object(DAG, "postprocess", keep),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.suppress(SystemExit),
    ):
        cli.main([*arguments, "--dry-run"])
    local = planned[-1].workflow._localrules
    found = [
        sorted(j.rule.name for j in (job.jobs if job.is_group() else [job])) for job in planned[-1].get_jobs_or_groups()
    ]
    return sorted(rules for rules in found if not local.issuperset(rules))


if __name__ == "__main__":
    for rules in submissions(sys.argv[1:]):
        print(*rules)
