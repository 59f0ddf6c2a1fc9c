"""A real SLURM of one node on this machine: its three daemons in a folder of their own, stopped with the block.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge, of which no service is started or changed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.studies import ALONE

#: Longest wait for the node to be idle, and for a daemon to end.
PATIENCE_SECONDS = 30.0

COMMANDS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun", "scancel", "scontrol")

# No accounting database, as on many small clusters: finished jobs are known to squeue for MinJobAge seconds only, and
# the plugin trusts squeue where that is three times the pause between two looks. Memory is not checked against the
# machine's (config_overrides), so that the rules' own requests fit; GPUs are device files that stand in for some.
CONFIGURATION = """
ClusterName=whyrobust
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
MinJobAge=900
KillWait=5
Waittime=0
SlurmdParameters=config_overrides
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 \
RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=study Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_commands() -> list[str]:
    """Return the commands of SLURM that are not installed."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def stop(daemon: subprocess.Popen[bytes]) -> None:
    """End a process of our own, by force where it does not end of itself."""
    daemon.terminate()
    try:
        daemon.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def wait_until(holds: Callable[[], bool], what: str, folder: Path) -> None:
    """Wait until something holds.

    Raises:
        RuntimeError: it does not within `PATIENCE_SECONDS`; the message has the ends of the logs in ``folder``.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            logs = "".join(f"{path.name}:\n{path.read_text()[-2000:]}\n" for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"{what} after {PATIENCE_SECONDS:.0f} s:\n{logs}")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on: SLURM's own are left to a cluster that the machine may be part of."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


def write_files(folder: Path, host: str, cores: int, memory_mb: int, gpus: int) -> None:
    """Write the configuration, the key, the devices that stand in for GPUs, and `srun` by its configuration."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o400)
    for number in range(gpus):
        # The null device: what matters is that each job is given another one.
        os.mknod(folder / f"gpu{number}", 0o20600, os.makedev(1, 3))
    controller_port, node_port = free_ports(2)
    text = CONFIGURATION.format(
        host=host, folder=folder, cores=cores, memory_mb=memory_mb, gpus=gpus,
        controller_port=controller_port, node_port=node_port,
    )  # fmt: skip
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(
        f"NodeName={host} Name=gpu File={folder}/gpu[0-{gpus - 1}] Flags=nvidia_gpu_env\n" if gpus else ""
    )
    # Jobs of Snakemake's plugin drop all variables of SLURM before they call srun, the place of the configuration too.
    (folder / "bin" / "srun").write_text(
        f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
    )
    (folder / "bin" / "srun").chmod(0o755)


@contextmanager
def one_node_slurm(cores: int, memory_mb: int, gpus: int = 0) -> Iterator[dict[str, str]]:
    """Start a SLURM, yield the environment in which its commands reach it, and stop it.

    Args:
        cores: that jobs may take in all; more than the machine has is allowed.
        memory_mb: that jobs may take in all, not checked either.
        gpus: number of devices that stand in for GPUs.

    Raises:
        RuntimeError: a daemon did not start; the message has the end of its log.
    """
    host = socket.gethostname().partition(".")[0]
    with ExitStack() as stack:
        # A short path: that of a socket may have 107 characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp")))
        folder.chmod(0o711)
        write_files(folder, host, cores, memory_mb, gpus)
        env = (
            os.environ
            | ALONE
            | {
                "SLURM_CONF": f"{folder}/slurm.conf",
                "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
            }
        )

        def start(*command: str) -> None:
            """Start a daemon that stays in the foreground, and ends with the block or with this process."""
            with (folder / f"{command[0]}.out.log").open("wb") as log:
                daemon = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", *command],
                    stdout=log, stderr=log, env=env, start_new_session=True,
                )  # fmt: skip
            stack.callback(stop, daemon)

        start(
            "munged", "--foreground", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed",
        )  # fmt: skip
        wait_until((folder / "munge.socket").exists, "munge does not answer", folder)
        start("slurmctld", "-D", "-c", "-f", f"{folder}/slurm.conf")
        start("slurmd", "-D", "-N", host, "-f", f"{folder}/slurm.conf")

        def idle() -> bool:
            """Tell whether the node takes jobs."""
            states = subprocess.run(
                ["sinfo", "--noheader", "--format=%T"], env=env, capture_output=True, text=True, check=False
            )
            return "idle" in states.stdout

        wait_until(idle, "the node of SLURM is not idle", folder)
        # What is still running when the block ends, on an error, ends with it.
        stack.callback(subprocess.run, ["scancel", "--full", "--user", "root"], env=env, check=False)
        yield env
