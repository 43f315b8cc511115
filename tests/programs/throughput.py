"""How fast runs are written, put together and merged, in how much memory; trees side by side.

``python -m tests.programs.throughput --scores EXAMPLE.h5 --tree before=OLD --tree after=. FOLDER``

The scores written are those of a finished output, over and over, so that they pack as scores do.
Every step is a process of its own, on as many cores as asked; the trees take turns, each step is
done `--times` times and the best counts. MB are those of the scores before they are packed. Wall
time tells little on a busy machine, so CPU time stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHILD = """
import json, os, resource, sys, time
from pathlib import Path
task = json.loads(sys.argv[1])
os.sched_setaffinity(0, range(task["cores"]))
import h5py
import numpy as np
from tests.support.runs import make_info, make_rows, shard_info
from yuzu_cli.runs.merge import merge
from yuzu_cli.runs.writer import OutputRun

folder, step = Path(task["folder"]), task["step"]
with h5py.File(task["scores"]) as file:
    scores = file["scores/delta"][:80].reshape(10, 32, 4, -1)
scores = np.ascontiguousarray(scores.astype(task["dtype"]))
rows_in_all = max(128, int(task["mb"] * 1e6 / scores[0].nbytes))
facts = {"length": 500, "mutate_start": 0, "mutate_end": 500, "n_targets": 32, "batch_size": 64,
         "dtype": task["dtype"], "n_records": rows_in_all, "created": "2026-01-01"}

def write(path, info, **options):
    rows = make_rows(info, 0, 64, drop=1 << 30) | {"scores/delta": scores[np.arange(64) % 10]}
    rows.pop("region", None)
    run = OutputRun.open(path, info, **options)
    began = time.perf_counter(), time.process_time()
    for batch, start, stop in run.pending():
        block = {name: values[: stop - start] for name, values in rows.items()}
        block["regions/input_index"] = np.arange(start, stop)
        run.write(batch, block)
    run.flush()
    return run, began

if step in ("write", "write-segments"):
    if step == "write-segments":
        from yuzu_cli.runs import segments
        segments.FIRST = segments.SEGMENT_BYTES = 1 << 26
    run, began = write(folder / "out.h5", make_info(**facts))
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    run.close()
elif step in ("finish", "finish-link"):
    options = {"pack": "no"} if step == "finish-link" else {}
    run = OutputRun.open(folder / "out.h5", make_info(**facts), **options)
    assert not list(run.pending())
    began = time.perf_counter(), time.process_time()
    run.finish()
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
elif step == "shards":
    began = time.perf_counter(), time.process_time()
    for i in (1, 2):
        write(folder / f"{i}.h5", shard_info(i, 2, **facts))[0].finish()
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
else:
    began = time.perf_counter(), time.process_time()
    shards = [folder / "1.h5", folder / "2.h5"]
    merge(shards, folder / "m.h5", force=True, link=step == "merge-link")
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
size = rows_in_all * scores[0].nbytes / 1e6
print(json.dumps({"wall": size / spent[0], "cpu": size / spent[1], "peak": peak, "size": size}))
"""
STEPS = ("write", "finish", "write-segments", "finish", "shards", "merge", "merge-link")


def run(tree: Path, task: dict[str, object]) -> dict[str, float]:
    """One step in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.fspath(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, json.dumps(task)]
    done = subprocess.run(command, env=env, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task['step']}: {done.stderr}")
    return dict(json.loads(done.stdout))


def sweep(tree: Path, task: dict[str, object]) -> dict[str, dict[str, float]]:
    """Every step that the tree knows, by its name."""
    found: dict[str, dict[str, float]] = {}
    folder = Path(str(task["folder"]))
    segmented = (tree / "yuzu_cli" / "runs" / "segment.py").exists()
    last = ""
    for step in STEPS:
        if not segmented and (step == "write-segments" or last == "write-segments"):
            last = step
            continue
        if step.startswith("write"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        name = "pack" if last == "write-segments" else step
        found[name] = run(tree, task | {"step": step})
        last = step
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Print a line for each step, tree, type and number of cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scores", required=True)
    parser.add_argument("--tree", action="append", required=True, help="NAME=PATH")
    parser.add_argument("--mb", type=float, default=1000)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    parser.add_argument("--times", type=int, default=2)
    options = parser.parse_args()
    trees = [(name, Path(path).resolve()) for name, path in (t.split("=") for t in options.tree)]
    for dtype in options.dtypes:
        for cores in options.cores:
            task = {"cores": cores, "dtype": dtype, "mb": options.mb}
            task |= {"scores": os.path.abspath(options.scores)}
            best: dict[tuple[str, str], dict[str, float]] = {}
            for _ in range(options.times):
                for name, tree in trees:
                    folder = options.folder.resolve() / name
                    for step, found in sweep(tree, task | {"folder": str(folder)}).items():
                        old = best.setdefault((step, name), found)
                        for key in ("wall", "cpu"):
                            old[key] = max(old[key], found[key])
            print(f"{dtype}, {cores} core(s), MB/s of wall time and of CPU time, peak MiB")
            for (step, name), found in sorted(best.items()):
                print(
                    f"  {step:15} {name:8} {found['wall']:7.0f} {found['cpu']:7.0f} "
                    f"{found['peak']:6.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
