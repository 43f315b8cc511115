"""A run from its config to its output: windows -> batches -> backend -> scores -> file.

Reading, computing and writing overlap: windows are read ahead in one thread, finished batches are
written in another. May not: hold more than a few batches, whatever the number of regions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from yuzu_cli.engine.choose import Choice, choose
from yuzu_cli.engine.estimate import estimate
from yuzu_cli.engine.exact_top import ExactTop, exactly
from yuzu_cli.engine.facts import begun_with, in_a_job, make_info, warn_of_disk
from yuzu_cli.engine.feed import Feed, region_rows
from yuzu_cli.engine.scoring import Scorer, Stopped
from yuzu_cli.engine.setup import Setup, prepared
from yuzu_cli.engine.summary import Estimate, RunSummary
from yuzu_cli.engine.timing import offer
from yuzu_cli.engine.trust import by_time, verify
from yuzu_cli.engine.verify import Check
from yuzu_cli.ready import check_output, input_files, may_be_done

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig
    from yuzu_cli.inputs.stream import Window
    from yuzu_cli.runs.run_info import RunInfo
    from yuzu_cli.runs.writer import OutputRun

logger = logging.getLogger(__name__)

ROUNDING = 4 * 2.0**-23
"""Share of an output that naive's effects may be off where there are none."""


@dataclass(slots=True)
class Clock:
    """Where the time of a run goes, and how many regions naive had to mend."""

    began: float = field(default_factory=time.monotonic)
    first_batch: float = 0.0
    backend: float = 0.0
    read: float = 0.0
    write: float = 0.0
    mended: int = 0


def run(
    config: RunConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> RunSummary | Estimate:
    """Attributions of every sequence of the input, written to `config.output.path`.

    Parameters
    ----------
    config : RunConfig
        With `run.dry_run`, nothing is written and an `Estimate` is returned.
    progress : function of (records done, records in all), optional
        Called after every batch.
    should_stop : function, optional
        Asked between and within batches; once it is true the batch in flight is dropped, and the
        run ends with `complete` False.

    Returns
    -------
    RunSummary or Estimate

    Raises
    ------
    YuzuError
        Something in the config, the input, a model or the output is at fault.
    """
    clock = Clock()
    if not config.run.dry_run:
        check_output(config)
    with prepared(config) as setup:
        begun = begun_with(config)
        # What was begun with naive, because of what was found or measured then, goes on with it.
        name = "naive" if begun == "naive" else config.compute.backend
        choice = choose(name, setup.models, setup.settings, len(setup.positions))
        if config.run.dry_run:
            return _dry(setup, choice, timed=begun is None)
        choice, verified = verify(setup, choice, timed=None if begun is None else False)
        info = make_info(setup, choice, verified)
        if should_stop and should_stop():
            # Before anything is recorded: a signal may have spoilt what was found out.
            records = info.record_stop - info.record_start
            return RunSummary(Path(config.output.path), complete=False, records=records)
        warn_of_disk(config, info)
        if text := offer(setup, choice.seconds):
            logger.warning("%s", text)
        return _write_all(setup, choice, verified, info, clock, progress, should_stop)


def _dry(setup: Setup, choice: Choice, timed: bool) -> Estimate:
    """What the run would be, by the backend that it would take."""
    if timed and setup.config.compute.backend == "auto" and setup.config.shard() is None:
        choice = by_time(setup, choice)
    found = estimate(setup, choice, make_info(setup, choice, Check()))
    return replace(found, offer=offer(setup, found.seconds))


def _write_all(
    setup: Setup,
    choice: Choice,
    verified: Check,
    info: RunInfo,
    clock: Clock,
    progress: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool] | None,
) -> RunSummary:
    from yuzu_cli.runs.writer import OutputRun

    config = setup.config
    stop = should_stop or (lambda: False)
    scorer = Scorer(
        setup.members(choice),
        setup.views,
        setup.positions,
        len(setup.targets),
        config.score.save,
        setup.settings.device,
        torch.float16 if config.score.dtype == "float16" else torch.float32,
        at_once=choice.at_once,
        should_stop=stop,
        exact_top=_exact_top(setup),
    )
    opened = OutputRun.open(
        config.output.path,
        info,
        resume=config.run.resume,
        force=config.run.force,
        inputs=input_files(config),
        accept=may_be_done(config),
        wait=in_a_job(),
        pack=config.output.pack,
    )
    with opened as output:
        finished, info = output.finished, output.info
        _tell_batch_size(config, info)
        pending = list(output.pending())
        records = info.record_stop - info.record_start
        before = records - sum(last - first for _, first, last in pending)
        clock.first_batch = time.monotonic()
        regions, complete = _batches(setup, scorer, output, pending, clock, progress, stop)
        path = output.finish(stop) if complete else output.path
        return RunSummary(
            path=path,
            complete=output.finished,
            records=records,
            records_before=before,
            finished_before=finished,
            regions=regions,
            mutants=regions * len(setup.positions) * (setup.alphabet.size - 1),
            seconds=time.monotonic() - clock.began,
            setup_seconds=clock.first_batch - clock.began,
            backend_seconds=clock.backend,
            read_seconds=clock.read,
            write_seconds=clock.write,
            backend=choice.name,
            device=info.device,
            batch_size=info.batch_size,
            verified=verified.mutants,
            max_abs_error=verified.max_abs_error,
            max_rel_error=verified.max_rel_error,
            errors=verified.describe(),
            mended=clock.mended,
        )


