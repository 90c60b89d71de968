"""A process with the libraries loaded, from which the jobs of a run on this machine are forked.

usage: python -m refatlas.jobs.fork_server DESCRIPTOR [DESCRIPTOR]

A small job takes longer to load libraries than to compute. `start` starts this process for as long as
the calling process lives, and returns the command to put before the command of a script
(refatlas.jobs.fork_client). DESCRIPTOR is a socket that listens. A second one is for the jobs that train or apply
models: a fork of this process, which loads torch and scvi-tools as well, serves it. Where none of these jobs needs
torch, this process serves them too.

Nothing here may start threads, of Python or of a library, before the jobs are forked.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

from refatlas.jobs import fork_client
from refatlas.jobs.fork_client import OF_MODELS, STATUS, STREAMS
from refatlas.jobs.imports import record_imports
from refatlas.jobs.process_end import run_to_end

# What jobs before the training of models import, most of all within these modules.
LOADED = (
    "anndata",
    "pyarrow.parquet",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "snakemake.iocontainers",
    "snakemake.logging",
    "threadpoolctl",
    "refatlas.evaluate.label_measures",
    "refatlas.evaluate.verdict",
    "refatlas.prepare.doublets",
    "refatlas.prepare.gene_selection",
    "refatlas.prepare.model_input",
    "refatlas.transfer.cross_fitting",
    "refatlas.transfer.hidden_labels",
    "refatlas.transfer.query_match",
)
# What jobs that train or apply models import besides.
LOADED_WITH_MODELS = ("torch", "lightning", "scvi")
NO_THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "GOTO", "NUMEXPR", "VECLIB_MAXIMUM")}
# pyarrow's allocator starts one when it is loaded.
NO_THREADS["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
# At these, jobs that train save their state, and the processes that they were forked from wait for them.
ENDING = (signal.SIGTERM, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1
SOCKET = "socket"


def start(models: bool = False, torch: bool = True) -> str | None:
    """Start the process, and return the command to put before that of a script.

    None where jobs cannot be forked safely: they need Linux.

    Args:
        models: whether jobs that train or apply models are forked too. Not where they use a GPU.
        torch: whether any of those needs torch, and all of them a process that has loaded it.
    """
    if not (sys.platform == "linux" and hasattr(os, "pidfd_open")):
        return None
    folder = tempfile.mkdtemp(prefix="refatlas_")
    path = f"{folder}/{SOCKET}"
    servers: list[subprocess.Popen[bytes]] = []
    atexit.register(_stop, servers, folder)
    try:
        if models and not torch:
            os.symlink(path, path + OF_MODELS)
        servers.append(_listen(path, *([path + OF_MODELS] if models and torch else [])))
    except OSError:
        return None
    return shlex.join([sys.executable, "-I", "-S", fork_client.__file__, path])


def _listen(*paths: str) -> "subprocess.Popen[bytes]":
    """Start the process that forks jobs for clients of the sockets at these paths."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in paths]
        # Bound here, so that jobs can wait for the process while it loads the libraries.
        for listener, path in zip(listeners, paths, strict=True):
            listener.bind(path)
            listener.listen(1024)
        descriptors = [listener.fileno() for listener in listeners]
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, descriptors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | NO_THREADS,
            pass_fds=descriptors,
        )


def _stop(servers: "list[subprocess.Popen[bytes]]", folder: str) -> None:
    for server in servers:
        assert server.stdin is not None
        server.stdin.close()
    for server in servers:
        server.wait()
    shutil.rmtree(folder, ignore_errors=True)


