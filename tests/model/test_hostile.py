"""Model files made to run code, or to harm who reads them: each is refused, and nothing ran.

Each attack that works on `torch.export.load` itself is shown to work there, so that none of these
tests passes because its attack is no attack.
"""

from __future__ import annotations

import json
import pickle
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.cases import CASES, LAYOUTS, Case
from tests.support.engine_nets import L, conv, export, script, seeded
from yuzu_cli.errors import ModelError
from yuzu_cli.model.expressions import is_arithmetic, is_guard
from yuzu_cli.model.files import open_model, sniff
from yuzu_cli.model.operators import is_known_operator

Members = dict[str, bytes]
Change = Callable[[Members, Path], None]

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Touch:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return Path.touch, (self.proof,)


class Sizes(nn.Module):
    """A model whose file has weights, constants, free sizes, a guard and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5, padding=2)
        self.parts = nn.ModuleDict({"a b": nn.Linear(6, 6)})
        self.steps = torch.arange(6.0)
        self.register_buffer("shift", torch.ones(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x)
        with torch.no_grad():
            y = y + self.shift
        y = torch.einsum("bcl,cd->bdl", y, self.parts["a b"].weight)
        y = nn.functional.gelu(y, approximate="tanh")
        halves = y.reshape(y.shape[0], 6, -1, 2).mean(3)
        return {"profile": y, "total": halves.sum((1, 2)).unsqueeze(1) + self.steps}


def save(path: Path) -> Path:
    free = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    program = torch.export.export(Sizes().eval(), (torch.zeros(2, 4, L),), dynamic_shapes=(free,))
    torch.export.save(program, str(path))
    return path


def read(path: Path) -> Members:
    """Members by their names below the top folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members, top: str = "m/", **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(top + name, content)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("good") / "good.pt2")


def load(path: Path) -> nn.Module:
    return open_model(path, torch.device("cpu"), torch.float32).module


def edited(members: Members, name: str, change: Callable[[Any], None]) -> None:
    value = json.loads(members[name])
    change(value)
    members[name] = json.dumps(value).encode()


def first_node(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][0]


