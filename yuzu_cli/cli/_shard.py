"""`--shard auto`: which part of the input this process has, as its scheduler tells it.

Reads environment variables and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from yuzu_cli.errors import UsageError

_WHERE = "--shard auto"


def _whole(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise UsageError(_WHERE, f"{name} is {text or 'not set'}", "give --shard I/N")
    return int(text)


def _array(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """0-based index and count of a SLURM array task."""
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return None
    task, count = _whole(environ, "SLURM_ARRAY_TASK_ID"), _whole(environ, "SLURM_ARRAY_TASK_COUNT")
    first = _whole(environ, "SLURM_ARRAY_TASK_MIN", 0)
    step = max(1, _whole(environ, "SLURM_ARRAY_TASK_STEP", 1))
    last = _whole(environ, "SLURM_ARRAY_TASK_MAX", first + (count - 1) * step)
    index, rest = divmod(task - first, step)
    # Of `--array=3,7` task 3 would be the first of two: only the last number tells of the gap.
    if rest or not 0 <= index < count or last != first + (count - 1) * step:
        what = f"task {task} of an array of {count} from {first} to {last} has no place in a row"
        raise UsageError(_WHERE, what, "number the array without gaps, or give --shard I/N")
    return index, count


def _task(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """0-based index and count among the processes of one launcher: torchrun's, else srun's."""
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return _whole(environ, "RANK"), _whole(environ, "WORLD_SIZE")
    if "SLURM_PROCID" not in environ or "SLURM_NTASKS" not in environ:
        return None
    index, count = _whole(environ, "SLURM_PROCID"), _whole(environ, "SLURM_NTASKS")
    if count > 1 and "SLURM_JOB_ID" in environ and "SLURM_STEP_ID" not in environ:
        # A batch script itself carries PROCID 0 of NTASKS: it would do one part and call it all.
        what = f"the job has {count} tasks, but this process was not started by srun"
        raise UsageError(_WHERE, what, "start it with srun, or give --shard I/N")
    return index, count


def shard_from(environ: Mapping[str, str]) -> str:
    """`I/N` of this process, 1-based. An array of jobs with several tasks each has their product.

    Raises
    ------
    UsageError
        No scheduler says which part this is, or what it says makes no sense.
    """
    array, task = _array(environ), _task(environ)
    if array is None and task is None:
        raise UsageError(
            _WHERE,
            "neither a SLURM array or task nor RANK and WORLD_SIZE is in the environment",
            "give --shard I/N",
        )
    (outer, outers), (inner, inners) = array or (0, 1), task or (0, 1)
    if not 0 <= inner < inners:
        raise UsageError(_WHERE, f"process {inner} of {inners} does not exist", "give --shard I/N")
    return f"{outer * inners + inner + 1}/{outers * inners}"
