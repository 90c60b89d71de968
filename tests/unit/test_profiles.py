"""The shipped profiles, with their templates filled in."""

import os
import re

import pytest
from snakemake.profiles import ProfileConfigFileParser

from conftest import REPO, site_profile


def filled_in(folder) -> dict:
    """Return a profile as Snakemake reads it."""
    with (folder / "profile.v9+.yaml").open() as file:
        return dict(ProfileConfigFileParser().parse(file))


def test_the_profile_knows_all_rules_that_request_a_gpu(tmp_path):
    text = "".join(path.read_text() for path in (REPO / "workflow/rules").iterdir())
    rules = {
        re.match(r"(\w+):", rule)[1] for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:] if "gpu=" in rule
    }
    # A rule that is made of another one has its resources.
    rules |= {name for base, name in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE) if base in rules}
    settings = filled_in(site_profile(tmp_path, gpu_partition='"gpu"'))["set-resources"]
    assert {setting.split(":")[0] for setting in settings} == rules


def test_every_rule_requests_more_memory_when_it_is_retried():
    requested = [
        line.strip()
        for path in (REPO / "workflow/rules").iterdir()
        for line in path.read_text().splitlines()
        if "mem_mb=" in line
    ]
    functions = "scaled_mem_mb", "training_mem_mb", "mapping_mem_mb", "describing_mem_mb", "criticism_mem_mb"
    functions += ("trial_mem_mb", "marker_mem_mb")
    assert requested
    assert [line for line in requested if not re.fullmatch(rf"mem_mb=({'|'.join(functions)})\(.*\),", line)] == []


def test_the_shipped_profile_names_no_site():
    profile = filled_in(REPO / "profiles/slurm")
    assert profile["default-resources"] == ["mem_mb=2000", "runtime=60", "shared_submissions=1"]
    assert not {"set-resources", "slurm-status-command", "resources"} & set(profile)


def test_file_times_of_code_trigger_nothing_in_either_profile():
    for name in ("default", "slurm"):
        assert filled_in(REPO / "profiles" / name)["rerun-triggers"] == ["mtime", "params", "input"]


def test_both_profiles_leave_the_screen_to_the_workflow_and_show_logs_of_failed_jobs():
    for name in ("default", "slurm"):
        profile = filled_in(REPO / "profiles" / name)
        assert (profile["quiet"], profile["show-failed-logs"]) == (["rules", "host"], "True")


def test_each_setting_of_a_site_has_its_effect(tmp_path):
    names = {"account": '"123"', "partition": '"cpu-long"', "gpu_partition": '"gpu"', "gpu_model": '"a100"'}
    profile = filled_in(site_profile(tmp_path, **names, accounting="false", max_jobs="7"))
    assert profile["default-resources"][3:] == ["slurm_account='123'", "slurm_partition='cpu-long'"]
    assert (
        "map_query:slurm_partition='gpu' if wildcards.get('model') not in ['linear'] else 'cpu-long'"
        in profile["set-resources"]
    )
    assert (
        "map_query:gpu_model='a100' if wildcards.get('model') not in ['linear'] else None" in profile["set-resources"]
    )
    assert (profile["slurm-status-command"], profile["jobs"]) == ("squeue", "7")
    profile = filled_in(site_profile(tmp_path, node_cores="48", node_mem_mb="180000"))
    assert (profile["cores"], profile["resources"]) == ("48", ["mem_mb=180000"])
    profile = filled_in(site_profile(tmp_path, **names, gpu_flag='"gres"'))
    assert {
        "map_query:gpu=0",
        "map_query:gres='gpu:a100:1' if wildcards.get('model') not in ['linear'] else None",
    } <= set(profile["set-resources"])


@pytest.mark.parametrize(("visible", "n"), [("", os.cpu_count()), ("4", 1), ("0,2,3", 3)])
def test_a_workstation_runs_as_many_gpu_jobs_as_it_has_gpus_or_without_one_cores(monkeypatch, visible, n):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert filled_in(REPO / "profiles/default")["resources"][0] == f"gpu={n}"


@pytest.mark.parametrize(("given", "of_machine"), [(None, True), ("0", True), ("1500", False), ("900000000", True)])
def test_jobs_request_the_memory_of_the_machine_or_of_the_allocation(monkeypatch, given, of_machine):
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    if given is not None:
        monkeypatch.setenv("SLURM_MEM_PER_NODE", given)
    memory = filled_in(REPO / "profiles/default")["resources"][1]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert memory == f"mem_mb={machine if of_machine else given}"


def test_gpus_of_a_workstation_are_counted_by_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert filled_in(REPO / "profiles/default")["resources"][0] == f"gpu={os.cpu_count()}"
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU 0\necho GPU 1\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert filled_in(REPO / "profiles/default")["resources"][0] == "gpu=2"


def test_resources_of_single_rules_are_kept_beside_partitions(tmp_path):
    path = site_profile(tmp_path, gpu_partition='"gpu"') / "profile.v9+.yaml"
    path.write_text(
        path.read_text().replace("amounts: {}", "amounts: {select_genes: {runtime: 300}, map_query: {mem_mb: 9000}}")
    )
    settings = filled_in(tmp_path)["set-resources"]
    assert {
        "select_genes:runtime=300",
        "map_query:mem_mb=9000",
        "map_query:slurm_partition='gpu' if wildcards.get('model') not in ['linear'] else None",
    } <= set(settings)
