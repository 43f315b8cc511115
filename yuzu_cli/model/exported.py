"""Checks that an exported program (.pt2) is only arithmetic on tensors, before torch reads it.

`torch.export.load` was made for files one trusts: it unpickles, evaluates expressions and guards as
Python, resolves any name below `torch` and writes Python source with the names of the file in it.
So everything in the file is checked here against what `torch.export.save` writes for a model of
plain tensors, and all else is refused. May not: load anything, or give torch what it holds.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from math import prod
from typing import Any

from yuzu_cli.errors import ModelError
from yuzu_cli.model.archive import check_members, read_member
from yuzu_cli.model.expressions import is_arithmetic, is_guard
from yuzu_cli.model.operators import is_known_operator, takes_text

_HINT = "export it again with torch.export.save(...), as a model of plain tensors"
_ONE = r"(version|byteorder|archive_format|archive_version|\.format_version|\.storage_alignment)"
_MEMBERS = re.compile(
    rf"{_ONE}|\.data/(version|serialization_id)|(data/)?extra/[\w.\-/]+"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json|model\.pt)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json|model\.pt)"
)
_OLD_MEMBERS = re.compile(
    r"version|serialized_exported_program\.json|extra_files/[\w.\-/]+"
    r"|serialized_(state_dict|constants|example_inputs)\.pt"
)
_PAYLOADS = (("weights", re.compile(r"weight_\d+")), ("constants", re.compile(r"tensor_\d+")))
_WORD = re.compile(r"[\w.+\-]*")
_PATH = re.compile(r"[\w.\- :/+|@,=]*")
_KINDS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_BY_NAME = {"tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values"}
"""What holds values of the graph by their names, which may be anything: `real`, `type`."""
_OBJECTS = {"as_custom_obj", "custom_obj"}


class _RefusedError(Exception):
    """What is wrong with the file, without its name."""


def check_exported(where: str, archive: zipfile.ZipFile) -> None:
    """Refuse an exported program that holds anything but a graph of known operators and tensors.

    Raises
    ------
    ModelError
        Says which part of the file is not known.
    """
    check_members(where, archive)
    names = archive.namelist()
    try:
        if "serialized_exported_program.json" in names:
            top, program, known = "", "serialized_exported_program.json", _OLD_MEMBERS
        else:
            top = names[0].split("/", 1)[0] + "/"
            program, known = f"{top}models/model.json", _MEMBERS
        for name in names:
            if not name.startswith(top) or not known.fullmatch(name.removeprefix(top)):
                raise _RefusedError(f"holds {name[:80]!r}, which is no part of a plain model")
        if program not in names:
            raise _RefusedError("holds no models/model.json")
        for name in names:
            if name.endswith(".pt"):
                _check_nested(where, archive, name)
        _check_program(_json(where, archive, program))
        if top:
            sizes = {m.filename.removeprefix(top): m.file_size for m in archive.infolist()}
            for folder, pattern in _PAYLOADS:
                name = f"data/{folder}/model_{folder}_config.json"
                if name in sizes:
                    _check_payloads(_json(where, archive, top + name), folder, pattern, sizes)
    except _RefusedError as fault:
        raise ModelError(where, str(fault), _HINT) from None
    except RecursionError:
        raise ModelError(where, "is nested too deeply", _HINT) from None


def _check_nested(where: str, archive: zipfile.ZipFile, name: str) -> None:
    """A member written by torch.save: torch reads it as tensors only; it may not grow either."""
    data = read_member(where, archive, name, limit=max(1, archive.getinfo(name).file_size))
    if not data:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            check_members(f"{where}: {name}", inner)
    except zipfile.BadZipFile:
        raise _RefusedError(f"holds {name!r}, which torch.save did not write") from None


def _json(where: str, archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        value = json.loads(read_member(where, archive, name))
    except (ValueError, UnicodeDecodeError):
        raise _RefusedError(f"holds a {name!r} that is not JSON") from None
    if not isinstance(value, dict):
        raise _RefusedError(f"holds a {name!r} of another form")
    return value


def _check_payloads(
    value: dict[str, Any], folder: str, pattern: re.Pattern[str], sizes: dict[str, int]
) -> None:
    """Each weight or constant is a plain tensor, its numbers in a member of the right kind."""
    entries = value.get("config")
    if set(value) != {"config"} or not isinstance(entries, dict):
        raise _RefusedError(f"holds a list of {folder} of another form")
    for key, entry in entries.items():
        what = f"{folder.removesuffix('s')} {key[:80]!r}"
        if not isinstance(entry, dict) or not isinstance(entry.get("path_name"), str):
            raise _RefusedError(f"{what} is described in another form")
        path, meta = entry["path_name"], entry.get("tensor_meta")
        if entry.get("use_pickle") is not False:
            raise _RefusedError(f"{what} is a pickled object, not a plain tensor")
        if not pattern.fullmatch(path) or f"data/{folder}/{path}" not in sizes:
            raise _RefusedError(f"{what} is a pickled object or lies elsewhere ({path[:80]!r})")
        _check_tensor(what, meta, sizes[f"data/{folder}/{path}"])
        _check_path(key)
        _check(entry, "")


def _check_tensor(what: str, meta: Any, stored: int) -> None:
    try:
        shape = [size["as_int"] for size in meta["sizes"]]
        device = meta["device"]["type"]
    except (TypeError, KeyError):
        raise _RefusedError(f"{what} is not of a fixed shape") from None
    if any(type(size) is not int or size < 0 for size in shape):
        raise _RefusedError(f"{what} is not of a fixed shape")
    if device == "meta" or (stored == 0) != (prod(shape) == 0):
        raise _RefusedError(f"{what} has a shape but no numbers")


def _check_program(value: dict[str, Any]) -> None:
    if not isinstance(value.get("graph_module"), dict):
        raise _RefusedError("holds a program of another form")
    _check(value, "")


def _check(value: Any, key: str) -> None:
    """Walk the JSON; a text is refused but where one belongs, and there obeys the key's rule."""
    if isinstance(value, dict):
        if key in _RULES:
            raise _RefusedError(f"holds a {key} of another form")
        if "arg" in value and "name" in value:
            value = _without_text(value)
        for name, inner in value.items():
            _check_path(name)
            if name in _OBJECTS or (name == "custom_obj_values" and inner):
                raise _RefusedError(f"holds an object that is no tensor ({name})")
            if name != "metadata" or not _is_free(inner):
                _check(inner, "" if key in _BY_NAME else name)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key)
    elif isinstance(value, str):
        _RULES.get(key, _refuse_text)(value)


