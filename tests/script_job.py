"""A rule's script, run as a job without Snakemake."""

import importlib.util
from types import SimpleNamespace
from typing import Any

from conftest import REPO
from refatlas.jobs.run import run_logged


class Named(dict):
    """Named inputs, outputs, params or resources of a job, as Snakemake gives them."""

    __getattr__ = dict.__getitem__

    def __iter__(self):
        return iter(self.values())


def run_script(rule: str, log: str, inputs: dict[str, Any], outputs: dict[str, Any], **params: Any) -> None:
    """Run the script of a rule with its log; an InputError ends it with SystemExit, as in a job."""
    found = importlib.util.spec_from_file_location("script_of_job", REPO / f"workflow/scripts/{rule}.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    named = {
        "input": Named({name: str(path) for name, path in inputs.items()}),
        "output": Named({name: str(path) for name, path in outputs.items()}),
        "params": Named({**params, "revision": f"revision 1 of {rule}"}),
        "resources": {},
        "wildcards": {},
    }
    run_logged(module.main, SimpleNamespace(rule=rule, threads=1, log=[log], **named))
