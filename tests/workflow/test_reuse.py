"""The workflow as a module of another one: on a local path, and in a git repository with the wheel.

Which copy of the package runs, and which message comes where it is missing or of another version.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import refatlas
from conftest import REPO, planned, small_counts, write_sheets
from refatlas.io.atomic import read_json

SCRIPTS = REPO / "workflow" / "scripts"
VERSION = refatlas.__version__
OTHER = "9.9.9"
SCAN = "reference/datasets/a/scan.json"
# With `--sdm conda`, the environment of Snakemake itself may have none of these.
OF_JOBS = ("anndata", "h5py", "numba", "pyarrow", "scanpy", "scipy", "scvi", "sklearn", "torch")
VARIED = {"scvi": {"type": "scvi"}, "other": {"type": "scvi", "vary": {"model.n_latent": [5, 10]}}}


@pytest.fixture
def project(tmp_path):
    """A folder with two datasets, a query, and a configuration."""
    for i, name in enumerate("abq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    reference = [{"dataset": n, "path": f"{n}.h5ad"} for n in "ab"]
    write_sheets(tmp_path, reference, [{"query": "q", "path": "q.h5ad"}], evaluation={"folds": 1})
    return tmp_path


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git repository of the current files, tagged with the version."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = copy_source(tmp_path_factory.mktemp("clone of it") / "refatlas")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "All"), ("tag", f"v{VERSION}")):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True, env={**os.environ, **NO_GIT_CONFIG})
    return folder


NO_GIT_CONFIG = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The content of the built wheel, unpacked as an installer does."""
    return install_wheel(copy_source(tmp_path_factory.mktemp("wheel") / "source"))


@pytest.fixture(scope="module")
def other_wheel(tmp_path_factory):
    """The content of the wheel of another version."""
    folder = copy_source(tmp_path_factory.mktemp("other") / "source")
    file = folder / "workflow" / "scripts" / "refatlas" / "__init__.py"
    file.write_text(file.read_text().replace(f'__version__ = "{VERSION}"', f'__version__ = "{OTHER}"'))
    return install_wheel(folder)


def copy_source(folder: Path) -> Path:
    """Copy what a clone of the repository has and reuse needs."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    folder.mkdir(parents=True)
    for name in ("workflow", "config", "envs", "profiles"):
        shutil.copytree(REPO / name, folder / name, ignore=ignored)
    for name in ("Snakefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(REPO / name, folder / name)
    return folder


def install_wheel(source: Path) -> Path:
    """Build the wheel of a copy of the repository, and unpack it; the folder to import from."""
    code = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    run = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (file,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(source.parent / "site")
    return source.parent / "site"


def write_site(folder: Path, installed: Path | None = None, blocked: tuple[str, ...] = ()) -> Path:
    """Write a folder for PYTHONPATH that changes what is installed.

    The editable installation of the repository is hidden, a folder of packages stands where
    site-packages do, and the import of some packages fails.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"""
import os, site, sys
editable = {{{str(SCRIPTS)!r}}} - {{*os.environ["PYTHONPATH"].split(os.pathsep)}}
sys.path[:] = [path for path in sys.path if path not in editable]
if {installed is not None}:
    site.addsitedir({str(installed)!r})
sys.modules.update(dict.fromkeys({blocked!r}))
""")
    return folder


def write_module(
    folder: Path, snakefile: str, configfile: str = "config.yaml", names: str = "* as refatlas_*", **directives: str
) -> None:
    """Write a workflow that uses refatlas as a module, with the module's directives as code."""
    directives = {"snakefile": snakefile, "config": "config", **directives}
    lines = [f"    {name}:\n        {value}\n" for name, value in directives.items()]
    rules = names.replace("*", "* from refatlas", 1)
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text(
        f"configfile: {configfile!r}\n\n\nmodule refatlas:\n{''.join(lines)}\n\nuse rule {rules}\n"
    )


def run_snakemake(folder: Path, *arguments: str, snakefile: Path | None = None, path: tuple[Path, ...] = ()):
    """Run the Snakefile in a folder, or another one on its configuration; return the process, with text output.

    Args:
        path: folders in PYTHONPATH.
    """
    command = [
        *(sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-triggers", "mtime", "params", "input"),
        *(("--snakefile", snakefile, "--configfile", "config.yaml") if snakefile else ()),
        *("--directory", folder, "--show-failed-logs", *arguments),
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder, env=env, check=False)


def succeeded(run: subprocess.CompletedProcess) -> str:
    """Return the output of a run, which must have succeeded."""
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-5000:]
    return run.stdout + run.stderr


