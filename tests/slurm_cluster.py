"""A SLURM cluster of one node, this machine, for tests: two pretended GPUs, enforced memory limits, no
accounting database.

Partitions: cpu, gpu, and urgent, whose jobs preempt those of the other two. A preempted job gets
SIGTERM, ten seconds later SIGKILL, and is queued again.

It needs root and Debian's packages slurm-wlm, slurm-wlm-hdf5-plugin and munge. It occupies /etc/slurm
while it runs, because jobs lose SLURM_CONF, and restores what was there. Sessions on the same machine
take turns. Tests use the fixture `cluster` of conftest.py.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py

CONFIGURATION = Path("/etc/slurm")
LOCK = Path("/run/lock/refatlas_slurm_tests")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
PLUGIN = "usr/lib/*/slurm-wlm/acct_gather_profile_hdf5.so"
START_SECONDS = 60

# No partition is the default: a job that names none is refused. Two files stand for GPUs, because
# SLURM wants one for each.
SLURM_CONF = """
ClusterName=refatlas
SlurmctldHost={host}(127.0.0.1)
AuthInfo=socket={root}/munge/socket
SlurmUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=10
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AcctGatherProfileType=acct_gather_profile/hdf5
JobCompType=jobcomp/filetxt
JobCompLoc={root}/finished.txt
TaskProlog={root}/task_prolog
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:pretend:2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=cpu Nodes={host} PriorityTier=1 GraceTime=10
PartitionName=gpu Nodes={host} PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes={host} PriorityTier=2
"""
GRES_CONF = """
NodeName={host} Name=gpu Type=pretend File=/dev/null
NodeName={host} Name=gpu Type=pretend File=/dev/zero
"""
ACCT_GATHER_CONF = """
ProfileHDF5Dir={root}/profile
ProfileHDF5Default=Task
"""
TASK_PROLOG = """#!/bin/sh
env > {root}/environment/$SLURM_JOB_ID.${{SLURM_STEP_ID:-batch}}
"""


class CannotStart(Exception):
    """The reason why no cluster can run on this machine."""


class Cluster:
    """SLURM's records of its jobs. `root` holds its logs and files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def finished(self) -> dict[str, dict[str, str]]:
        """Return SLURM's records of all ended jobs by job id, in order of their end: JobState,
        Partition, TimeLimit (minutes), Tres, StartTime, EndTime …
        """
        path = self.root / "finished.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        records = [dict(field.split("=", 1) for field in line.split(" ") if "=" in field) for line in lines]
        return {record["JobId"]: record for record in records}

    def show(self, job: str) -> dict[str, str]:
        """Return the fields of `scontrol show job`, also for a job that has ended."""
        text = subprocess.run(
            ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, check=True
        ).stdout
        return dict(field.split("=", 1) for field in text.split(" ") if "=" in field)

    def environment(self, job: str, step: str = "0") -> dict[str, str]:
        """Return the environment in which a step's task started; the step "batch" is the batch script."""
        lines = (self.root / "environment" / f"{job}.{step}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def used_mb(self, job: str) -> float:
        """Return the peak memory of a job's batch script plus that of its step, each sampled every second."""
        return sum(most_memory(path) for path in (self.root / "profile").rglob(f"{job}_*.h5"))


def most_memory(path: Path) -> float:
    """Return the peak memory in MB in SLURM's record of one step."""
    used = [0.0]

    def look(_, item) -> None:
        if isinstance(item, h5py.Dataset) and "RSS" in (item.dtype.names or ()):
            used.append(item["RSS"].max() / 1024)

    with h5py.File(path) as file:
        file.visititems(look)
    return max(used)


def missing() -> str | None:
    """Return why no cluster can be started on this machine, or None."""
    if os.geteuid() != 0:
        return "a SLURM cluster for tests needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if not list(Path("/").glob(PLUGIN)):
        absent.append(f"/{PLUGIN}")
    if absent:
        return f"{', '.join(absent)} not found; on Debian: apt-get install slurm-wlm slurm-wlm-hdf5-plugin munge"
    return "this machine is part of a SLURM cluster" if already_running() else None


def already_running() -> bool:
    """Whether SLURM's daemons run on this machine."""
    names = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            names.append(path.read_text().strip())
        except OSError:
            continue
    return bool({"slurmctld", "slurmd"} & set(names))


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other session on this machine has a cluster."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def configuration(files: dict[str, str]) -> Iterator[None]:
    """Write SLURM's configuration files, and restore afterwards what was there, also after an earlier session that was
    killed.
    """
    CONFIGURATION.mkdir(exist_ok=True)
    kept = {CONFIGURATION / name: CONFIGURATION / f"{name}.before_tests" for name in files}
    _restore(kept)
    for path, backup in kept.items():
        if path.exists():
            path.rename(backup)
        else:
            backup.with_suffix(".none_before_tests").touch()
        path.write_text(files[path.name])
    try:
        yield
    finally:
        _restore(kept)


def _restore(kept: dict[Path, Path]) -> None:
    for path, backup in kept.items():
        none = backup.with_suffix(".none_before_tests")
        if none.exists():
            path.unlink(missing_ok=True)
            none.unlink()
        elif backup.exists():
            backup.replace(path)


@contextmanager
def daemon(*command: str, log: Path) -> Iterator[subprocess.Popen]:
    """Run a daemon in the foreground and terminate it afterwards, if need be with SIGKILL.

    It also ends when this process is killed.
    """
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    command = ("setpriv", "--pdeathsig", "TERM", *command)
    with (
        log.open("a") as stream,
        subprocess.Popen(
            command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(what: str, ready, seconds: float = START_SECONDS) -> None:
    """Wait until `ready()` holds.

    Raises:
        TimeoutError: if it does not within the time.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds} s")
        time.sleep(0.1)


def node_is_idle() -> bool:
    """Whether the node accepts jobs and runs none."""
    run = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    return set(run.stdout.split()) == {"idle"}


def cancel_all() -> None:
    """Cancel all jobs, and wait until they have ended."""
    subprocess.run(["scancel", "--signal=KILL", "--full", "--user=root"], capture_output=True, check=False)
    subprocess.run(["scancel", "--user=root"], capture_output=True, check=False)
    wait_for(
        "the end of all jobs",
        lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True, check=False).stdout,
    )


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start the cluster, and stop it afterwards in any case."""
    with ExitStack() as stack:
        stack.enter_context(turn())
        if reason := missing():
            raise CannotStart(reason)
        root = Path(tempfile.mkdtemp(prefix="refatlas_slurm_"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o755)
        for name in ("munge", "state", "spool", "profile", "environment"):
            (root / name).mkdir()
        facts = {
            "root": root,
            "host": socket.gethostname().split(".")[0],
            "cpus": os.cpu_count(),
            "memory_mb": memory_mb(),
        }
        templates = {"slurm.conf": SLURM_CONF, "gres.conf": GRES_CONF, "acct_gather.conf": ACCT_GATHER_CONF}
        stack.enter_context(configuration({name: text.format(**facts) for name, text in templates.items()}))
        (root / "task_prolog").write_text(TASK_PROLOG.format(**facts))
        (root / "task_prolog").chmod(0o755)
        try:
            start(stack, root)
        except TimeoutError as error:
            error.add_note(
                "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(root.glob("*.out")))
            )
            raise
        yield Cluster(root)


def memory_mb() -> int:
    """Return the machine's memory, less a tenth."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20 * 0.9)


def start(stack: ExitStack, root: Path) -> None:
    """Start the three daemons one after the other; the stack terminates them."""
    munge = root / "munge"
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o600)
    places = [
        f"--{name}={munge}/{file}"
        for name, file in (
            ("key-file", "key"),
            ("socket", "socket"),
            ("pid-file", "pid"),
            ("log-file", "log"),
            ("seed-file", "seed"),
        )
    ]
    stack.enter_context(daemon("munged", "--foreground", "--force", *places, log=root / "munged.log"))
    wait_for("munged", (munge / "socket").exists)
    stack.enter_context(daemon("slurmctld", "-D", log=root / "slurmctld.out"))
    wait_for(
        "slurmctld", lambda: subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode == 0
    )
    stack.enter_context(daemon("slurmd", "-D", log=root / "slurmd.out"))
    wait_for("slurmd", node_is_idle)
    stack.callback(cancel_all)
