"""Jobs that are forked from a process with the libraries loaded end, print and see what they would by themselves."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import REPO
from refatlas.jobs import fork_client, fork_server

RULE = re.compile(r"^(?:rule|use rule|checkpoint) ", flags=re.MULTILINE)
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="jobs are forked on Linux alone")
SEEN = """
import json, os, sys
print("to stderr", file=sys.stderr)
print(json.dumps({
    "loaded": "anndata" in sys.modules, "name": __name__, "file": __file__, "argv": sys.argv, "folder": os.getcwd(),
    "variable": os.environ.get("OF_JOB"), "parent": os.getppid(), "threads": os.environ["OMP_NUM_THREADS"],
}))
"""


@pytest.fixture(scope="module")
def command():
    """The words to put before the command of a script."""
    found = fork_server.start()
    assert found is not None
    return shlex.split(found)


@pytest.fixture(scope="module")
def with_models():
    """The words to put before the command of a script, where those that train are forked too."""
    return shlex.split(fork_server.start(models=True))


def run(command, folder, text: str, name: str = "tmpx.rule.py", **environment):
    script = folder / name
    script.write_text(text)
    return subprocess.run(
        [*command, sys.executable, str(script)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_forked_script_has_folder_environment_and_streams_of_its_job(command, tmp_path):
    found = run(command, tmp_path, SEEN, OF_JOB="here", OMP_NUM_THREADS="2")
    seen = json.loads(found.stdout)
    assert (found.returncode, found.stderr) == (0, "to stderr\n")
    assert seen["loaded"]
    assert seen["name"] == "__main__"
    assert seen["folder"] == str(tmp_path)
    assert seen["argv"] == [seen["file"]] == [str(tmp_path / "tmpx.rule.py")]
    assert (seen["variable"], seen["threads"]) == ("here", "2")
    # Nothing of it stays for the next job.
    assert json.loads(run(command, tmp_path, SEEN).stdout)["variable"] is None


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('message')", 1),
        ("raise ValueError('wrong')", 1),
        ("import os; os._exit(0)", 0),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    ],
)
def test_the_client_ends_as_the_script_did(command, tmp_path, text, status):
    found = run(command, tmp_path, text)
    assert found.returncode == status
    assert ("ValueError: wrong" in found.stderr) == ("ValueError" in text)
    assert ("message" in found.stderr) == ("message" in text)


def test_a_script_that_trains_runs_by_itself(command, tmp_path):
    seen = json.loads(run(command, tmp_path, SEEN, "tmpx.train_reference.py").stdout)
    assert not seen["loaded"]
    assert seen["argv"] == [str(tmp_path / "tmpx.train_reference.py")]


@pytest.mark.parametrize("n_threads", ["1", "2"])
def test_scripts_that_train_are_forked_from_a_process_of_their_own(with_models, tmp_path, n_threads):
    text = """
import json, os, sys
loaded = "scvi" in sys.modules
import torch
print(json.dumps([loaded, torch.get_num_threads(), os.getppid()]))
"""
    found = run(with_models, tmp_path, text, "tmpx.train_reference.py", OMP_NUM_THREADS=n_threads)
    loaded, of_torch, server = json.loads(found.stdout)
    assert (loaded, of_torch) == (True, int(n_threads))
    # It may be forked safely: its libraries have started no thread.
    assert len(os.listdir(f"/proc/{server}/task")) == 1
    assert json.loads(run(with_models, tmp_path, "import sys; print(int('scvi' in sys.modules))").stdout) == 0


def test_scripts_that_train_without_torch_are_forked_from_the_process_of_the_others(tmp_path):
    command = shlex.split(fork_server.start(models=True, torch=False))
    text = """
import json, os, sys
print(json.dumps([os.getppid(), "anndata" in sys.modules, "torch" in sys.modules]))
"""
    trained, other = (
        json.loads(run(command, tmp_path, text, name).stdout) for name in ("tmpx.train_reference.py", "tmpx.rule.py")
    )
    assert trained == other == [trained[0], True, False]


@pytest.mark.parametrize(("line", "used"), [("import pandas", False), ("from scvi.model import SCVI", True)])
def test_a_record_names_the_packages_of_models_only_if_the_job_uses_them(with_models, tmp_path, line, used):
    text = f"""