def _is_free(metadata: Any) -> bool:
    """Texts by name, as stack traces: torch keeps them or looks them up, and evaluates none."""
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _without_text(argument: dict[str, Any]) -> dict[str, Any]:
    """An operator's argument; a text only where one is known to choose or be shown, no path."""
    arg, name = argument["arg"], argument["name"]
    if not isinstance(arg, dict) or not {"as_string", "as_strings"} & set(arg) or name == "":
        return argument
    if set(arg) != {"as_string"} or not isinstance(arg["as_string"], str) or not takes_text(name):
        raise _RefusedError(f"gives an operator a text that is not known to be safe ({name!r})")
    return argument | {"arg": None}


def _refuse_text(text: str) -> None:
    raise _RefusedError(f"holds {text[:80]!r} where no text belongs")


def _check_number(text: str) -> None:
    if text not in ("Infinity", "-Infinity", "NaN"):
        raise _RefusedError(f"holds {text[:80]!r} where a number belongs")


def _check_word(text: str) -> None:
    if not _WORD.fullmatch(text):
        raise _RefusedError(f"holds {text[:80]!r} where a plain word belongs")


def _check_name(text: str) -> None:
    if text and not text.isidentifier():
        raise _RefusedError(f"holds {text[:80]!r} where a plain name belongs")


def _check_path(text: str) -> None:
    parts = text.split(".")
    if not _PATH.fullmatch(text) or any(p.startswith("__") and p.endswith("__") for p in parts):
        raise _RefusedError(f"holds {text[:80]!r} where the name of a part of the model belongs")


def _check_expression(text: str) -> None:
    if not is_arithmetic(text):
        raise _RefusedError(f"holds a size that is no arithmetic: {text[:80]!r}")


def _check_guard(text: str) -> None:
    if not is_guard(text):
        raise _RefusedError(f"holds a condition that is no comparison of sizes: {text[:80]!r}")


def _check_target(text: str) -> None:
    if not is_known_operator(text):
        raise _RefusedError(f"calls {text[:80]!r}, which is no operator that is known to be safe")


def _check_structure(text: str) -> None:
    """How inputs and outputs nest: tuples, lists and dictionaries with plain keys."""
    try:
        protocol, structure = json.loads(text)
        _check_node(structure)
    except (ValueError, TypeError, KeyError):
        raise _RefusedError("describes its inputs or outputs in another form") from None
    if protocol != 1:
        raise _RefusedError("describes its inputs or outputs in another form")


def _check_node(node: dict[str, Any]) -> None:
    if node["type"] not in _KINDS:
        raise _RefusedError(f"has inputs or outputs of type {str(node['type'])[:80]!r}")
    context = node["context"]
    keys = json.loads(context) if isinstance(context, str) else context
    if not isinstance(keys, list | None):
        raise TypeError
    for key in keys or ():
        if not isinstance(key, str | int):
            raise TypeError
        _check_word(str(key))
    for child in node["children_spec"]:
        _check_node(child)


_RULES: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(("name", "as_name", "user_input_name", "forward_arg_names"), _check_name),
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "fqn"), _check_path),
    **dict.fromkeys(("in_spec", "out_spec"), _check_structure),
    **dict.fromkeys(("target", "as_operator"), _check_target),
    **dict.fromkeys(("as_float", "as_floats", "as_float_lists", "real", "imag"), _check_number),
    **dict.fromkeys(("type", "path_name", "torch_version", "verifiers"), _check_word),
    **dict.fromkeys(("field_names", "as_string", "as_strings"), _check_word),
    "expr_str": _check_expression,
    "guards_code": _check_guard,
}
"""Key -> what a text under it must be; under any other there is none."""