def refused(run: subprocess.CompletedProcess) -> str:
    """Return the output of a run as one line, which must have failed with a message alone."""
    text = run.stdout + run.stderr
    assert run.returncode == 1, text[-3000:]
    assert "Traceback" not in text
    return " ".join(text.split())


def local(path: Path) -> str:
    return repr(str(path / "workflow" / "Snakefile"))


def git(repository: Path) -> str:
    return repr(f"git+file://{repository}/workflow/Snakefile@v{VERSION}")


@pytest.mark.parametrize(
    ("directives", "results", "logs"),
    [
        ({}, "results", "logs"),
        ({"prefix": "'annotation'"}, "annotation/results", "annotation/logs"),
        ({"pathvars": "results='labels', logs='labels/logs'"}, "labels", "labels/logs"),
    ],
)
def test_a_module_on_a_local_path_plans_everything(project, directives, results, logs):
    write_module(project, local(REPO), **directives)
    run = run_snakemake(project, "--dry-run")
    text = succeeded(run)
    jobs = planned(run)
    assert (jobs["refatlas_scan_dataset"], jobs["refatlas_prepare_query"], jobs["refatlas_write_report"]) == (2, 1, 1)
    assert f"output: {results}/report/index.html" in text
    assert f"log: {logs}/scan_dataset/a.log" in text
    assert "input: a.h5ad" in text


def test_a_module_reads_the_tables_that_people_write_where_they_are(project):
    (project / "annotation.tsv").write_text("model\tresolution\tcluster\tlabel\nscvi\t1\t0\tA\n")
    (project / "map.tsv").write_text("dataset\tlabel\tname\na\tA\tT\n")
    (project / "excluded.tsv").write_text("cell\na:cell1\n")
    (project / "markers.tsv").write_text("label\tgene\nT\tG1\n")
    config = yaml.safe_load((project / "config.yaml").read_text())
    config |= {"annotation": "annotation.tsv", "label_map": "map.tsv", "exclude": "excluded.tsv"}
    config |= {"suggestions": {"markers": "markers.tsv"}, "models": VARIED}
    (project / "config.yaml").write_text(yaml.safe_dump(config))
    write_module(project, local(REPO), prefix="'atlas'")
    site = write_site(project / "custom", blocked=OF_JOBS)
    run = run_snakemake(project, "--dry-run", path=(REPO / "workflow" / "scripts", site))
    text = succeeded(run)
    assert (planned(run)["refatlas_annotate_cells"], planned(run)["refatlas_train_reference"]) == (1, 2 * 4)
    for file in ("annotation.tsv", "map.tsv", "excluded.tsv", "markers.tsv"):
        assert f" {file}" in text
        assert f"atlas/{file}" not in text


def test_a_module_with_prefix_and_pathvars_runs(project):
    write_module(project, local(REPO), prefix="'annotation'", pathvars="results='out', logs='out/logs'")
    succeeded(run_snakemake(project, f"annotation/out/{SCAN}"))
    assert read_json(project / "annotation" / "out" / SCAN)["n_cells"] == 60
    assert read_json(project / "annotation" / "out" / "logs" / "scan_dataset" / "a.json")["version"] == VERSION


def test_a_module_in_a_git_repository_runs_with_the_wheel(project, repository, wheel):
    site = write_site(project / "custom", wheel)
    write_module(project, git(repository))
    run = run_snakemake(project, "--dry-run", path=(site,))
    succeeded(run)
    assert planned(run)["refatlas_train_reference"] == 6
    succeeded(run_snakemake(project, "results/queries/q/check.json", path=(site,)))
    assert read_json(project / "results" / "queries" / "q" / "check.json")["n_cells"] == 60
    assert read_json(project / "logs" / "prepare_query" / "q.json")["version"] == VERSION


def test_a_module_in_a_git_repository_makes_the_demo(project, repository, wheel):
    shutil.copytree(REPO / "config", project / "config")
    shutil.copy2(REPO / "config" / "config.yaml", project / "config.yaml")
    write_module(project, git(repository))
    site = write_site(project / "custom", wheel)
    assert planned(run_snakemake(project, "--dry-run", path=(site,)))["refatlas_make_demo"] == 1
    succeeded(run_snakemake(project, "results/reference/datasets/spleen/scan.json", path=(site,)))
    assert (project / "demo" / "query_panel.h5ad").exists()


