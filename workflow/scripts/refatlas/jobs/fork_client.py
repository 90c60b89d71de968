"""Runs a job's script in a fork of a process that has the libraries loaded (refatlas.jobs.fork_server).

usage: python -I -S fork_client.py SOCKET PYTHON SCRIPT

The fork works in place of this process: with its folder, environment and streams; this process ends
as the fork does, and takes the fork with it when it is killed. Scripts that train or apply models are forked from the
process at SOCKET.models, one of their own if any of them needs torch. Without an answer, this process becomes PYTHON
SCRIPT itself. It imports nothing but the standard library, because it is started for every job.
"""

import json
import os
import signal
import socket
import struct
import sys

# Scripts that train or apply models, most types of which need torch and scvi-tools. Where they use a GPU, they are not
# forked.
MODEL_SCRIPTS = (
    "train_reference",
    "run_trial",
    "map_query",
    "describe_model",
    "read_pretrained",
    "find_model_markers",
    "compare_density",
    "normalize_expression",
    "predict_counterfactual",
    "check_counterfactual",
    "make_hub_model",
    "learn_regions",
    "place_query",
    "train_receptor_model",
    "map_receptor_model",
)
OF_MODELS = ".models"
STREAMS = (0, 1, 2)
STATUS = struct.Struct("!i")


def forked_status(path: str, script: str) -> int | None:
    """Return how the script ended in a fork: its exit status, or the negative of its signal.

    None if there is no process to fork, or if it refused.

    Args:
        path: of the socket. script: path of the script.
    """
    job = json.dumps({"script": script, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(path)
            socket.send_fds(server, [STATUS.pack(len(job))], STREAMS)
            server.sendall(job)
            # A server that ends while it loads its libraries leaves the connection unanswered.
            if not server.recv(1):
                return None
        except OSError:
            return None
        try:
            answer = server.recv(STATUS.size, socket.MSG_WAITALL)
        except OSError:
            answer = b""
    if len(answer) < STATUS.size:
        sys.exit("the process that runs this job's script ended without an answer; run the workflow again")
    return int(STATUS.unpack(answer)[0])


def needs_models(script: str) -> bool:
    """Return whether a script, or Snakemake's temporary copy of it, trains or applies models."""
    return os.path.basename(script).split(".")[-2:-1] in [[name] for name in MODEL_SCRIPTS]


def main() -> None:
    path, *command = sys.argv[1:]
    script = command[-1]
    server = path + OF_MODELS if needs_models(script) else path
    status = forked_status(server, script) if len(command) == 2 else None
    if status is None:
        os.execvp(command[0], command)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
