"""Model files that are no plain zip of plain tensors: each is refused, and nothing ran."""

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

from tests.support.engine_nets import conv, script
from tests.support.hostile import (
    CONSTANTS,
    PROGRAM,
    WEIGHTS,
    Change,
    Members,
    edited,
    read,
    write,
)
from yuzu_cli.errors import ModelError
from yuzu_cli.model.files import sniff

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
