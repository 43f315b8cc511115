"""What the output records of a run.

May not: compute scores, open an output.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from yuzu_cli.engine.choose import Choice
from yuzu_cli.engine.device import describe_device
from yuzu_cli.engine.limits import batch_size, shard_range
from yuzu_cli.engine.setup import Setup
from yuzu_cli.engine.verify import Check
from yuzu_cli.scores import score_shapes

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig
    from yuzu_cli.runs.writer import RunInfo

logger = logging.getLogger(__name__)


def make_info(setup: Setup, choice: Choice, verified: Check) -> RunInfo:
    """The facts of a run, as its output records them."""
    from yuzu_cli.results.schema import EXACT
    from yuzu_cli.runs.writer import RunInfo

    config, stream = setup.config, setup.stream
    shard = config.shard()
    m, t, a = len(setup.positions), len(setup.targets), setup.alphabet.size
    shapes = score_shapes(1, t, a, m)
    width = 2 if config.score.dtype == "float16" else 4
    members = len(setup.members(choice)) // len(choice.runners)
    size = batch_size(
        asked=config.compute.batch_size,
        host_bytes=sum(int(np.prod(shapes[name])) for name in config.score.save) * width,
        work=choice.cost * members,
        device=setup.settings.device,
        n_records=stream.n_records,
        shards=shard[1] if shard else 1,
    )
    start, stop = shard_range(stream.n_records, size, shard)
    return RunInfo(
        config=config.to_yaml(),
        model_sha256=setup.model_sha256,
        input_sha256=stream.sha256,
        alphabet=setup.alphabet.letters,
        backend=choice.name,
        device=describe_device(setup.settings.device),
        precision=config.compute.precision,
        length=stream.length,
        mutate_start=int(setup.positions[0]),
        mutate_end=int(setup.positions[-1]) + 1,
        targets=setup.targets,
        save=(*config.score.save, *([EXACT] if config.taylor.exact_top else [])),
        batch_size=size,
        n_records=stream.n_records,
        record_start=start,
        record_stop=stop,
        shard_index=shard[0] if shard else None,
        shard_count=shard[1] if shard else None,
        dtype=config.score.dtype,
        compression=config.output.compression,
        verify_max_abs_error=verified.max_abs_error,
        verify_max_rel_error=verified.max_rel_error,
        verify_delta_max_abs_error=verified.error("delta"),
        verify_delta_max_rel_error=verified.error("delta", relative=True),
        verify_l2_max_abs_error=verified.error("l2"),
        verify_l2_max_rel_error=verified.error("l2", relative=True),
        command=shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        torch_version=str(torch.__version__),
    )


def in_a_job(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a scheduler may have started this beside an earlier start that it thinks dead."""
    return "SLURM_JOB_ID" in environ


def begun_with(config: RunConfig) -> str | None:
    """Under `auto`, the backend of an earlier start of this run, if there is one to go on with."""
    if config.compute.backend != "auto" or not config.run.resume:
        return None
    from yuzu_cli.runs.target import backend_of

    return backend_of(Path(os.path.realpath(config.output.path)), config.to_yaml())


def warn_of_disk(config: RunConfig, info: RunInfo) -> None:
    """Say so when the disk may turn out too small."""
    from yuzu_cli.runs.target import shortage

    if text := shortage(config.output.path, info):
        logger.warning("%s", text)
