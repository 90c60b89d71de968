"""Runs a job's script in a fork of a process that has the libraries loaded (refatlas.jobs.fork_server).

usage: python -I -S fork_client.py SOCKET PYTHON SCRIPT

The fork works in place of this process: with its folder, environment and streams; this process ends
as the fork does, and takes the fork with it when it is killed. Without an answer at SOCKET, and for
scripts that train or apply models, this process becomes PYTHON SCRIPT itself. It imports nothing but the
standard library, because it is started for every job.
"""

import json
import os
import signal
import socket
import struct
import sys

# Scripts that train or apply models: torch must be loaded with the number of threads of its job, and sees its GPU.
NOT_FORKED = (
    "train_reference",
    "run_trial",
    "map_query",
    "describe_model",
    "read_pretrained",
    "find_model_markers",
    "normalize_expression",
    "predict_counterfactual",
    "check_counterfactual",
    "train_receptor_model",
    "map_receptor_model",
)
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
        except OSError:
            return None
        if not server.recv(1):
            return None
        answer = server.recv(STATUS.size, socket.MSG_WAITALL)
    if len(answer) < STATUS.size:
        sys.exit("the process that runs this job's script ended without an answer; run the workflow again")
    return int(STATUS.unpack(answer)[0])


def main() -> None:
    path, *command = sys.argv[1:]
    script = command[-1]
    forked = len(command) == 2 and os.path.basename(script).split(".")[-2:-1] not in [[name] for name in NOT_FORKED]
    status = forked_status(path, script) if forked else None
    if status is None:
        os.execvp(command[0], command)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
