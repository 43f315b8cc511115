"""Codes from a plan file or from the user's cache, and into them.

Two runs that ask for the same thing of the same model get the same codes. Drawing them is quick for
the interleaved and orthogonal kinds, so these are only ever kept in a plan that was asked for.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import os
from typing import Any

import numpy as np
import torch

import yuzu_cli
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.codes import PUBLISHED, Code
from yuzu_cli.backends.sensing.design import Design, Progress, Try, make_design
from yuzu_cli.backends.sensing.slots import Slots
from yuzu_cli.backends.windowed import Understood, understand
from yuzu_cli.errors import InputError, ModelError
from yuzu_cli.model import Model
from yuzu_cli.operators.reach import Reach
from yuzu_cli.plan.store import StoredPlan, Value, cache_path, load_plan, prune_cache, save_plan

logger = logging.getLogger(__name__)

REFUSED = "give sensing.alpha auto, or more than 1"


def design_for(model: Model, settings: Settings) -> Design:
    """Codes from the plan of the settings, from the cache, or new ones.

    Raises
    ------
    InputError
        The plan is no plan, or one for something else.
    ModelError
        No code of the kind asked for is accurate.
    """
    if settings.plan is not None:
        return unpack(load_plan(settings.plan, asked_of(model, settings)))
    if settings.matrix not in PUBLISHED:
        return make_design(model, settings)
    path = cache_path(asked_of(model, settings))
    if path.exists():
        try:
            design = unpack(load_plan(path, asked_of(model, settings)))
        except (InputError, KeyError, ValueError) as error:
            logger.info("a plan in the cache is not used: %s", error)
        else:
            with contextlib.suppress(OSError):
                os.utime(path)
            return design
    design = make_design(model, settings)
    if design.refusal:
        return design
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_plan(path, pack(model, settings, design))
        prune_cache()
    except OSError as error:
        logger.debug("the plan is not kept in the cache: %s", error)
    return design


def precompute(model: Model, settings: Settings, progress: Progress | None = None) -> StoredPlan:
    """The plan of a model and length, with its error measured.

    Raises
    ------
    ModelError
        No code of the kind asked for is accurate, or not at the alpha asked for.
    """
    design = make_design(model, settings, measure=True, progress=progress)
    if design.refusal:
        raise ModelError(model.path, design.refusal, REFUSED)
    return pack(model, settings, design)


def asked_of(model: Model, settings: Settings) -> dict[str, Value]:
    """What a plan is made for, in words a message can use."""
    understood = understand(model, settings)
    return {
        "model": model.sha256,
        "length": settings.length,
        "letters": understood.program.letters,
        "layout": model.layout,
        "number of targets": model.n_targets,
        "precision": str(settings.dtype).removeprefix("torch."),
        "sensing.matrix": settings.matrix,
        "sensing.alpha": "auto" if settings.alpha is None else settings.alpha,
        "compute.seed": settings.seed,
        "torch": str(torch.__version__).partition("+")[0],
        "graph of model, outputs, reduce and transform": graph_sha256(understood),
    }


def graph_sha256(understood: Understood) -> str:
    """Hash of the captured graph and what is done with it, weights aside.

    Weights are in the model's own hash; but the choice of outputs or a transform changes the graph
    alone.
    """
    program, strategies = understood.program, understood.plan.ways
    digest = hashlib.sha256()
    for node in program.nodes:
        spec = program.specs.get(node.name)
        shape = spec.shape if spec else None
        target = getattr(node.target, "__name__", str(node.target))
        line = f"{node.name} {target} {node.args} {shape} {strategies.get(node.name)}\n"
        digest.update(line.encode())
    return digest.hexdigest()


# --- to and from arrays -------------------------------------------------------------------------


def pack(model: Model, settings: Settings, design: Design) -> StoredPlan:
    """A design as values and arrays."""
    understood = understand(model, settings)
    arrays: dict[str, np.ndarray] = dict(_reach_arrays(understood))
    tries = [[t.alpha, t.condition, t.error, t.accepted] for t in design.tries]
    arrays["tries"] = np.array(tries, dtype=np.float64).reshape(-1, 4)
    numbers: dict[int, int] = {}
    for node, code in design.codes.items():
        number = numbers.setdefault(id(code), len(numbers))
        arrays |= {f"codes/{number}/{k}": v for k, v in _code_arrays(code).items()}
        arrays[f"layers/{node}"] = np.array([number])
    for node, reason in design.left.items():
        arrays[f"left/{node}"] = _text(reason)
    return StoredPlan(asked_of(model, settings), _facts(model, settings, design), arrays)


def _facts(model: Model, settings: Settings, design: Design) -> dict[str, Value]:
    plan = understand(model, settings).plan
    now = datetime.datetime.now(datetime.timezone.utc)
    probes = [f"{node} {code.probes}" for node, code in design.codes.items()]
    return {
        "created": now.isoformat(timespec="seconds"),
        "yuzu_version": yuzu_cli.__version__,
        "torch_version": str(torch.__version__),
        "model": str(model.path),
        "model_sha256": model.sha256,
        "length": settings.length,
        "precision": str(settings.dtype).removeprefix("torch."),
        "matrix": settings.matrix,
        "alpha": design.alpha,
        "probes": ", ".join(probes) or "none",
        "condition": max((c.condition for c in design.codes.values()), default=1.0),
        "largest_error": design.error,
        "alphas_tried": ", ".join(str(t) for t in design.tries) or "none",
        "multiply_adds": plan.macs,
        "naive_multiply_adds": plan.naive_macs,
        "cut": plan.cut or "none",
    }


def _reach_arrays(understood: Understood) -> dict[str, np.ndarray]:
    """Reach and strategy of every node."""
    arrays: dict[str, np.ndarray] = {}
    for step in understood.plan.steps:
        reach = understood.reaches[step.node]
        arrays[f"steps/{step.node}/strategy"] = _text(step.way)
        if isinstance(reach, Reach):
            arrays[f"steps/{step.node}/reach"] = np.stack([reach.start, reach.stop])
    return arrays


def _code_arrays(code: Code) -> dict[str, np.ndarray]:
    slots = code.slots
    arrays = {
        "kind": _text(code.kind),
        "reach": np.stack([slots.start, slots.stop]),
        "slot": slots.slot,
        "sizes": np.array([slots.size, slots.count, code.letters, code.probes]),
        "condition": np.array([code.condition]),
    }
    for name, value in (("matrix", code.matrix), ("decoders", code.decoders)):
        if value is not None:  # numpy has no bfloat16
            arrays[name] = value.float().cpu().numpy()
    return arrays


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def unpack(plan: StoredPlan) -> Design:
    """The design that `pack` was given."""
    arrays, made = plan.arrays, dict[int, Code]()
    codes: dict[str, Code] = {}
    left: dict[str, str] = {}
    for path, value in arrays.items():
        kind, _, node = path.partition("/")
        if kind == "layers":
            number = int(value[0])
            if number not in made:
                made[number] = _code({k: arrays.get(f"codes/{number}/{k}") for k in _CODE})
            codes[node] = made[number]
        elif kind == "left":
            left[node] = value.tobytes().decode()
    tries = tuple(Try(a, c, e, bool(ok)) for a, c, e, ok in arrays["tries"].tolist())
    return Design(codes, float(plan.facts["alpha"]), tries, left)


_CODE = ("kind", "reach", "slot", "sizes", "condition", "matrix", "decoders")


def _code(arrays: dict[str, Any]) -> Code:
    size, count, letters, probes = (int(n) for n in arrays["sizes"])
    start, stop = arrays["reach"]
    slots = Slots(start, stop, size, arrays["slot"], count)
    matrix, decoders = (
        None if arrays[k] is None else torch.from_numpy(arrays[k]) for k in ("matrix", "decoders")
    )
    kind = arrays["kind"].tobytes().decode()
    return Code(kind, slots, letters, probes, matrix, decoders, float(arrays["condition"][0]))