import json, sys
{line}
sys.path.insert(0, {str(REPO / "workflow/scripts")!r})
from refatlas.jobs.provenance import imported_versions
print(json.dumps(imported_versions()))
"""
    found = json.loads(run(with_models, tmp_path, text, "tmpx.train_reference.py").stdout)
    assert ("scvi-tools" in found) == ("torch" in found) == used
    assert "pandas" in found


def test_no_script_that_may_use_a_gpu_is_forked_where_there_is_one():
    rules = [text for file in (REPO / "workflow/rules").glob("*.smk") for text in RULE.split(file.read_text())]
    scripts = {re.findall(r"scripts/(\w+)\.py", text)[0] for text in rules if "  gpu=" in text}
    assert "train_reference" in scripts
    assert scripts - set(fork_client.MODEL_SCRIPTS) == set()


def test_a_script_runs_by_itself_where_nothing_answers(command, tmp_path):
    found = run([*command[:-1], str(tmp_path / "none")], tmp_path, SEEN)
    assert found.returncode == 0
    assert not json.loads(found.stdout)["loaded"]


def test_a_script_runs_by_itself_where_the_server_ends_while_it_loads(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        found = []
        client = threading.Thread(
            target=lambda: found.append(fork_client.forked_status(str(tmp_path / "s"), "x.rule.py"))
        )
        client.start()
        time.sleep(0.5)
    client.join(10)
    assert found == [None]


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_client_takes_its_script_with_it(command, tmp_path):
    (tmp_path / "tmpx.rule.py").write_text(
        "import os, time\nopen('pid.part', 'w').write(str(os.getpid()))\nos.rename('pid.part', 'pid')\ntime.sleep(60)\n"
    )
    client = subprocess.Popen([*command, sys.executable, "tmpx.rule.py"], cwd=tmp_path)
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    assert is_running(pid)
    client.kill()
    client.wait()
    wait_for(lambda: not is_running(pid))


def test_jobs_and_folder_end_with_the_process_that_started_them(tmp_path):
    (tmp_path / "tmpx.train_reference.py").write_text(
        "import os, time\nopen('pid.part', 'w').write(str(os.getpid()))\nos.rename('pid.part', 'pid')\ntime.sleep(60)\n"
    )
    program = (
        "import shlex, subprocess, sys, time\nfrom refatlas.jobs import fork_server\n"
        "command = shlex.split(fork_server.start(models=True))\nprint(command[-1], flush=True)\n"
        "subprocess.Popen([*command, sys.executable, 'tmpx.train_reference.py'], stderr=subprocess.DEVNULL)\n"
        "sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    socket_path = starter.stdout.readline().strip()
    folder = os.path.dirname(socket_path)
    assert os.stat(folder).st_mode & 0o077 == 0
    wait_for((tmp_path / "pid").exists, 300)
    starter.stdin.close()
    assert starter.wait(60) == 0
    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))
    assert not os.path.exists(folder)
    # Libraries of models have much to say when they are unloaded.
    assert starter.stderr.read() == ""


def test_jobs_save_their_state_when_all_processes_are_asked_to_end(tmp_path):
    (tmp_path / "tmpx.train_reference.py").write_text(
        "import os, signal, sys, time\n"
        "def save(*_):\n    time.sleep(1)\n    open('saved', 'w').close()\n    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\nopen('ready', 'w').close()\ntime.sleep(60)\n"
    )
    program = (
        "import shlex, subprocess, sys\nfrom refatlas.jobs import fork_server\n"
        "command = shlex.split(fork_server.start(models=True))\n"
        "subprocess.run([*command, sys.executable, 'tmpx.train_reference.py'])\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, start_new_session=True)
    wait_for((tmp_path / "ready").exists, 300)
    # As the end of an allocation does.
    os.killpg(starter.pid, signal.SIGTERM)
    wait_for((tmp_path / "saved").exists)
    starter.wait(60)


def test_a_job_that_cannot_be_forked_runs_by_itself(tmp_path):
    program = (
        "import os\nfrom refatlas.jobs import fork_server\n"
        "def refuse():\n    raise BlockingIOError\n"
        "os.fork, fork_server.LOADED = refuse, ()\nfork_server.main()\n"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        server = subprocess.Popen(
            [sys.executable, "-c", program, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    assert fork_client.forked_status(str(tmp_path / "s"), "x.rule.py") is None
    assert server.poll() is None
    server.stdin.close()
    assert server.wait(60) == 0
