"""Values of positions in blocks, had from the positions in one row."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.graph.rewrites.axes import order_of
from yuzu_cli.graph.rewrites.rewriter import VIEWS, Rewriter, pointwise

_aten = torch.ops.aten


class NotCutError(Exception):
    """A value is not one of blocks that an axis was cut into."""


class Uncut:
    """Values (..., L / k, k, ...) as they would be had the axis L never been cut.

    Parameters
    ----------
    r : Rewriter
    before : Node
        Where what is needed for it is put in.
    """

    def __init__(self, r: Rewriter, before: Node) -> None:
        self.r, self.before = r, before

    def __call__(self, node: Any, axis: int) -> Node:
        """The value with its axes `axis` and the one after it as one.

        Raises
        ------
        NotCutError
            It is made in another way than at each entry of both axes for itself.
        """
        if not isinstance(node, Node) or node.name not in self.r.specs:
            raise NotCutError
        constant = self.r.constant(node)
        if constant is not None:
            return self.r.add_constant(constant.flatten(axis, axis + 1), self.before)
        source = node.args[0] if node.args and isinstance(node.args[0], Node) else None
        if source is None or source.name not in self.r.specs:
            raise NotCutError
        if node.target in VIEWS:
            return self.behind_view(node, source, axis)
        if node.target in (_aten.permute.default, _aten.transpose.int):
            return self.behind_permutation(node, source, axis)
        if node.target is _aten.convolution.default:
            return self.behind_convolution(node, axis)
        rank = len(self.r.specs[node.name].shape)
        if node.target is ops.linear and axis + 2 < rank:
            return self.again(node, (self(source, axis), *node.args[1:]))
        if pointwise(node):
            return self.behind_function(node, axis)
        raise NotCutError

    def again(self, node: Node, args: tuple[Any, ...]) -> Node:
        """The node's call on other arguments."""
        made = self.r.insert(self.before, node.target, args)
        made.kwargs = dict(node.kwargs)
        return made

    def behind_view(self, node: Node, source: Node, axis: int) -> Node:
        """The cut itself, or axes of one put in or taken out around it."""
        shape, old = self.r.specs[node.name].shape, self.r.specs[source.name].shape
        if (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]) == old:
            return source
        raise NotCutError

    def behind_permutation(self, node: Node, source: Node, axis: int) -> Node:
        rank = len(self.r.specs[node.name].shape)
        order = order_of(node, rank)
        first, second = order[axis], order[axis + 1]
        if second != first + 1:
            raise NotCutError
        inner = self(source, first)
        left = [a - (a > first) for a in order if a != second]
        return self.r.insert(self.before, _aten.permute.default, (inner, left))

    def behind_convolution(self, node: Node, axis: int) -> Node:
        """A map over channels of a tensor (N, C, L / k, k)."""
        x, weight, bias, stride, padding, _, transposed, _, groups = node.args
        value = self.r.constant(weight)
        if axis != 2 or value is None or value.dim() != 4 or transposed:
            raise NotCutError
        if tuple(value.shape[2:]) != (1, 1) or set(stride) != {1} or set(padding) != {0}:
            raise NotCutError
        taps = self.r.add_constant(value[..., 0], self.before)
        args = (self(x, axis), taps, bias, [1], [0], [1], False, [0], groups)
        return self.r.insert(self.before, _aten.convolution.default, args)

    def behind_function(self, node: Node, axis: int) -> Node:
        """A function of single elements, whose other arguments broadcast."""
        shape = self.r.specs[node.name].shape
        args = []
        for arg in node.args:
            if not isinstance(arg, Node):
                args.append(arg)
                continue
            own = self.r.specs[arg.name].shape
            at = axis - (len(shape) - len(own))
            if at < 0 and not any(n > 1 for n in own):
                args.append(arg)
            elif at < 0 or own[at : at + 2] != shape[axis : axis + 2]:
                raise NotCutError
            else:
                args.append(self(arg, at))
        return self.again(node, tuple(args))
