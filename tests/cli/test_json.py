"""`--json`: one object on standard output, with the fields of docs/json.md and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import LENGTH, World, invoke, make_world
from yuzu_cli.cli._json import OBJECTS, print_json, tables
from yuzu_cli.results.schema import ATTRIBUTES

RECORDS = 6
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "whole number": (int,),
    "number": (int, float),
    "number or null": (int, float, type(None)),
    "true or false": (bool,),
    "list of text": (list,),
    "object": (dict,),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), RECORDS)


@pytest.fixture
def run(world: World) -> list[str]:
    return ["run", "-m", world.model, "-f", world.seqs, "--backend", "naive", "--batch-size", "2"]


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The object that a command prints, checked against the table of its kind."""
    code, out, err = invoke([*argv, "--json"], capsys)
    assert code == 0, err
    facts: dict[str, Any] = json.loads(out)
    kind = facts.pop("kind")
    table = {fact.name: fact.type for fact in OBJECTS[kind]}
    if "…" not in table:
        assert list(facts) == list(table)
    for name, type_ in table.items():
        if type_ in TYPES:
            assert type(facts[name]) in TYPES[type_], name
    return {"kind": kind} | facts


def test_a_run(run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.h5"
    dry = said([*run, "-o", str(out), "--dry-run"], capsys)
    assert (dry["kind"], dry["records"], dry["mutants"]) == ("dry-run", 6, 6 * LENGTH * 3)
    assert not out.exists()
    done = said([*run, "-o", str(out)], capsys)
    assert (done["kind"], done["path"], done["complete"]) == ("run", str(out), True)
    assert (done["regions"], done["backend"], done["max_abs_error"]) == (6, "naive", None)
    facts = said(["info", str(out)], capsys)
    assert facts["kind"] == "output"
    names = {attribute.name for attribute in ATTRIBUTES if not attribute.optional}
    assert names <= set(facts)
    assert facts["verify_max_abs_error"] is None


def test_shards_and_their_merge(
    run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [str(tmp_path / f"{i}.h5") for i in (1, 2)]
    done = [said([*run, "--shard", f"{i}/2", "-o", p], capsys) for i, p in enumerate(parts, 1)]
    assert sum(facts["records"] for facts in done) == RECORDS
    again = said([*run, "--shard", "1/2", "-o", parts[0]], capsys)
    assert again["finished_before"]
    out = str(tmp_path / "all.h5")
    merged = said(["merge", *parts, "-o", out, "--link"], capsys)
    assert merged == {"kind": "merge", "path": out, "shards": 2, "linked": True}


def test_an_export(run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said([*run, "-o", str(tmp_path / "o.h5")], capsys)
    out = str(tmp_path / "o.tsv")
    done = said(["export", str(tmp_path / "o.h5"), "--to", "tsv", "-o", out], capsys)
    assert done == {"kind": "export", "format": "tsv", "paths": [out], "rows": 6, "notes": []}


def test_variants(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letters = Path(world.genome).read_text().split()[1]
    other = "A" if letters[199] != "A" else "C"
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "v.vcf").write_text(f"{header}chr1\t200\t.\t{letters[199]}\t{other}\t.\t.\t.\n")
    more = ["--vcf", str(tmp_path / "v.vcf"), "-o", str(tmp_path / "o.tsv"), "-l", str(LENGTH)]
    done = said(["variants", "-m", world.model, "-g", world.genome, *more], capsys)
    assert (done["records"], sum(done["methods"].values())) == (1, 1)


def test_a_plan_and_unfinished_work(
    world: World, run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = str(tmp_path / "p.h5")
    argv = ["precompute", "-m", world.model, "-l", str(LENGTH), "-o", plan, "-q"]
    assert invoke(argv, capsys)[0] == 0
    assert said(["info", plan], capsys)["kind"] == "plan"


def test_a_fault_prints_nothing(run: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = invoke([*run, "--targets", "9", "--json"], capsys)
    assert (code, out) == (2, "")
    assert "no target 9" in err


def test_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    nan, inf = float("nan"), float("inf")
    print_json("x", {"a": nan, "b": [inf, {"c": -inf}], "d": Path("p"), "e": (1.5,)})
    want = {"kind": "x", "a": None, "b": [None, {"c": None}], "d": "p", "e": [1.5]}
    assert json.loads(capsys.readouterr().out) == want


def test_the_page_has_the_tables() -> None:
    page = (Path(__file__).parent.parent.parent / "docs/json.md").read_text()
    assert tables() in page, tables()
