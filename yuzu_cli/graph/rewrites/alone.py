"""The axis of one sequence that each sequence keeps in a model that was saved for one."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.program import batch_size
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, PERMUTED, VIEWS, Rewriter, pointwise
from yuzu_cli.graph.rewrites.streams import ALONG

_aten = torch.ops.aten
_AXES = {**ALONG, _aten._fft_c2r.default: 1, _aten._fft_r2c.default: 1, _aten._fft_c2c.default: 1}
"""Calls that treat entries of the other axes alike, and where theirs stand in the arguments."""


def saved_for_one(r: Rewriter) -> bool:
    """Whether all that is read of x is its sequences with an axis of one behind theirs."""
    x: Any = next(n for n in r.graph.nodes if n.op == "placeholder")
    while True:
        readers = [n for n in x.users if n.target is not batch_size]
        if readers and all(n.target is _aten.unsqueeze.default and n.args[1] == 1 for n in readers):
            return True
        if len(readers) != 1 or readers[0].target not in PERMUTED | {_aten.clone.default}:
            return False
        (x,) = readers


def without_one(r: Rewriter, node: Node) -> bool:
    """f(x (N, 1, ...)) -> f'(x (N, ...)), seen as (N, 1, ...)."""
    spec = r.specs.get(node.name)
    if spec is None or not spec.by_sequence or node.target in VIEWS:
        return False
    moving = [n for n in node.all_input_nodes if r.constant(n) is None]
    if any(n in r.there and n.name not in r.specs for n in moving):
        return False  # numbers of sequences
    given = [r.specs[n.name] for n in moving]
    if not any(n.target in VIEWS | DUMMIES for n in moving):
        return False
    if any(s.batch_axis != 0 or s.shape[:2] != (1, 1) for s in given):
        return False
    if node.target in DUMMIES:
        made = r.insert(node, _aten.reshape.default, (moving[0], r.shape_of(node)))
        return r.replace(node, made)
    if spec.shape[:2] != (1, 1):
        return False
    args = _arguments(r, node, moving, len(given[0].shape))
    if args is None or any(isinstance(v, Node) for v in node.kwargs.values()):
        return False
    inner = {n: _inner(r, node, n) for n in moving}
    filled: Any = torch.fx.map_arg(tuple(args), lambda n: inner.get(n, n))
    made = r.insert(node, node.target, filled)
    made.kwargs = dict(node.kwargs)
    return r.replace(node, r.insert(node, _aten.reshape.default, (made, r.shape_of(node))))


def _inner(r: Rewriter, before: Node, x: Node) -> Node:
    """x without its second axis."""
    source = x.args[0] if x.target in VIEWS | DUMMIES else x
    shape = [r.batch(), *r.specs[x.name].shape[2:]]
    return r.insert(before, _aten.reshape.default, (source, shape))


def _arguments(r: Rewriter, node: Node, moving: list[Node], rank: int) -> list[Any] | None:
    """A call's arguments with every axis one earlier; None where it is not known to be the same."""
    target, args = node.target, list(node.args)
    if pointwise(node):
        wide = len(r.specs[node.name].shape)
        if any(len(r.specs[n.name].shape) != wide for n in moving):
            return None
        values = [r.constant(a) for a in args]
        return [
            a if v is None else _lower(r, node, a, v, wide)
            for a, v in zip(args, values, strict=True)
        ]
    if target in (_aten.clone.default, _aten.view_as_real.default):
        return args
    if target is ops.linear or target is ops.layer_norm:
        inner = len(args[1]) if target is ops.layer_norm else 1
        return args if rank - inner >= 2 else None
    if target in PERMUTED:
        order = order_of(node, rank)
        alike = order[:2] == [0, 1] and target is _aten.permute.default
        return [args[0], [0, *(a - 1 for a in order[2:])]] if alike else None
    if target is _aten.constant_pad_nd.default:
        pads: Any = args[1]
        kept = pads[: 2 * (rank - 2)]
        return None if any(pads[len(kept) :]) else [args[0], kept, *args[2:]]
    at = _AXES.get(target)
    if at is None or len(args) <= at:
        return None
    axes: Any = args[at]
    listed = axes if isinstance(axes, (list, tuple)) else [axes]
    moved = [a % rank - 1 for a in listed]
    if not moved or min(moved) < 1:
        return None
    args[at] = moved if listed is axes else moved[0]
    return args


def _lower(r: Rewriter, node: Node, constant: Node, value: torch.Tensor, rank: int) -> Node:
    """A constant without the axis of one, as it broadcasts to so many axes.

    It is not folded: spectra are those of kernels in double precision.
    """
    at = 1 - (rank - value.dim())
    return constant if at < 0 else r.insert(node, _aten.squeeze.dim, (constant, at))