def replaced(value: Any, old: str, new: str) -> Any:
    """The JSON with a text replaced wherever it is a whole key or value."""
    if isinstance(value, dict):
        return {replaced(k, old, new): replaced(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [replaced(v, old, new) for v in value]
    return new if value == old else value


# --- what has to pass ---------------------------------------------------------------------------


def test_a_plain_model_passes_and_computes_the_same(good: Path, tmp_path: Path) -> None:
    x = torch.rand(3, 4, L)
    want = torch.export.load(str(good)).module()(x)
    for path in (good, write(tmp_path / "again.pt2", read(good))):
        assert sniff(path) == "exported"
        got = load(path)(x)
        for key, value in want.items():
            torch.testing.assert_close(got[key], value)


def test_the_file_has_what_the_checks_are_about(good: Path) -> None:
    members = read(good)
    text = members[PROGRAM].decode()
    for wanted in ('"expr_str"', '"guards_code": ["', "wrap_with_set_grad_enabled", "bcl,cd"):
        assert wanted in text, wanted
    assert json.loads(members[CONSTANTS])["config"]


# --- code in the program ------------------------------------------------------------------------


def call(proof: Path) -> str:
    return f"__import__('pathlib').Path({str(proof)!r}).touch()"


def constants_entry(name: str) -> Change:
    """The first constant becomes a pickle in a member of this name."""

    def change(members: Members, proof: Path) -> None:
        members[f"data/constants/{name}"] = pickle.dumps(Touch(proof))

        def point(config: Any) -> None:
            entry = next(iter(config["config"].values()))
            entry.update(path_name=name, use_pickle=True)

        edited(members, CONSTANTS, point)

    return change


def in_a_size(members: Members, proof: Path) -> None:
    text = members[PROGRAM].decode()
    symbol = json.loads(text)["graph_module"]["graph"]["sym_int_values"]
    name = next(v["as_expr"]["expr_str"] for v in symbol.values() if "as_expr" in v)
    program = replaced(json.loads(text), name, f"{name} + (0 if {call(proof)} is None else 1)")
    members[PROGRAM] = json.dumps(program).encode()


def in_a_guard(members: Members, proof: Path) -> None:
    edited(members, PROGRAM, lambda p: p.update(guards_code=[f"{call(proof)} is None"]))


def in_a_target(members: Members, proof: Path) -> None:
    text = {"name": "", "arg": {"as_string": f"touch {proof}"}, "kind": 1}

    def change(program: Any) -> None:
        node = first_node(program)
        extra: dict[str, Any] = {
            "target": "torch.os.system",
            "inputs": [text],
            "outputs": [{"as_none": True}],
            "metadata": {},
            "is_hop_single_tensor_return": None,
            "name": "noise",
        }
        assert node["target"].startswith("torch.ops")
        program["graph_module"]["graph"]["nodes"].insert(0, extra)

    edited(members, PROGRAM, change)


def in_a_name(members: Members, proof: Path) -> None:
    program = json.loads(members[PROGRAM])
    spec = next(s for s in program["graph_module"]["signature"]["input_specs"] if "user_input" in s)
    name = spec["user_input"]["arg"]["as_tensor"]["name"]
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"] = [f"{name}={call(proof)}"]
    members[PROGRAM] = json.dumps(program).encode()


def in_a_weights_name(members: Members, proof: Path) -> None:
    evil = f'parts.a") or {call(proof)} or getattr(self.parts, "a b.weight'
    for name in (PROGRAM, WEIGHTS):
        value = replaced(json.loads(members[name]), "parts.a b.weight", evil.replace(".", "\\x2e"))
        members[name] = json.dumps(value).encode()


def in_the_structure(members: Members, proof: Path) -> None:
    (proof.parent / "hostile_module.py").write_text(f"open({str(proof)!r}, 'w').close()")
    enum = json.dumps({"__enum__": True, "fqn": "hostile_module:os", "name": "x"})

    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        spec = {"type": "builtins.dict", "context": enum, "children_spec": []}
        signature["out_spec"] = json.dumps([1, spec])

    edited(members, PROGRAM, change)


def graph_of(size: str) -> dict[str, Any]:
    """A nested graph with a text where a size belongs."""
    meta = {
        "dtype": 7,
        "sizes": [{"as_expr": {"expr_str": size, "hint": None}}],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": 1}],
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }
    return {
        "inputs": [{"as_tensor": {"name": "hidden"}}],
        "outputs": [{"as_tensor": {"name": "hidden"}}],
        "nodes": [],
        "tensor_values": {"hidden": meta},
        "sym_int_values": {},
        "sym_bool_values": {},
    }


def with_argument(members: Members, argument: Any) -> None:
    """The first call of the program gets one more argument."""
    edited(members, PROGRAM, lambda p: first_node(p)["inputs"].append(argument))


def in_a_graph_called_metadata(members: Members, proof: Path) -> None:
    graph = {"as_graph": {"name": "sub", "graph": graph_of(call(proof))}}
    arg = {"as_string_to_argument": {"metadata": graph}}
    with_argument(members, {"name": "", "arg": arg, "kind": 1})


def in_a_graph_beside_a_text(members: Members, proof: Path) -> None:
    """Keys that torch does not know are ignored by it, so they must hide nothing from the check."""
    graph = {"name": "mode", "arg": {"as_string": "x"}, "graph": graph_of(call(proof))}
    with_argument(members, {"name": "", "arg": {"as_graph": graph}, "kind": 1})


def in_a_list_of_sizes(members: Members, proof: Path) -> None:
    graph = graph_of("s0")
    graph["tensor_values"]["hidden"]["sizes"][0]["as_expr"]["expr_str"] = [call(proof)]
    with_argument(members, {"name": "", "arg": {"as_graph": {"name": "s", "graph": graph}}})


def in_a_mapping_of_sizes(members: Members, proof: Path) -> None:
    graph = graph_of("s0")
    graph["tensor_values"]["hidden"]["sizes"][0]["as_expr"]["expr_str"] = {"x": call(proof)}
    with_argument(members, {"name": "", "arg": {"as_graph": {"name": "s", "graph": graph}}})


CODE: list[tuple[str, Change, bool, str]] = [
    ("opaque object", constants_entry("opaque_obj_0"), True, "no part of a plain model"),
    ("opaque object in a folder", constants_entry("opaque_obj_0/x"), True, "no part of"),
    ("prefix of an opaque object", constants_entry("opaque_obj_tensor_0"), True, "no part of"),
    ("custom object", constants_entry("custom_obj_0"), False, "no part of"),
    ("custom object in a folder", constants_entry("custom_obj_0/tensor_0"), False, "no part of"),
    ("pickled constant", constants_entry("tensor_0"), False, "pickled object"),
    ("size", in_a_size, True, "a size that is no arithmetic"),
    ("metadata", in_a_graph_called_metadata, True, "a size that is no arithmetic"),
    ("unknown key", in_a_graph_beside_a_text, True, "a size that is no arithmetic"),
    ("list", in_a_list_of_sizes, False, "a size that is no arithmetic"),
    ("mapping", in_a_mapping_of_sizes, False, "expr_str of another form"),
    ("guard", in_a_guard, True, "no comparison of sizes"),
    ("target", in_a_target, False, "torch.os.system"),
    ("argument's name", in_a_name, False, "where a plain name belongs"),
    ("weight's name", in_a_weights_name, False, "the name of a part of the model belongs"),
    ("structure", in_the_structure, True, "describes its inputs or outputs"),
]


@pytest.mark.parametrize(
    ("change", "works", "text"), [c[1:] for c in CODE], ids=[c[0] for c in CODE]
)
def test_code_in_a_program_is_never_run(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    works: bool,
    text: str,
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    proof, members = tmp_path / "proof", read(good)
    change(members, proof)
    path = write(tmp_path / "m.pt2", members)
    with pytest.raises(ModelError, match=text) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    if works:
        trusting(path)
        assert proof.exists(), "torch itself does not run this: the attack is none"


def trusting(path: Path) -> None:
    """What a program does that loads the file without a look at it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.load(str(path)).module()(torch.rand(3, 4, L))
        except Exception as error:
            print(f"torch: {error}")


# --- the lists of weights and constants ---------------------------------------------------------


def entry_with(name: str, **values: Any) -> Change:
    def change(members: Members, proof: Path) -> None:
        edited(members, name, lambda c: next(iter(c["config"].values())).update(values))

    return change


def shape(*sizes: Any) -> Change:
    def change(members: Members, proof: Path) -> None:
        def resize(config: Any) -> None:
            meta = next(iter(config["config"].values()))["tensor_meta"]
            meta["sizes"] = [s if isinstance(s, dict) else {"as_int": s} for s in sizes]

        edited(members, WEIGHTS, resize)

    return change


def no_numbers(members: Members, proof: Path) -> None:
    path = next(iter(json.loads(members[WEIGHTS])["config"].values()))["path_name"]
    members[f"data/weights/{path}"] = b""
    shape(1 << 40)(members, proof)


PATHS = (
    "opaque_obj_0",
    "opaque_obj_0/x",
    "custom_obj_0",
    "weight_0/x",
    "../weights/weight_0",
    "/weight_0",
    "weight_",
    "weight_0.pt",
    "tensor_0x",
    "model.pt",
    "x/opaque_obj_0",
    "",
)
LISTS: list[tuple[str, Change, str]] = [
    *((f"path {p!r}", entry_with(WEIGHTS, path_name=p), "elsewhere") for p in PATHS),
    *((f"constant {p!r}", entry_with(CONSTANTS, path_name=p), "elsewhere") for p in PATHS),
    ("path missing", entry_with(WEIGHTS, path_name="weight_99"), "elsewhere"),
    ("path a number", entry_with(WEIGHTS, path_name=3), "another form"),
    ("pickled", entry_with(WEIGHTS, use_pickle=True), "pickled object"),
    ("pickled by 1", entry_with(WEIGHTS, use_pickle=1), "pickled object"),
    ("pickled by null", entry_with(CONSTANTS, use_pickle=None), "pickled object"),
    ("no shape", entry_with(WEIGHTS, tensor_meta=None), "fixed shape"),
    ("negative", shape(-1), "fixed shape"),
    ("text", shape({"as_expr": {"expr_str": "s0", "hint": None}}), "fixed shape"),
    ("true", shape(True), "fixed shape"),
    ("huge", no_numbers, "no numbers"),
    ("list", lambda m, p: m.update({WEIGHTS: b"[]"}), "another form"),
    ("not JSON", lambda m, p: m.update({WEIGHTS: b"{"}), "not JSON"),
    ("deep", lambda m, p: m.update({WEIGHTS: b"[" * 200_000}), "nested too deeply|not JSON"),
    ("more keys", lambda m, p: edited(m, WEIGHTS, lambda c: c.update(x=1)), "another form"),
]


@pytest.mark.parametrize(("change", "text"), [c[1:] for c in LISTS], ids=[c[0] for c in LISTS])
def test_only_plain_tensors_are_read(good: Path, tmp_path: Path, change: Change, text: str) -> None:
    members = read(good)
    change(members, tmp_path / "proof")
    with pytest.raises(ModelError, match=text):
        sniff(write(tmp_path / "m.pt2", members))


# --- the zip itself -----------------------------------------------------------------------------


def link(path: Path, members: Members) -> None:
    entry = zipfile.ZipInfo("m/data/weights/weight_0")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name != "data/weights/weight_0":
                archive.writestr("m/" + name, content)
        archive.writestr(entry, "/etc/passwd")


def with_member(name: str, content: bytes = b"x") -> Callable[[Path, Members], None]:
    def make(path: Path, members: Members) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with zipfile.ZipFile(write(path, members), "a") as archive:
                archive.writestr(name, content)

    return make


def compressed(path: Path, members: Members) -> None:
    write(path, members | {"data/weights/weight_0": bytes(1 << 26)}, compression=8)
    assert path.stat().st_size < 1 << 20


def around(before: bytes = b"", after: bytes = b"") -> Callable[[Path, Members], None]:
    def make(path: Path, members: Members) -> None:
        write(path, members)
        path.write_bytes(before + path.read_bytes() + after)

    return make


def two_readings(path: Path, members: Members) -> None:
    """The same member twice, in letters of another case, which torch takes for one."""
    evil = json.loads(members[PROGRAM]) | {"guards_code": ["print(1)"]}
    write(path, {"models/MODEL.json": json.dumps(evil).encode()} | members)


def nested_bomb(path: Path, members: Members) -> None:
    inner = path.with_suffix(".inner")
    write(inner, {"data.pkl": bytes(1 << 26), "data/0": b""}, compression=8)
    write(path, members | {"data/sample_inputs/model.pt": inner.read_bytes()})


def nested_pickle(path: Path, members: Members) -> None:
    write(path, members | {"data/sample_inputs/model.pt": pickle.dumps({})})


def declared_large(path: Path, members: Members) -> None:
    """A directory that says a member is 3 GB, though the file has a few bytes of it."""
    write(path, members)
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    sizes = (3 << 30).to_bytes(4, "little") * 2
    path.write_bytes(data[: place + 20] + sizes + data[place + 28 :])


ZIPS: list[tuple[str, Callable[[Path, Members], None], str]] = [
    ("link", link, "a link"),
    ("compressed", compressed, "is compressed"),
    ("name twice", with_member("m/models/model.json"), "twice"),
    ("name in another case", two_readings, "twice"),
    ("bytes before", around(before=b"#!/bin/sh\n"), "other bytes"),
    ("bytes after", around(after=b"\0" * 30), "other bytes"),
    ("path up", with_member("m/../x"), "no plain path"),
    ("absolute", with_member("/m/x"), "no plain path"),
    ("backslash", with_member("m\\models\\model.json"), "no plain path"),
    ("empty part", with_member("m//x"), "no plain path"),
    ("folder", with_member("m/data/"), "no plain path"),
    ("another top", with_member("n/models/model.json"), "no part"),
    ("second program", with_member("m/models/other.json"), "no part"),
    ("program in a folder", with_member("m/models/model.json/x"), "no part"),
    ("library", with_member("m/data/aotinductor/model/x.so"), "compiled code"),
    ("unknown", with_member("m/data/readme"), "no part"),
    ("nested bomb", nested_bomb, "is compressed"),
    ("nested pickle", nested_pickle, "which torch.save did not write"),
    ("larger than the file", declared_large, "other bytes"),
]


@pytest.mark.parametrize(("make", "text"), [z[1:] for z in ZIPS], ids=[z[0] for z in ZIPS])
def test_zip_files_with_two_readings_are_refused(
    good: Path, tmp_path: Path, make: Callable[[Path, Members], None], text: str
) -> None:
    path = tmp_path / "m.pt2"
    make(path, read(good))
    with pytest.raises(ModelError, match=text):
        sniff(path)


def test_a_large_member_is_not_read_to_describe_it(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("m/data.pkl", "w", force_zip64=True) as member,
    ):
        for _ in range(256):
            member.write(bytes(1 << 20))
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(ModelError):
        sniff(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_compressed_code_of_torchscript_may_not_grow_without_bound(tmp_path: Path) -> None:
    path = script(conv(), tmp_path / "m.pt")
    assert sniff(path) == "torchscript"
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("m/extra", "w", force_zip64=True) as member,
    ):
        for _ in range(1025):
            member.write(bytes(1 << 20))
    with pytest.raises(ModelError, match="unpacks to more than"):
        sniff(path)


# --- expressions and operators ------------------------------------------------------------------

SYMBOL = "Symbol('s77', positive=True, integer=True)"
ARITHMETIC: tuple[str, ...] = (
    f"Max(Integer(1), TruncToInt(Mul(Float('1.5', precision=53), ToFloat({SYMBOL}))))",
    f"Pow({SYMBOL}, Integer(-1))",
    SYMBOL,
)
ARITHMETIC += (
    "s77",
    "2*s0 + 1",
    "s0//2",
    "Max(1, s3)",
    "Mod(s0, 8)",
    "-u0",
    "s0**2",
    "True",
    "1.5",
)
GUARDS = ("2*L['x'].size()[2] == 48", "L['x'].size()[0] <= 512 and not Eq(s0, 2)", "L['y'] == None")
CODE_TEXTS = (
    "__import__('os')",
    "s0.evalf",
    "().__class__",
    "exec('x')",
    "lambda: 0",
    "[s0 for s0 in L]",
    "x",
    "'a'",
    "L['x'].__class__",
    "L['x'].size()[0].__class__",
    "L['x'].size.__self__",
    "math.fsum(s0)",
    "os.system(s0)",
    "9**s0",
    "2**999",
    "Max(*L)",
    "Max(s0, key=s1)",
    "s0 if L else s1",
    "L",
    "L['a\\'b']",
    "(s0 := 1)",
    "f'{s0}'",
    "s0\n",
    "s0 +",
    "Symbol('__import__')",
    "Symbol('s0', cls=exit)",
    "Symbol(s0)",
    "Symbol('s0', precision=10**9)",
    "Float('1', **s0)",
    "Float('x')",
    "Pow(Integer(9), Integer(999999))",
    "Function('f')(s0)",
    "Integer('1')",
    "1" * 20_000,
    "(" * 500 + "1" + ")" * 500,
)


def test_arithmetic_is_told_from_other_python() -> None:
    assert [t for t in ARITHMETIC if not is_arithmetic(t)] == []
    assert [t for t in (*ARITHMETIC, *GUARDS) if not is_guard(t)] == []
    assert [t for t in (*CODE_TEXTS, *GUARDS[:1]) if is_arithmetic(t)] == []
    assert [t for t in CODE_TEXTS if is_guard(t)] == []


KNOWN: tuple[str, ...] = ("torch.ops.aten.conv1d.default", "torch.ops.higher_order.cond")
KNOWN += ("_operator.getitem", "torch.sym_max", "math.ceil", "torch.ops.aten.__and__.Tensor")
UNKNOWN: tuple[str, ...] = ("torch.load", "torch.os.system", "torch.hub.load", "math.")
UNKNOWN += ("torch.ops.load_library", "torch.ops.aten.__class__.mro", "torch.ops.aten.conv1d")
UNKNOWN += ("torch.ops.higher_order.triton_kernel_wrapper_mutation", "torch.ops.export.x.default")
UNKNOWN += ("_operator.methodcaller", "#namespace:op", "exec", "")
UNKNOWN += ("torch.ops.aten.no_such_operator.default",)


def test_operators_that_compute_are_told_from_others() -> None:
    assert [t for t in KNOWN if not is_known_operator(t)] == []
    assert [t for t in UNKNOWN if is_known_operator(t)] == []


@pytest.mark.parametrize("key", ["as_string", "as_int", "as_bool", "as_device", "as_ints"])
def test_an_operator_that_touches_files_gets_no_path(good: Path, tmp_path: Path, key: str) -> None:
    """Under whatever type it is given: torch itself does not look whether a number is one."""
    members = read(good)

    def change(program: Any) -> None:
        node = first_node(program)
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [{"name": "filename", "arg": {key: "notes.txt"}, "kind": 1}]

    edited(members, PROGRAM, change)
    with pytest.raises(ModelError, match=r"not known to be safe|where no text belongs"):
        sniff(write(tmp_path / "m.pt2", members))


def test_endless_numbers_are_numbers(tmp_path: Path) -> None:
    class Endless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.clamp(x, max=float("inf")).masked_fill(x > 2, float("-inf")).sum(2)

    assert sniff(export(Endless(), tmp_path / "m.pt2")) == "exported"


def test_exported_programs_of_a_fixed_batch_pass_too(tmp_path: Path) -> None:
    assert sniff(export(conv(), tmp_path / "m.pt2", 4)) == "exported"


EVERY_EIGHTH = [case for case in CASES[::8] if case.name != "decides-from-data"]


@pytest.mark.parametrize("case", EVERY_EIGHTH, ids=lambda case: case.name)
def test_models_of_every_kind_pass(tmp_path: Path, case: Case) -> None:
    net = seeded(lambda: case.make(case.length)).eval()
    x = LAYOUTS[case.layout](torch.zeros(2, case.letters, case.length))
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(program, str(tmp_path / "m.pt2"))
    assert sniff(tmp_path / "m.pt2") == "exported"


def test_programs_in_the_older_layout_are_checked_too(good: Path, tmp_path: Path) -> None:
    def older(members: Members) -> Members:
        torch.save({}, tmp_path / "w.pt")
        empty = (tmp_path / "w.pt").read_bytes()
        kept = ("state_dict", "constants", "example_inputs")
        return {
            "version": b"8.8",
            "serialized_exported_program.json": members[PROGRAM],
            **{f"serialized_{name}.pt": empty for name in kept},
        }

    members = read(good)
    assert sniff(write(tmp_path / "a.pt2", older(members), top="")) == "exported"
    in_a_size(members, tmp_path / "proof")
    with pytest.raises(ModelError, match="no arithmetic"):
        sniff(write(tmp_path / "b.pt2", older(members), top=""))
