"""Runs on a real SLURM: arrays, requeues, lost nodes, time limits, srun, torchrun and Snakemake.

The cluster is one machine (tests/support/slurm.py); `make slurm-test` runs this. Every result is
compared with that of one undisturbed, unsharded run, bit for bit. `yuzu` is the real program with
two additions: a batch takes longer, so that it can be disturbed, and it is noted which sequences
were computed, so that "continued" is measured rather than believed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.cli import contents, make_world, start
from tests.support.slurm import Cluster, missing, wait_for
from yuzu_cli.runs.info import info

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
ARRAY = ROOT / "configs" / "slurm" / "array.sbatch"
RECORDS, BATCH, SHARDS, FEW = 96, 2, 4, 24
SMALL = ("--cpus-per-task=1", "--mem=500", "--time=10")

RUN = """\
model: {path: model.pt}
input: {fasta: seqs.fa}
compute: {backend: naive, batch_size: 2}
"""

YUZU = """\
#!{python}
import yuzu_cli.cli.run as run
from yuzu_cli.cli import main

def execute(*given, true=run.execute):
    import hashlib, os, time
    from yuzu_cli.engine.scoring import Scorer

    def score(self, wide, true=Scorer.score):
        time.sleep(float(os.environ["DELAY"]))
        with open(os.environ["NOTES"], "a") as notes:
            notes.write("".join(hashlib.md5(row.tobytes()).hexdigest() + "\\n" for row in wide))
        return true(self, wide)

    Scorer.score = score
    return true(*given)

