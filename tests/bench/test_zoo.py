"""The zoo: papers' sizes, live activations, seeds, and files that TorchScript reads back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from yuzu_cli.bench.papers import zoo
from yuzu_cli.errors import OutputError, UsageError

# Name, letters, what comes out of the paper's sizes per sequence, weights and biases.
SIZES = [
    ("onelayer", 1000, [(64, 1000)], 4 * 7 * 64 + 64),
    ("toynet", 1000, [(2, 1000)], (4 * 7 + 1) * 32 + (32 * 7 + 1) * 32 + (32 * 7 + 1) * 2),
    ("deepsea", 1000, [(919,)], 52_843_119),
    ("basset", 1000, [(164,)], 6_135_064),
    ("factorized-basset", 1000, [(1,)], 6_400_379),
    ("bpnet4", 1000, [(2, 1000), (1,)], 64_515),
    ("bpnet4-plain", 1000, [(1, 1000)], (4 * 21 + 1) * 64 + 4 * (64 * 3 + 1) * 64 + 64 * 75 + 1),
    ("bpnet9", 2114, [(2, 1000), (1,)], 64_515 + 5 * (64 * 3 + 1) * 64),
    ("aitac3", 251, [(81,)], 3_047_981),
    ("aitac3-image", 251, [(81,)], 3_047_981),
    ("aitac8", 251, [(81,)], 6_171_981),
    ("aitac-residual", 251, [(81,)], 4_299_529),
]
# As papers timed them: name, letters, outputs, weights and biases.
TIMED = [
    ("deepsea-padded", 1000, [(925,)], 60_599_805),
    ("bpnet3-plain", 1000, [(1, 1000)], 47_297),
    ("factorized-basset-164", 1000, [(164,)], 6_400_379 + 163 * 1001),
    ("basset-scalar", 1000, [(1,)], 6_135_064 - 163 * 1001),
    ("bpnet9-untrimmed", 1000, [(1, 1000), (1,)], 119_298),
    ("aitac3-timed", 1000, [(1,)], 2_967_901),
    ("aitac8-timed", 1000, [(1,)], 5_891_901),
]
# The shortest odd length that each model is tried at, besides its own.
SHORT = {
    "bpnet4": 61,
    "bpnet4-plain": 61,
    "bpnet9": 61,
    "basset": 97,
    "factorized-basset": 97,
    "deepsea": 171,
}


def sequences(n: int, length: int, seed: int = 0) -> torch.Tensor:
    codes = torch.randint(4, (n, length), generator=torch.Generator().manual_seed(seed))
    return F.one_hot(codes, 4).transpose(1, 2).float().contiguous()


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        y = model(x)
    return list(y) if isinstance(y, tuple) else [y]


def test_every_model_has_its_sizes_listed():
    assert [name for name, *_ in SIZES] == list(zoo.ZOO)
    assert [name for name, *_ in TIMED] == list(zoo.TIMED)


@pytest.mark.parametrize(
    ("name", "length", "shapes", "parameters"), [*SIZES, *TIMED], ids=lambda v: str(v)
)
def test_sizes_of_the_papers(name, length, shapes, parameters):
    assert zoo.architecture(name).length == length
    model = zoo.build(name)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert [tuple(y.shape[1:]) for y in outputs(model, sequences(1, length))] == shapes


@pytest.mark.parametrize("name", zoo.ZOO)
def test_mutations_have_effects_and_relus_are_alive(name):
    length = SHORT.get(name, 101)
    model = zoo.build(name, length, width=0.2)
    alive: list[float] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(
                lambda _module, _input, out: alive.append((out > 0).float().mean().item())
            )
    x = sequences(24, length)
    mutants = x.clone()
    middle = length // 2
    mutants[:, :, middle] = x[:, :, middle].roll(1, dims=1)
    for reference, mutant in zip(outputs(model, x), outputs(model, mutants), strict=True):
        effect = (mutant - reference).abs().max()
        assert effect > 1e-3 * reference.abs().max()
    assert all(0.2 < share < 0.8 for share in alive)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_batch_norms_are_not_the_identity(name):
    model = zoo.build(name, SHORT.get(name, 101), width=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (module.get_buffer("running_mean").abs() > 0.01).any()
            assert ((module.get_buffer("running_var") - 1).abs() > 0.1).any()


def test_a_seed_fixes_the_weights_and_leaves_the_global_state_alone():
    before = torch.random.get_rng_state()
    first, again = (zoo.build("toynet", 50, seed=3) for _ in range(2))
    other = zoo.build("toynet", 50, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    x = sequences(1, 50)
    assert torch.equal(first(x), again(x))
    assert not torch.allclose(first(x), other(x))


def test_the_image_form_of_aitac_has_the_same_numbers():
    x = sequences(2, 120)
    flat, image = (zoo.build(name, 120, width=0.1) for name in ("aitac3", "aitac3-image"))
    torch.testing.assert_close(flat(x), image(x))


def test_the_residual_model_sees_both_strands():
    first = zoo.build("aitac-residual", 64, width=0.1).get_submodule("first")
    x = sequences(1, 64)
    plus = torch.maximum(first(x), first(x.flip((1, 2))).flip(2))
    minus = torch.maximum(first(x.flip((1, 2))), first(x).flip(2))
    torch.testing.assert_close(plus, minus.flip(2))
    assert not torch.allclose(plus, first(x))


@pytest.mark.parametrize("trace", [False, True], ids=["scripted", "traced"])
@pytest.mark.parametrize("name", zoo.ZOO)
def test_saved_files_compute_what_the_module_computes(name, trace, tmp_path):
    length = SHORT.get(name, 101)
    path = zoo.save(name, tmp_path / "model.pt", length=length, seed=1, width=0.1, trace=trace)
    loaded = torch.jit.load(str(path))
    x = sequences(3, length)  # not the batch it was traced on
    expected = outputs(zoo.build(name, length, 1, width=0.1), x)
    for got, want in zip(outputs(loaded, x), expected, strict=True):
        torch.testing.assert_close(got, want)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_names_are_found_in_any_spelling():
    assert zoo.architecture("Factorized_Basset") is zoo.ZOO["factorized-basset"]


@pytest.mark.parametrize("length", [250, 500, 1000, 2000, 5000, 10000, 20000])
@pytest.mark.parametrize("name", ["aitac3-timed", "aitac8-timed"])
def test_pools_that_grow_leave_as_many_positions_at_every_length(name, length):
    with torch.device("meta"):
        module = zoo.architecture(name).make(length, 1.0)
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
    assert 4 <= first.in_features // 200 <= 10


def test_one_layer_to_look_at_has_the_sizes_in_its_name():
    module = zoo.build("two-layers-8x5", 40)
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv1d)]
    assert [(c.out_channels, c.kernel_size) for c in convolutions] == [(8, (7,)), (8, (5,))]
    assert outputs(module, sequences(2, 40))[0].shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "length", "message"),
    [
        ("bassett", None, "zoo: no model 'bassett'; one of onelayer, "),
        ("basset", 20, "basset: length 20 is too short for this model; its paper uses 1000"),
    ],
)
def test_refused(name, length, message):
    with pytest.raises(UsageError) as caught:
        zoo.build(name, length)
    assert str(caught.value).startswith(message)


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        zoo.save("toynet", tmp_path / "file" / "x.pt", length=30)
