"""A real SLURM on this machine, for tests: one controller and four nodes on loopback.

Needs root and Debian's packages slurm-wlm and munge; no systemd and no cgroups. Used as a context
manager by the tests, or by hand: `python -m tests.support.slurm` holds it until Ctrl-C.

Its settings are those of a small cluster, with one exception: a requeued job starts after 6 seconds
rather than two minutes (cred_expire). Nodes of the partition `fragile` may be lost.

The configuration has to stand at /etc/slurm/slurm.conf, since Snakemake's job steps drop
SLURM_CONF. A file there that is not ours is left alone, and nothing is started. Everything that is
started carries a token in its environment and is ended by its process number; the daemons also end
by themselves when the process that started them is gone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

CONF = Path("/etc/slurm/slurm.conf")
FIRST_LINE = "# A cluster of one machine, for tests. Made and removed by tests/support/slurm.py.\n"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "setpriv")
NODES = ("n1", "n2", "n3", "n4")
TOKEN = "YUZU_TEST_CLUSTER"

_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd-%n.log
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout={timeout}
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
KillWait=10
MinJobAge=600
JobAcctGatherType=jobacct_gather/linux
JobCompType=jobcomp/filetxt
JobCompLoc={run}/jobs.txt
AccountingStorageType=accounting_storage/none
NodeName=n[1-4] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17004] CPUs=8 \
RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES MaxTime=INFINITE State=UP
PartitionName=fragile Nodes=n[2-4] MaxTime=INFINITE State=UP
PartitionName=all Nodes=n[1-4] MaxTime=INFINITE State=UP
"""


class ClusterError(Exception):
    """The cluster cannot be started, or did not do what it was asked in time."""


def missing() -> str:
    """Why no cluster can be started here; empty when one can."""
    if os.geteuid() != 0:
        return "starting a cluster needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm, munge)"
    if CONF.exists() and not CONF.read_text().startswith(FIRST_LINE):
        return f"{CONF} is there: this machine has a SLURM of its own"
    return ""


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return as soon as `ready`; fail with `what` when it takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(0.05)


class Cluster:
    """Running from `start` to `stop`, or within a `with`.

    Attributes
    ----------
    run : Path
        State, logs, and everything else it writes.
    environment : dict
        For processes that submit jobs; what they start can be found by its token.
    """

    def __init__(self, node_timeout: int = 10) -> None:
        self._timeout = node_timeout
        self._token = secrets.token_hex(8)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = os.environ | {TOKEN: self._token}

    def start(self) -> Cluster:
        """Start every daemon; ready when all nodes are idle."""
        if reason := missing():
            raise ClusterError(reason)
        _clear_leftovers()
        self.run = Path(tempfile.mkdtemp(prefix="yuzu-slurm-", dir="/var/tmp"))
        self.run.chmod(0o755)
        try:
            (self.run / "state").mkdir()
            (self.run / "spool").mkdir()
            text = _CONF.format(run=self.run, timeout=self._timeout)
            CONF.write_text(f"{FIRST_LINE}# {self.run} {self._token}\n{text}")
            self._start_munge()
            self._daemon("slurmctld", "slurmctld", "-D")
            for node in NODES:
                self.start_node(node)
            wait_for("nodes are idle", self._ready)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every job and daemon and remove every file; whatever state they are in."""
        if "slurmctld" in self._daemons:
            subprocess.run(["scancel", "--full", "-u", "root"], capture_output=True, timeout=20)
        for name in [*NODES, "slurmctld", "munged"]:
            self._end(name, signal.SIGTERM)
        for pid in _tagged(self._token):
            _kill(pid)
        _remove_conf(self.run)
        shutil.rmtree(self.run, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_node(self, node: str) -> None:
        """Start the daemon of one node."""
        self._daemon(node, "slurmd", "-D", "-N", node)

    def lose_node(self, node: str) -> None:
        """Kill the daemon of a node and have the controller notice; what it had started runs on."""
        self._end(node, signal.SIGKILL)
        self.tell("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def return_node(self, node: str) -> None:
        """Start the daemon of a lost node again."""
        self.start_node(node)
        self.tell("scontrol", "update", f"nodename={node}", "state=idle")

    def submit(self, script: Path, *options: str, folder: Path, **variables: str) -> str:
        """Number of the job made of a batch script."""
        command = ["sbatch", "--parsable", *options, str(script)]
        return self.tell(*command, folder=folder, **variables).strip()

    def tell(self, *command: str, folder: Path | None = None, **variables: str) -> str:
        """Run one of SLURM's programs; what it prints."""
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def job(self, number: str) -> Mapping[str, str]:
        """What the controller knows about a job or an array task: field -> value."""
        text = self.tell("scontrol", "show", "job", "-o", number)
        return dict(word.partition("=")[::2] for word in text.split() if "=" in word)

    def state(self, number: str) -> str:
        """Such as PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, TIMEOUT."""
        return self.job(number)["JobState"]

    def wait(self, number: str, *states: str, seconds: float = 120.0) -> Mapping[str, str]:
        """The job once it is in one of these states; any end is waited for by default."""
        ends = states or ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_ME")
        what = f"job {number} is {' or '.join(ends)}"
        wait_for(what, lambda: self.state(number).startswith(ends), seconds)
        return self.job(number)

    def _ready(self) -> bool:
        """Whether every node is idle; false before the controller answers."""
        for name, daemon in self._daemons.items():
            if daemon.poll() is not None:
                said = (self.run / f"{name}.out").read_text().strip()
                raise ClusterError(f"{name} has ended: {said}")
        ask = ["scontrol", "show", "node", "-o"]
        done = subprocess.run(ask, capture_output=True, text=True)
        return done.stdout.count(" State=IDLE ") == len(NODES)

    def _daemon(self, name: str, *command: str) -> None:
        # From the main thread, and ended with it.
        guarded = ["setpriv", "--pdeathsig", "KILL", *command]
        with open(self.run / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen(
                guarded, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment
            )

    def _start_munge(self) -> None:
        key = self.run / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.run}/munge.{end}" for option, end in files.items()]
        self._daemon("munged", "munged", "--foreground", f"--key-file={key}", *options)
        wait_for("munged listens", (self.run / "munge.socket").exists)

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _tagged(token: str) -> list[int]:
    """Processes, this one excepted, that carry the token in their environment."""
    mark = f"{TOKEN}={token}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                found.append(int(entry.name))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove_conf(run: Path) -> None:
    try:
        if CONF.read_text().startswith(f"{FIRST_LINE}# {run} "):
            CONF.unlink()
    except OSError:
        return


def _clear_leftovers() -> None:
    """Remove what a killed test left: its daemons ended with it, but not what they had started."""
    if CONF.exists():
        name, token = CONF.read_text().splitlines()[1].split()[1:]
        run = Path(name)
        if run.name.startswith("yuzu-slurm-"):
            pids = [
                int(p.read_text()) for p in run.glob("*.pid") if p.read_text().strip().isdigit()
            ]
            if any(_is_slurm(pid) for pid in pids):
                raise ClusterError(f"another test's cluster is running ({run})")
            for pid in _tagged(token):
                _kill(pid)
            shutil.rmtree(run, ignore_errors=True)
        CONF.unlink()


def _is_slurm(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith(("slurm", "munged"))
    except OSError:
        return False


def _leave(number: int, frame: object) -> None:
    raise SystemExit


def main() -> None:
    """Hold a cluster until Ctrl-C or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    with Cluster() as cluster:
        print(f"SLURM is running, logs in {cluster.run}; Ctrl-C ends it", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