run.execute = execute
main()
"""


@dataclass
class Site:
    """A cluster, a folder with a run to do, and the result that is right."""

    cluster: Cluster
    folder: Path
    expected: dict[str, bytes]

    def variables(self, name: str, delay: float) -> dict[str, str]:
        """Environment of the jobs of one test."""
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        notes = str(self.folder / f"{name}.notes")
        threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return {"PATH": path, "DELAY": str(delay), "NOTES": notes} | threads

    def submit(self, name: str, script: Path, *options: str, delay: float, words: str = "") -> str:
        """Submit a script into a folder of its own; the job's number."""
        (self.folder / name).mkdir(exist_ok=True)
        command = ["sbatch", "--parsable", f"--output={name}.%a.log", *SMALL, *options]
        said = self.cluster.tell(
            *command, str(script), *words.split(), folder=self.folder, **self.variables(name, delay)
        )
        return said.strip()

    def array(
        self, name: str, *options: str, delay: float, shards: int = SHARDS, run: str = "run.yaml"
    ) -> str:
        """Submit the array script of configs/."""
        tasks = f"--array=1-{shards}"
        return self.submit(name, ARRAY, tasks, *options, delay=delay, words=f"{run} {name}")

    def shard(self, name: str, number: int, count: int = SHARDS) -> Path:
        return self.folder / name / f"{number}-of-{count}.h5"

    def batches(self, out: Path) -> int:
        """Batches of an unfinished output that are safe."""
        part = out.with_name(out.name + ".part")
        return info(part)["batches_done"] if (part / "manifest.json").exists() else -1

    def until(self, out: Path, batches: int) -> int:
        """Wait for that many batches; how many there are."""
        wait_for(f"{out} has {batches} batches", lambda: self.batches(out) >= batches)
        return self.batches(out)

    def log(self, name: str, task: int) -> str:
        return (self.folder / f"{name}.{task}.log").read_text()

    def merged(self, name: str, shards: list[Path]) -> dict[str, bytes]:
        """Merge, and read what came of it."""
        out = self.folder / f"{name}.h5"
        command = ["merge", *map(str, shards), "-o", str(out)]
        process = start(command, self.folder)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "warning" not in err
        return contents(out)

    def computed(self, name: str) -> Counter[str]:
        """How often each sequence was computed."""
        return Counter((self.folder / f"{name}.notes").read_text().split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    make_world(folder, RECORDS)
    (folder / "run.yaml").write_text(RUN)
    (folder / "few.yaml").write_text(RUN.replace("seqs", "few"))
    lines = (folder / "seqs.fa").read_text().splitlines(keepends=True)
    (folder / "few.fa").write_text("".join(lines[: 2 * FEW]))
    (folder / "bin").mkdir()
    yuzu = folder / "bin" / "yuzu"
    yuzu.write_text(YUZU.format(python=sys.executable))
    yuzu.chmod(0o755)
    process = start(["run", "-c", "run.yaml", "-o", "whole.h5"], folder)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    with Cluster() as cluster:
        yield Site(cluster, folder, contents(folder / "whole.h5"))
        for log in cluster.run.glob("slurm*.log"):
            shutil.copy(log, folder)


@dataclass
class Flow:
    """The workflow on its way; one of its shards is killed after `killed` batches."""

    site: Site
    folder: Path
    killed: int = 0

    def begin(self) -> None:
        for name in ("model.pt", "seqs.fa"):
            (self.folder / name).symlink_to(self.site.folder / name)
        (self.folder / "flow.yaml").write_text(
            "run_config: ../run.yaml\nshards: 4\nexports: [npz]\nresources:\n"
            "  shard: {cpus: 1, mem_mb: 500, runtime: 10}\n  other: {mem_mb: 500, runtime: 5}\n"
        )
        workflow = ROOT / "configs" / "snakemake"
        command = [sys.executable, "-m", "snakemake", "-s", str(workflow / "Snakefile")]
        command += ["--profile", str(workflow / "profiles" / "slurm"), "--configfile", "flow.yaml"]
        # Without a database for accounts and states; the rest of the profile stays.
        command += ["--slurm-no-account", "--slurm-status-command", "squeue"]
        command += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
        command += ["--default-resources", "slurm_partition=main", "mem_mb=500", "runtime=10"]
        with open(self.folder / "snakemake.log", "w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.site.cluster.environment | self.site.variables("flow", 0.5),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.killer = threading.Thread(target=self._kill_a_shard)
        self.killer.start()

    def _kill_a_shard(self) -> None:
        out = self.folder / "results" / "shards" / "2-of-4.h5"
        while self.process.poll() is None:
            if self.site.batches(out) >= 3:
                os.kill(owner(out), signal.SIGKILL)
                self.killed = self.site.batches(out)
                return
            time.sleep(0.05)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.killer.join()


@pytest.fixture(scope="module", autouse=True)
def flow(site: Site) -> Iterator[Flow]:
    """Begun first, since Snakemake mostly waits."""
    (site.folder / "flow").mkdir()
    found = Flow(site, site.folder / "flow")
    found.begin()
    try:
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module", autouse=True)
def limited(site: Site) -> dict[str, str]:
    """Jobs that will run out of time, begun first: SLURM looks at limits only twice a minute."""
    script = site.folder / "step.sbatch"
    script.write_text(
        "#!/bin/bash\nsrun yuzu run -c run.yaml --shard 1/4 -o limited-step/1-of-4.h5\n"
        'code=$?\necho "yuzu ended with $code"\nexit $code\n'
    )
    options = ["--time=1", "--open-mode=append"]
    begin = ["--signal=B:USR1@45"]
    whole = site.array("limited", *options, *begin, delay=3, shards=1, run="few.yaml")
    step = site.submit("limited-step", script, *options, "--signal=USR1@45", "--array=0", delay=4)
    return {"script": f"{whole}_1", "step": f"{step}_0"}


def stamp(path: Path) -> tuple[int, int, int]:
    """Another file, or one that was written to, has another."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def owner(out: Path) -> int:
    """Number of the process that writes an unfinished output."""
    lock = (out.with_name(out.name + ".part") / "lock").read_bytes()
    return int(json.loads(lock.partition(b"\n")[2])["pid"])


def done_before(log: str) -> list[int]:
    """What the runs of a log found finished."""
    return [int(n) for n in re.findall(r"(\d+) of \d+ records were done before", log)]


def test_a_requeued_and_a_cancelled_task_continue(site: Site) -> None:
    job = site.array("array", delay=0.5)
    second, third = site.shard("array", 2), site.shard("array", 3)
    site.until(second, 3)
    site.cluster.tell("scontrol", "requeue", f"{job}_2")
    cancelled = site.until(third, 3)
    site.cluster.tell("scancel", f"{job}_3")
    site.cluster.wait(f"{job}_3")
    assert site.cluster.state(f"{job}_3") == "CANCELLED"
    assert "before the end; the same command continues" in site.log("array", 3)
    for task in (1, 2, 4):
        assert site.cluster.wait(f"{job}_{task}")["JobState"] == "COMPLETED"
    assert site.cluster.job(f"{job}_2")["Restarts"] == "1"
    assert not third.exists()
    before = {task: stamp(site.shard("array", task)) for task in (1, 2, 4)}
    # Submitted again as a whole: what is finished ends at once, the cancelled task continues.
    again = site.array("array", delay=0.5)
    for task in range(1, SHARDS + 1):
        assert site.cluster.wait(f"{again}_{task}")["JobState"] == "COMPLETED"
    assert {task: stamp(site.shard("array", task)) for task in before} == before
    (requeued,) = done_before(site.log("array", 2))
    assert requeued >= 3 * BATCH
    (continued,) = done_before(site.log("array", 3))
    assert continued >= cancelled * BATCH
    computed = site.computed("array")
    assert len(computed) == RECORDS
    # A batch in flight is dropped, what was finished is not computed again.
    assert computed.total() - RECORDS <= 2 * BATCH
    shards = [site.shard("array", task) for task in range(1, SHARDS + 1)]
    assert site.merged("array", shards) == site.expected


def test_an_orphan_of_a_lost_node_and_its_twin(site: Site) -> None:
    """The first task's twin waits for the orphan; the second's takes over, as over a dead lock."""
    job = site.array("orphan", "--partition=fragile", delay=1.0, shards=2)
    outs = [site.shard("orphan", task, 2) for task in (1, 2)]
    nodes, pids = [], []
    for task, out in enumerate(outs, 1):
        site.until(out, 2)
        nodes.append(site.cluster.job(f"{job}_{task}")["NodeList"])
        pids.append(owner(out))
    for node in set(nodes):
        site.cluster.lose_node(node)
    assert site.cluster.state(f"{job}_1") == "PENDING"
    for pid in pids:
        os.kill(pid, 0)  # the orphans run on
    (outs[1].with_name(outs[1].name + ".part") / "lock").unlink()
    for task in (1, 2):
        assert site.cluster.wait(f"{job}_{task}")["JobState"] == "COMPLETED"
        assert site.cluster.job(f"{job}_{task}")["Restarts"] == "1"
    for node in set(nodes):
        site.cluster.return_node(node)
    first, second = site.log("orphan", 1), site.log("orphan", 2)
    assert "another run writes here" in first
    assert "waiting for it to end" in first
    assert "finished before by the same settings" in first
    assert "another run took this output over" in second
    assert site.merged("orphan", outs) == site.expected


def test_srun_gives_every_task_its_own_shard(site: Site) -> None:
    script = site.folder / "tasks.sbatch"
    script.write_text(
        "#!/bin/bash\nsrun yuzu run -c run.yaml --shard auto -o 'tasks/{shard}-of-{shards}.h5'\n"
    )
    job = site.submit("tasks", script, "--partition=all", "--ntasks=4", "--nodes=4", delay=0)
    assert site.cluster.wait(job)["JobState"] == "COMPLETED"
    shards = [site.shard("tasks", task) for task in range(1, 5)]
    assert site.merged("tasks", shards) == site.expected
    assert site.computed("tasks").total() == RECORDS


def test_torchrun_gives_every_process_its_own_shard(site: Site) -> None:
    script = site.folder / "torch.sbatch"
    script.write_text(
        "#!/bin/bash\n"
        "torchrun --standalone --nproc-per-node 2 --no-python \\\n"
        "    yuzu run -c run.yaml --shard auto -o 'torch/{shard}-of-{shards}.h5'\n"
    )
    job = site.submit("torch", script, "--ntasks=1", delay=0)
    assert site.cluster.wait(job)["JobState"] == "COMPLETED"
    shards = [site.shard("torch", task, 2) for task in (1, 2)]
    assert site.merged("torch", shards) == site.expected
    assert site.computed("torch").total() == RECORDS


def test_a_batch_script_of_several_tasks_without_srun_is_refused(site: Site) -> None:
    script = site.folder / "alone.sbatch"
    script.write_text("#!/bin/bash\nexec yuzu run -c run.yaml --shard auto -o alone/x.h5\n")
    job = site.submit("alone", script, "--ntasks=2", "--array=0", delay=0)
    assert site.cluster.wait(f"{job}_0")["ExitCode"] == "2:0"
    assert "start it with srun" in site.log("alone", 0)


def test_snakemake_on_slurm_with_a_shard_killed(site: Site, flow: Flow) -> None:
    log = (flow.folder / "snakemake.log").read_text
    assert flow.process.wait(timeout=200) == 0, log()
    flow.killer.join()
    assert flow.killed >= 3, log()
    results = flow.folder / "results"
    assert contents(results / "scores.h5") == site.expected
    assert list((results / "exports" / "npz").glob("*.npz"))
    (before,) = done_before((results / "logs" / "shard.2-of-4.log").read_text())
    assert before >= flow.killed * BATCH
    computed = site.computed("flow")
    assert len(computed) == RECORDS
    # Of the one killed: two batches wait to be written, one is written, one computed.
    assert computed.total() - RECORDS <= 4 * BATCH


def test_out_of_time_is_a_warning_and_the_job_continues(
    site: Site, limited: dict[str, str]
) -> None:
    """The script requeues itself; a step that srun started gets the signal without `B:`."""
    assert site.cluster.wait(limited["step"])["ExitCode"] == "143:0"
    assert "yuzu ended with 143" in site.log("limited-step", 0)
    job = site.cluster.wait(limited["script"])
    assert job["JobState"] == "COMPLETED"
    assert int(job["Restarts"]) >= 1
    log = site.log("limited", 1)
    assert log.count("time is up: back to the queue") == int(job["Restarts"])
    assert max(done_before(log)) > 0
    computed = site.computed("limited")
    assert len(computed) == FEW
    assert computed.total() - FEW <= BATCH * int(job["Restarts"])
    with h5py.File(site.shard("limited", 1, 1)) as few, h5py.File(site.folder / "whole.h5") as all_:
        for name in ("scores/delta", "reference", "sequences", "regions/input_index"):
            np.testing.assert_array_equal(few[name], all_[name][:FEW])