def load_libraries(names: Iterable[str]) -> None:
    """Import what jobs need. A module that fails to import fails again in the job that needs it."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            traceback.print_exc()
    # Objects that jobs share are not written to by their garbage collectors, and so stay one copy.
    gc.collect()
    gc.freeze()


class Server:
    """Forks jobs for clients until the standard input ends, or a signal asks for the end.

    Attributes:
        listener: the socket.
        for_models: names of the modules that are loaded for jobs with models.
        events: what is waited for: the listener, the standard input, signals, clients and processes of jobs.
        signals: where each signal of `ENDING` is written, and where it is read.
        clients: connection of each job by its process id.
    """

    def __init__(self, listener: socket.socket, for_models: set[str]):
        self.listener, self.for_models = listener, for_models
        self.events = selectors.DefaultSelector()
        self.clients: dict[int, socket.socket] = {}
        self.events.register(listener, selectors.EVENT_READ, (self.accept, None))
        self.signals = socket.socketpair()
        for end in (sys.stdin, self.signals[1]):
            self.events.register(end, selectors.EVENT_READ, (None, None))
        self.signals[0].setblocking(False)
        signal.set_wakeup_fd(self.signals[0].fileno())
        for number in ENDING:
            # The socket tells of it, never in the middle of a fork.
            signal.signal(number, lambda *_: None)

    def serve(self) -> None:
        """Fork jobs until the standard input ends, or a signal comes; then end those that still run."""
        while True:
            for key, _ in self.events.select():
                action, pid = key.data
                if action is None:
                    return self.end_jobs()
                action(pid, key.fileobj)

    def accept(self, _: None, listener: socket.socket) -> None:
        """Fork the job of a client that connects."""
        client, _address = listener.accept()
        try:
            job, streams = receive_job(client)
        except (OSError, ValueError):
            client.close()
            return
        try:
            pid = os.fork()
        except OSError:
            # Without an answer, the client runs the job itself.
            pid = None
        if pid == 0:
            self.events.close()
            for other in (self.listener, *self.signals):
                other.close()
            run_job_script(job, streams, self.for_models)
        for descriptor in streams:
            os.close(descriptor)
        if pid is None:
            return client.close()
        self.clients[pid] = client
        with suppress(OSError):
            client.sendall(b"1")
        self.events.register(client, selectors.EVENT_READ, (self.abandon, pid))
        self.events.register(os.pidfd_open(pid), selectors.EVENT_READ, (self.finish, pid))

    def abandon(self, pid: int, client: socket.socket) -> None:
        """End the job of a client that was killed."""
        # Its job may have ended at the same moment.
        if pid in self.clients:
            self.events.unregister(client)
            os.kill(pid, signal.SIGTERM)

    def finish(self, pid: int, descriptor: int) -> None:
        """Tell the client how its job ended."""
        self.events.unregister(descriptor)
        os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        client = self.clients.pop(pid)
        if client in {key.fileobj for key in self.events.get_map().values()}:
            self.events.unregister(client)
        with suppress(OSError):
            client.sendall(STATUS.pack(status))
        client.close()

    def end_jobs(self) -> None:
        """End all jobs that still run, and wait for them: jobs that train save their state."""
        for pid in self.clients:
            os.kill(pid, signal.SIGTERM)
        for pid, client in self.clients.items():
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with suppress(OSError):
                client.sendall(STATUS.pack(status))


def receive_job(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a client's job, and its streams.

    Raises:
        ValueError: the client sent something else, or was killed.
    """
    header, streams, _, _ = socket.recv_fds(client, STATUS.size, len(STREAMS))
    if len(header) != STATUS.size or len(streams) != len(STREAMS):
        raise ValueError("no job")
    size = STATUS.unpack(header)[0]
    return json.loads(client.recv(size, socket.MSG_WAITALL)), list(streams)


def run_job_script(job: dict[str, Any], streams: list[int], for_models: set[str]) -> NoReturn:
    """Run a script in this process as `python SCRIPT` would, and end the process."""

    def run() -> None:
        _become_client(job, streams)
        record_imports(for_models)
        _set_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        _run_script(job["script"])

    run_to_end(run)


def _become_client(job: dict[str, Any], streams: list[int]) -> None:
    """Take on streams, folder, environment and signals of the client."""
    # The job ends with the process that it was forked from.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for target, descriptor in zip(STREAMS, streams, strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    tempfile.tempdir = None
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _set_threads(n_threads: int) -> None:
    """Set the number of threads of linear algebra and torch, which they read from the environment when loaded."""
    if n_threads > 1:
        from threadpoolctl import threadpool_limits

        threadpool_limits(n_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)


def _run_script(path: str) -> None:
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    sys.argv, sys.path[0] = [path], str(Path(path).parent)
    exec(compile(Path(path).read_bytes(), path, "exec"), module.__dict__)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def serve_models(listener: socket.socket) -> NoReturn:
    """In a fork of the process of the other jobs: load torch and scvi-tools, and fork the jobs with models."""
    _end_with_parent()
    loaded = set(sys.modules)
    load_libraries(LOADED_WITH_MODELS)
    Server(listener, set(sys.modules) - loaded).serve()
    os._exit(0)


def main() -> None:
    # Ctrl-C reaches the jobs themselves; this process ends with Snakemake.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    listener, *of_models = [socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:]]
    load_libraries(LOADED)
    process = os.fork() if of_models else None
    # Each process listens for its own jobs alone, so that nothing waits for one that has ended.
    if process == 0:
        listener.close()
        serve_models(of_models[0])
    for other in of_models:
        other.close()
    Server(listener, set()).serve()
    if process:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
    # Nothing is to be cleared up, and libraries would take seconds to unload, and warn.
    os._exit(0)


if __name__ == "__main__":
    main()
