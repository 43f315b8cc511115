"""The families of models that people train today, each written small from what its paper says.

Not their code and not their sizes: the operators and the order they come in, at lengths of 60 to
130. Every case is scripted and traced.
"""

from __future__ import annotations

from torch import nn

from tests.support.attending import ATTENDING, Told
from tests.support.blocks import Reduce, Residual
from tests.support.case import Case, flat, seq
from tests.support.convolutional import (
    AITAC,
    Basenji,
    Enformer,
    ExplaiNN,
    LegNet,
    Malinois,
    Puffin,
    WholeSpectra,
)
from tests.support.odd_nets import ChannelNorm
from tests.support.sequential import (
    Borzoi,
    ConvGRU,
    DanQ,
    DreamRNN,
    Hyena,
    LinearAttention,
    Mamba,
    Satori,
    Tokens,
)
from tests.support.spliced import Aparent, Sei, Splice
from tests.support.stranded import (
    BothAtOnce,
    BothInTurn,
    BothRepeated,
    BothStacked,
    ChromBPNet,
)

PUBLISHED: list[Case] = [
    Case("like-explainn", lambda n: ExplaiNN(n), 79),
    Case("like-enformer", lambda n: Enformer(n), 75),
    Case("like-aitac-residual", lambda n: AITAC(n), 90),
    Case("like-puffin", lambda n: Puffin(n), 70),
    Case("spectra-of-both-signs", lambda n: WholeSpectra(n), 67),
    Case("spectra-of-complex", lambda n: WholeSpectra(n, cast=True), 64),
    Case("like-legnet", lambda n: LegNet(n), 66),
    Case("like-danq", lambda n: DanQ(n), 90),
    Case("like-dream-rnn", lambda n: DreamRNN(), 60),
    Case("like-satori", lambda n: Satori(n), 84),
    *ATTENDING,
    Case("like-mamba", lambda n: Mamba(), 60),
    Case("like-mamba-in-place", lambda n: Mamba(in_place=True), 60),
    Case("like-conv-gru", lambda n: ConvGRU(), 80),
    Case("like-basenji2", lambda n: Basenji(n), 96),
    Case("like-spliceai", lambda n: Splice(1), 90),
    Case("like-pangolin", lambda n: Splice(3), 80),
    Case("like-aparent2", lambda n: Aparent(n), 65, layout="N1LC"),
    Case("like-malinois", lambda n: Malinois(n), 100),
    Case("like-sei", lambda n: Sei(n), 100),
    Case("like-chrombpnet", lambda n: ChromBPNet(), 80),
    Case("both-strands-one-batch", lambda n: BothAtOnce(n), 61),
    Case("both-strands-in-turn", lambda n: BothInTurn(n, pairs=False), 59),
    Case("both-strands-in-pairs", lambda n: BothInTurn(n, pairs=True), 58),
    Case("both-strands-repeated", lambda n: BothRepeated(n), 57),
    Case("both-strands-stacked", lambda n: BothStacked(n, halves=False), 56),
    Case("both-strands-stacked-halves", lambda n: BothStacked(n, halves=True), 55),
    Case("like-dnabert", lambda n: Tokens(n, 3), 60),
    Case("like-hyenadna", lambda n: Hyena(n), 64),
    Case(
        "like-gpn",
        lambda n: seq(
            nn.Conv1d(4, 8, 1),
            *(
                Residual(
                    nn.Conv1d(8, 8, 9, padding=4 * d, dilation=d, groups=8),
                    ChannelNorm(8),
                    nn.Conv1d(8, 12, 1),
                    nn.GELU(),
                    nn.Conv1d(12, 8, 1),
                )
                for d in (1, 2, 4)
            ),
            ChannelNorm(8),
            nn.Conv1d(8, 4, 1),
        ),
        62,
    ),
    Case(
        "like-deepstarr",
        lambda n: flat(
            n,
            nn.Conv1d(4, 8, 7, padding="same"),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 6, 3, padding="same"),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(6, 6, 5, padding="same"),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.MaxPool1d(2),
        ),
        105,
    ),
    Case(
        "like-scbasset",
        lambda n: seq(
            flat(
                n,
                nn.Conv1d(4, 8, 9, padding=4),
                nn.BatchNorm1d(8),
                nn.MaxPool1d(3),
                nn.GELU(),
                nn.Conv1d(8, 8, 5, padding=2),
                nn.BatchNorm1d(8),
                nn.MaxPool1d(2),
                nn.GELU(),
                nn.Conv1d(8, 4, 1),
                nn.BatchNorm1d(4),
                nn.GELU(),
                targets=6,
            ),
            nn.GELU(),
            nn.Linear(6, 9),
            nn.Sigmoid(),
        ),
        100,
    ),
    Case(
        "like-deeperdeepsea",
        lambda n: seq(
            nn.Conv1d(4, 6, 8),
            nn.ReLU(),
            nn.Conv1d(6, 6, 8),
            nn.ReLU(),
            nn.MaxPool1d(4, 4),
            nn.BatchNorm1d(6),
            nn.Conv1d(6, 8, 8),
            nn.ReLU(),
            nn.Dropout(0.2),
            Reduce("max"),
            nn.Linear(8, 3),
            nn.Sigmoid(),
        ),
        94,
    ),
    Case("like-borzoi", lambda n: Borzoi(n, strides=True), 96),
    Case("like-borzoi-by-views", lambda n: Borzoi(n, strides=False), 96),
    Case("linear-attention", lambda n: LinearAttention(), 62),
    Case("attention-causal-mean", lambda n: Told(n, "mean"), 35),
]