def _exact_top(setup: Setup) -> ExactTop | None:
    """What makes a share of the estimates exact, if that is asked for."""
    config = setup.config
    if not config.taylor.exact_top:
        return None
    members = setup.members(exactly(setup))
    return ExactTop(config.taylor.exact_top, config.compute.seed, members, setup.views)


def _tell_batch_size(config: RunConfig, info: RunInfo) -> None:
    asked = config.compute.batch_size
    if asked not in ("auto", info.batch_size):
        logger.warning(
            "compute.batch_size: this output was begun with %d, which goes on, not %s; "
            "--no-resume starts over",
            *(info.batch_size, asked),
        )


def _batches(
    setup: Setup,
    scorer: Scorer,
    output: OutputRun,
    pending: list[tuple[int, int, int]],
    clock: Clock,
    progress: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool],
) -> tuple[int, bool]:
    """Compute and hand over every pending batch; rows made, and whether all were."""
    from yuzu_cli.results.schema import MENDED

    config = setup.config
    total = output.info.record_stop - output.info.record_start
    done = total - sum(last - first for _, first, last in pending)
    sizes = {batch: last - first for batch, first, last in pending}
    regions = 0
    if progress:
        progress(done, total)
    with Feed(setup.stream, pending) as feed:
        mark = time.monotonic()
        for batch, windows in feed:
            clock.read += time.monotonic() - mark
            if should_stop():
                return regions, False
            mark = time.monotonic()
            rows: dict[str, Any] = {}
            if windows:
                wide = np.stack([window.codes for window in windows])
                try:
                    scores = scorer.score(wide)
                except Stopped:
                    return regions, False
                rows = region_rows(windows, setup.stream.length, setup.flank)
                rows["reference"] = scores.pop("reference")
                rows["regions/status"] |= MENDED * scorer.mended.astype(np.uint8)
                clock.mended += int(scorer.mended.sum())
                _warn_of_nan(windows, rows["reference"])
                if regions == 0:
                    warn_of_zeros(config, scores, rows["reference"])
                rows |= {
                    name if "/" in name else f"scores/{name}": values
                    for name, values in scores.items()
                }
            clock.backend += time.monotonic() - mark
            mark = time.monotonic()
            output.write(batch, rows)
            clock.write += time.monotonic() - mark
            regions += len(windows)
            done += sizes[batch]
            if progress:
                progress(done, total)
            mark = time.monotonic()
    return regions, True


def _warn_of_nan(windows: Sequence[Window], outputs: Any) -> None:
    """Say which regions' scores mean nothing."""
    for number in np.flatnonzero(~np.isfinite(outputs).all(1)):
        region = windows[int(number)].region
        logger.warning(
            "%s:%d-%d (record %d): the model's output is NaN or infinite, and so are its scores",
            *(region.chrom, region.start + 1, region.end, region.input_index),
        )


def warn_of_zeros(
    config: RunConfig, scores: Mapping[str, np.ndarray], reference: np.ndarray
) -> None:
    """Say so when no mutation of a batch changes any output by more than its rounding."""
    name, values = next(iter(scores.items()))
    known = np.isfinite(values)
    if name == "prediction":
        known &= np.isfinite(reference)[:, :, None, None]
        values = values - reference[:, :, None, None]
    outputs = np.abs(reference[np.isfinite(reference)]).max(initial=0.0)
    rounding = ROUNDING * outputs * np.sqrt(reference.shape[1] if name == "l2" else 1)
    if not known.any() or np.abs(values[known]).max() > rounding:
        return
    reduce, seen = config.score.reduce, "the mutated positions"
    if reduce in ("index", "center"):
        where = f"score.reduce: {reduce}"
        hint = f"none of {seen} reaches the position of the output that is taken"
    else:
        where, hint = "every effect is 0", f"does the model look at {seen}?"
    logger.warning(
        "%s: no mutation of the first %d regions changes any output; %s", where, len(values), hint
    )
