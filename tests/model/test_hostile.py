"""Model files made to run code, or to harm who reads them: each is refused, and nothing ran.

Each attack that works on `torch.export.load` itself is shown to work there, so that none of these
tests passes because its attack is no attack.
"""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.engine_nets import L
from tests.support.hostile import (
    CONSTANTS,
    PROGRAM,
    WEIGHTS,
    Change,
    Members,
    Touch,
    call,
    edited,
    first_node,
    in_a_size,
    load,
    read,
    replaced,
    write,
)
from yuzu_cli.errors import ModelError
from yuzu_cli.model.files import sniff

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


def constants_entry(name: str) -> Change:
    """The first constant becomes a pickle in a member of this name."""

    def change(members: Members, proof: Path) -> None:
        members[f"data/constants/{name}"] = pickle.dumps(Touch(proof))

        def point(config: Any) -> None:
            entry = next(iter(config["config"].values()))
            entry.update(path_name=name, use_pickle=True)

        edited(members, CONSTANTS, point)

    return change


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
        except Exception as error:  # what counts is whether the attack ran before
            print(f"torch: {error}")
