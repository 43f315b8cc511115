"""Other tools, measured beside this one where they are installed: mutagenesis and gradient methods.

Each is used as its documentation says, on the plain network where it needs that. What one cannot do
is said in its row, in its own words.
"""

from __future__ import annotations

from collections.abc import Callable

from yuzu_cli.bench.methods import Method
from yuzu_cli.bench.peers.captum import Captum, CaptumAblation
from yuzu_cli.bench.peers.compiled import CompiledNaive
from yuzu_cli.bench.peers.fastism import FastISM
from yuzu_cli.bench.peers.tangermeme import Tangermeme
from yuzu_cli.bench.peers.yuzu_ism import PublishedYuzu
from yuzu_cli.errors import UsageError

PEERS: dict[str, Callable[[], Method]] = {
    "naive-compiled": CompiledNaive,
    "tangermeme": Tangermeme,
    "tangermeme-fast": lambda: Tangermeme(fast=True),
    "yuzu-ism": PublishedYuzu,
    "captum": CaptumAblation,
    "gradient-x-input": lambda: Captum("gradient-x-input", "InputXGradient"),
    "integrated-gradients": lambda: Captum(
        "integrated-gradients", "IntegratedGradients", {"n_steps": 50, "internal_batch_size": 100}
    ),
    "deeplift": lambda: Captum("deeplift", "DeepLiftShap"),
}
"""Name -> what makes the method; fastISM, which needs an environment, beside them."""


def peer_method(name: str, fastism_python: str | None) -> Method:
    """The method of a peer.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if name == "fastism":
        return FastISM(fastism_python)
    if name not in PEERS:
        known = ", ".join([*PEERS, "fastism"])
        raise UsageError("--peers", f"no peer {name!r}", f"one of {known}, or none")
    return PEERS[name]()
