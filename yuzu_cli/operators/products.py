"""What is computed whole: nothing is known of it but its work, and what it makes of a rounding."""

from __future__ import annotations

import operator as python

import torch
from torch.fx import Node

from yuzu_cli.graph.ops import OpOverload
from yuzu_cli.operators.record import JUMP, NONE, Operator, operator

_aten = torch.ops.aten


@operator(
    _aten.mm.default,
    _aten.bmm.default,
    _aten.addmm.default,
    _aten.baddbmm.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_flash_attention.default,
)
class Product(Operator):
    """A product of two tensors, maybe added to a third; or two, with a softmax between them."""

    makes = NONE


def packets(names: str) -> list[object]:
    """Every overload of some ATen operators."""
    found = (getattr(_aten, name) for name in names.split())
    return [getattr(packet, overload) for packet in found for overload in packet.overloads()]


_HARMLESS = """
    adaptive_avg_pool1d addmv alias avg_pool1d avg_pool2d copy detach
    max_pool2d_with_indices native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training native_group_norm native_layer_norm repeat
    select_scatter slice_scatter split split_with_sizes stack unbind unfold unsafe_split
    _fft_c2c _fft_c2r _fft_r2c view_as_complex view_as_real
    upsample_bilinear2d upsample_linear1d view
"""
_RANKED = "topk sort kthvalue median max min cummax cummin"


@operator(*packets(_HARMLESS))
class Harmless(Operator):
    """A linear map, a move or a norm that has no way on windows yet."""

    makes = NONE
    through = True


@operator(*packets(_RANKED))
class Ranked(Operator):
    """Values in their order, and their places."""

    makes = NONE
    through = True


@operator(python.getitem)
class Piece(Operator):
    """One of the tensors that a call gives."""

    through = True

    def makes_of(self, source: Node) -> int:
        """Of values in their order the second tensor is their places: these jump."""
        ranked = isinstance(source.target, OpOverload) and (
            source.target.overloadpacket.__name__ in _RANKED.split()
        )
        return JUMP if ranked and self.call.node.args[1] == 1 else NONE
