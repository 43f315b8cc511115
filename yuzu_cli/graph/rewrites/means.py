"""Means over axes of what is scaled or moved by values that are the same along them.

The gate of a squeeze-excite, the statistics of a norm over positions: with one of these, an edit
changes every position a little, but all by one factor. ``mean(x * g)`` is ``mean(x) * g``, and the
same holds behind all that is linear: no tensor with all positions is needed any more. A map over
channels whose mean is all that is read is done once, of the mean.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.means_of_norms import group_norm, layer_norm
from yuzu_cli.graph.rewrites.rewriter import DUMMIES, VIEWS, Rewriter, slice_of

_aten = torch.ops.aten
_SUMS = {_aten.add.Tensor, _aten.sub.Tensor, _aten.add.Scalar, _aten.sub.Scalar, _aten.rsub.Scalar}
_PRODUCTS = {_aten.mul.Tensor, _aten.mul.Scalar}
_QUOTIENTS = {_aten.div.Tensor, _aten.div.Scalar}
MOST_TAPS = 32
"""A mean behind convolutions takes one of what they read for each tap of all of them."""
MOST_TRIES = 1000
"""After so many means the rest stand as they are: branches double at every join."""
_TRIED = "mean of something that holds nothing to take out"

Over = dict[int, range]
"""Axes with the entries of each that a mean is taken of."""


def means_of_shared(r: Rewriter, node: Node) -> bool:
    """mean(f(x * g)) -> f(mean(x) * g) for f that is linear and g that is the same all along."""
    if node.target not in (_aten.mean.dim, _aten.sum.dim_IntList) or "dtype" in node.kwargs:
        return False
    if _TRIED in node.meta:
        return False
    x, dims, *keep = node.args
    spec = r.specs[x.name] if isinstance(x, Node) else None
    if spec is None or not isinstance(dims, (list, tuple)) or not dims or len(keep) > 1:
        return False
    axes = sorted(int(a) % len(spec.shape) for a in dims)
    if axes[0] == 0 or not spec.dtype.is_floating_point:
        return False
    means = Means(r, node)
    made = means(x, {a: range(spec.shape[a]) for a in axes})
    if not means.found:
        means.undo(0)
        return False
    if node.target is _aten.sum.dim_IntList:
        count = math.prod(spec.shape[a] for a in axes)
        made = r.insert(node, _aten.mul.Tensor, (made, float(count)))
    if not any([*keep, node.kwargs.get("keepdim", False)]):
        made = r.insert(node, _aten.squeeze.dims, (made, axes))
    return r.replace(node, made)


class Means:
    """Means over some entries of axes, which stay with one entry, put in before a node.

    Attributes
    ----------
    found : bool
        Something that is the same along the axes was taken out of the means.
    """

    def __init__(self, r: Rewriter, before: Node) -> None:
        self.r, self.before, self.found = r, before, False
        self.taps, self.tries = 1, 0
        self.made: list[Node] = []

    def put(self, function: Any, *args: Any, like: Node | None = None) -> Node:
        """A new call, with the options of another."""
        made = self.r.insert(self.before, function, args)
        made.kwargs = dict(like.kwargs) if like is not None else {}
        self.made.append(made)
        return made

    def undo(self, mark: int) -> None:
        """Take away all but the first so many calls that were put in."""
        while len(self.made) > mark:
            self.r.graph.erase_node(self.made.pop())

    def __call__(self, node: Node, over: Over) -> Node:
        """The mean of a value, as it stands where nothing in it is worth taking out."""
        mark, before = len(self.made), self.found
        self.found = False
        spec = self.r.specs[node.name]
        self.tries += 1
        one = spec.by_sequence and self.tries < MOST_TRIES and node.args
        made = self.inside(node, over, spec.shape) if one else None
        if made is None or not self.found:
            self.undo(mark)
            self.found, made = False, self.plain(node, over, spec.shape)
        self.found = self.found or before
        return made

    def plain(self, node: Node, over: Over, shape: tuple[int, ...]) -> Node:
        for axis, part in over.items():
            if part != range(shape[axis]):
                node = self.put(_aten.slice.Tensor, node, axis, part.start, part.stop, part.step)
        made = self.put(_aten.mean.dim, node, list(over), True)
        made.meta[_TRIED] = True
        return made

    def inside(self, node: Node, over: Over, shape: tuple[int, ...]) -> Node | None:
        """The mean from means of what the node reads; None where that is none of the known."""
        target, source, rest = node.target, node.args[0], node.args[1:]
        if target is _aten.cat.default:
            return self.joined(node, over, len(shape))
        if target in _SUMS:
            return self.sum(node, over, shape)
        if target in _PRODUCTS | _QUOTIENTS:
            return self.product(node, over, shape)
        if not isinstance(source, Node):
            return None
        if target is _aten.neg.default:
            return self.put(target, self(source, over))
        if target is ops.affine:
            return None if 1 in over else self.put(target, self(source, over), *rest)
        if target is ops.linear:
            return None if len(shape) - 1 in over else self.mapped(node, source, over)
        if target in (_aten.permute.default, _aten.transpose.int):
            order = order_of(node, len(shape))
            moved = {order[axis]: part for axis, part in over.items()}
            return self.put(target, self(source, moved), *rest)
        if target in VIEWS | DUMMIES:
            return self.view(node, source, over, shape)
        if target is _aten.slice.Tensor:
            return self.cut(node, source, over)
        if target is _aten.convolution.default:
            return self.convolution(node, source, over)
        if target is ops.layer_norm:
            return layer_norm(self, node, source, over, shape)
        if target is operator.getitem and source.target is _aten.native_group_norm.default:
            return group_norm(self, source, over, shape)
        return None

    # --- what is the same along the axes ----------------------------------------------------------

    def shared(self, arg: Any, over: Over, shape: tuple[int, ...]) -> bool:
        """Whether a term or factor is the same all along the axes."""
        own = (1,) * len(shape)
        if isinstance(arg, Node):
            own = self.r.specs[arg.name].shape
            own = (1,) * (len(shape) - len(own)) + own
        return all(own[axis] == 1 for axis in over if shape[axis] > 1)

    def part(self, arg: Any, over: Over, shape: tuple[int, ...]) -> Any:
        """The mean of a term or factor: itself where it is shared; None where it is neither."""
        if self.shared(arg, over, shape):
            varies = isinstance(arg, Node) and self.r.constant(arg) is None
            self.found = self.found or varies
            return arg
        own = self.r.specs[arg.name].shape
        alike = len(own) == len(shape) and all(own[axis] == shape[axis] for axis in over)
        return self(arg, over) if alike else None

    def sum(self, node: Node, over: Over, shape: tuple[int, ...]) -> Node | None:
        first, *others = node.args
        second = others[0] if others else node.kwargs.get("other")
        parts = [self.part(arg, over, shape) for arg in (first, second)]
        if any(p is None for p in parts):
            return None
        return self.put(node.target, *parts, *others[1:], like=node)

    def product(self, node: Node, over: Over, shape: tuple[int, ...]) -> Node | None:
        first, second = node.args[:2]
        both = [self.shared(arg, over, shape) for arg in (first, second)]
        if not any(both) or (node.target in _QUOTIENTS and not both[1]):
            return None
        parts = [self.part(arg, over, shape) for arg in (first, second)]
        return None if any(p is None for p in parts) else self.put(node.target, *parts)

    # --- other places -----------------------------------------------------------------------------

    def joined(self, node: Node, over: Over, rank: int) -> Node | None:
        given: Any = node.args
        axis = int(given[1]) % rank if len(given) > 1 else 0
        if axis == 0 or axis in over:
            return None
        return self.put(node.target, [self(part, over) for part in given[0]], axis)

    def view(self, node: Node, source: Node, over: Over, shape: tuple[int, ...]) -> Node | None:
        """Axes are found again by their size and by how many values lie behind one entry."""
        old, moved = self.r.specs[source.name].shape, Over()
        places = {(n, math.prod(old[i + 1 :])): i for i, n in enumerate(old) if n > 1}
        for axis, part in over.items():
            if shape[axis] > 1:
                at = places.get((shape[axis], math.prod(shape[axis + 1 :])))
                if at is None:
                    return None
                moved[at] = part
        made = self(source, moved)
        sizes = [1 if axis in over else n for axis, n in enumerate(self.r.shape_of(node))]
        return self.put(_aten.reshape.default, made, sizes)

    def cut(self, node: Node, source: Node, over: Over) -> Node | None:
        given = slice_of(node)
        old = self.r.specs[source.name].shape
        if any(isinstance(v, Node) for v in given) or node.kwargs:
            return None
        axis = int(given[0]) % len(old)
        if axis not in over:
            return None if axis == 0 else self.put(node.target, self(source, over), *given)
        part, whole = over[axis], range(old[axis])[slice(*given[1:])]
        inner = whole[part.start : part.stop : part.step]
        return self(source, {**over, axis: inner})

    def convolution(self, node: Node, source: Node, over: Over) -> Node | None:
        """One mean of the source for each tap, of the places that it meets."""
        _, weight, bias, stride, padding, dilation, transposed, zero, groups = node.args
        value, old = self.r.constant(weight), self.r.specs[source.name].shape
        if value is None or transposed or min(over) < 2:
            return None
        stride, padding, dilation = (list(v) for v in (stride, padding, dilation))
        if {*value.shape[2:], *stride} == {1} and not any(padding):
            return self.mapped(node, source, over)
        if not self.worth(source, old, over):
            return None
        taps: list[Over] = [{}]
        for axis, part in over.items():
            at, many = axis - 2, value.shape[axis]
            if len(over) > 1 and (many, stride[at], padding[at]) != (1, 1, 0):
                return None
            first = [part.start * stride[at] + k * dilation[at] - padding[at] for k in range(many)]
            by = part.step * stride[at]
            met = [range(f, f + by * len(part), by) for f in first]
            inner = [[p for p in places if 0 <= p < old[axis]] for places in met]
            if self.taps * many > MOST_TAPS or not all(inner):
                return None
            taps = [{**tap, axis: range(p[0], p[-1] + 1, by)} for tap in taps for p in inner]
            stride[at], padding[at], dilation[at] = 1, 0, 1
        means = []
        self.taps *= len(taps)
        for tap in taps:
            share = math.prod(len(tap[a]) / len(over[a]) for a in over)
            made = self(source, tap)
            means.append(made if share == 1 else self.put(_aten.mul.Tensor, made, share))
        self.taps //= len(taps)
        x = means[0] if len(means) == 1 else self.put(_aten.cat.default, means, next(iter(over)))
        options = (stride, padding, dilation, False, zero, groups)
        return self.put(node.target, x, weight, bias, *options)

    def worth(self, source: Node, old: tuple[int, ...], over: Over) -> bool:
        """Whether anything can be taken out of a mean of all the source."""
        mark, before = len(self.made), self.found
        self.found = False
        self(source, {axis: range(old[axis]) for axis in over})
        self.undo(mark)
        before, self.found = self.found, before
        return before

    def mapped(self, node: Node, source: Node, over: Over) -> Node:
        """A map over channels at each place: done once, of the mean, if nothing else reads it."""
        self.found = self.found or len(node.users) == 1
        return self.put(node.target, self(source, over), *node.args[1:])
