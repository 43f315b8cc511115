"""Small awkward architectures: what published models do, and what nobody should but somebody will.

Each case builds the same module from its seed every time. `function` turns one into what the oracle
wants, by rules written here again and not taken from the package.
"""

from __future__ import annotations

from tests.support.case import Case
from tests.support.cases_of_layers import LAYERS
from tests.support.cases_of_nets import NETS

CASES: list[Case] = [*LAYERS, *NETS]