def test_a_module_in_a_git_repository_says_that_the_wheel_is_missing(project, repository):
    write_module(project, git(repository))
    text = refused(run_snakemake(project, "--dry-run", path=(write_site(project / "custom"),)))
    assert "the Python package refatlas is not installed" in text
    assert f"install the wheel of refatlas {VERSION} into the environment that runs Snakemake" in text


def test_a_wheel_of_another_version_is_refused_at_the_start(project, repository, other_wheel):
    write_module(project, git(repository))
    text = refused(run_snakemake(project, "--dry-run", path=(write_site(project / "custom", other_wheel),)))
    assert f"this workflow is refatlas {VERSION}, but Python imported refatlas {OTHER} from {other_wheel}" in text
    assert f"install version {VERSION}" in text


def test_a_job_refuses_a_package_of_another_version(project, repository, wheel, other_wheel):
    write_module(project, git(repository))
    # As in an environment of the jobs that is not Snakemake's own.
    with (project / "Snakefile").open("a") as file:
        file.write(f"\n\nimport os\n\nos.environ['PYTHONPATH'] = {str(other_wheel)!r}\n")
    site = write_site(project / "custom", wheel)
    text = refused(run_snakemake(project, f"results/{SCAN}", path=(site,)))
    assert f"the workflow is refatlas {VERSION}, but the environment of this job has refatlas {OTHER}" in text
    assert f"install version {VERSION} there" in text
    assert not (project / "results" / SCAN).exists()


@pytest.mark.parametrize("place", ["PYTHONPATH", "site-packages"])
@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_a_checkout_runs_its_own_package_whatever_is_installed(project, other_wheel, snakefile, place):
    site = write_site(project / "custom", other_wheel if place == "site-packages" else None)
    path = (other_wheel, site) if place == "PYTHONPATH" else (site,)
    succeeded(run_snakemake(project, f"results/{SCAN}", snakefile=REPO / snakefile, path=path))
    assert read_json(project / "logs" / "scan_dataset" / "a.json")["version"] == VERSION


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_both_snakefiles_make_everything_by_default(project, snakefile):
    jobs = planned(run_snakemake(project, "--dry-run", snakefile=REPO / snakefile))
    assert jobs["write_report"] == 1


def test_planning_needs_no_package_of_the_jobs(project):
    site = write_site(project / "custom", blocked=OF_JOBS)
    run = run_snakemake(project, "--dry-run", snakefile=REPO / "Snakefile", path=(site,))
    assert planned(run)["train_reference"] == 6, succeeded(run)


def test_a_project_deployed_from_the_workflow_catalog_plans_everything(tmp_path, repository, wheel):
    """As snakedeploy writes it: configuration and profiles are copied, and rules keep their names."""
    for name in ("config", "profiles"):
        shutil.copytree(repository / name, tmp_path / name)
    write_module(tmp_path / "workflow", git(repository), configfile="config/config.yaml", names="*")
    run = run_snakemake(tmp_path, "--dry-run", path=(write_site(tmp_path / "custom", wheel),))
    succeeded(run)
    assert "Using workflow specific profile profiles/default" in run.stderr
    assert planned(run)["make_demo"] == 1


def test_the_wheel_has_all_that_the_package_reads(wheel, tmp_path):
    code = """
import json, refatlas
from refatlas.config.settings import complete_config
from refatlas.jobs.provenance import describe_code
config = complete_config({"reference": "r", "queries": "q", "models": {"e": {"type": "expimap"}}})
print(json.dumps([refatlas.__file__, refatlas.__version__, describe_code(), sorted(config["models"])]))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (write_site(tmp_path / "custom", wheel),)))}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert run.returncode == 0, run.stderr
    (tmp_path / "found.json").write_text(run.stdout)
    file, version, described, models = read_json(tmp_path / "found.json")
    assert (Path(file).parent, version, models) == (wheel / "refatlas", VERSION, ["e", "linear"])
    assert (described["version"], described["commit"], described["changed"]) == (VERSION, None, False)
    assert len(described["sha256"]) == 64
    packaged = {path.relative_to(wheel / "refatlas") for path in (wheel / "refatlas").rglob("*") if path.is_file()}
    source = {path.relative_to(SCRIPTS / "refatlas") for path in (SCRIPTS / "refatlas").rglob("*") if path.is_file()}
    assert {path for path in source if "__pycache__" not in path.parts} <= packaged
