"""The Snakemake workflow, run for real on this machine, with shards killed midway."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.cli import contents
from tests.support.cluster import (
    REGIONS,
    ROOT,
    RUN,
    SETTINGS,
    SHARDS,
    WIDTH,
    WORKFLOW,
    YUZU,
    environment,
    finished,
    make_world,
    snakemake,
    stop_midway,
)

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")


@dataclass(frozen=True)
class Killed:
    """A workflow that ended well though shard 2 was killed and shard 3 terminated."""

    folder: Path
    code: int
    said: str
    safe: dict[int, int]

    def log(self, name: str) -> str:
        return (self.folder / "results/logs" / f"{name}.log").read_text()

    def shard(self, number: int) -> Path:
        return self.folder / "results/shards" / f"{number}-of-{SHARDS}.h5"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = make_world(tmp_path_factory.mktemp("cluster"))
    process = snakemake(folder)
    parts = {n: folder / "results/shards" / f"{n}-of-{SHARDS}.h5.part" for n in (2, 3)}
    try:
        safe = stop_midway({parts[2]: signal.SIGKILL, parts[3]: signal.SIGTERM})
    except BaseException:
        process.kill()
        print(finished(process)[1])
        raise
    code, said = finished(process)
    return Killed(folder, code, said, {n: safe[part] for n, part in parts.items()})


def test_workflow_ends_well(killed: Killed) -> None:
    assert killed.code == 0, killed.said
    assert (killed.folder / "results/scores.h5").exists()
    assert f"{SHARDS} shards joined" in killed.log("merge")
    assert not list(killed.folder.glob("results/**/*.part"))


def test_regions_are_looked_at_once_before_the_shards(killed: Killed) -> None:
    told = json.loads((killed.folder / "results/regions.json").read_text())
    assert (told["kind"], told["records"]) == ("dry-run", REGIONS)
    assert told["mutants"] == REGIONS * WIDTH * 3
    assert killed.said.index("rule regions") < killed.said.index("rule shard")


def test_shards_ask_for_what_the_dry_run_told(killed: Killed) -> None:
    told = json.loads((killed.folder / "results/regions.json").read_text())
    memory = math.ceil((told["device_bytes"] + told["host_bytes"] + 1e9) / 1e6)
    minutes = 10 + math.ceil(2 * told["seconds"] / SHARDS / 60)
    blocks = re.findall(r"rule shard:\n(?:    .*\n)*?    resources: (.*)\n", killed.said)
    found = [dict(re.findall(r"(\w+)=(\d+)", text)) for text in blocks]
    asked = [(int(f["mem_mb"]), int(f["runtime"])) for f in found]
    assert asked.count((memory, minutes)) == SHARDS
    assert (2 * memory, minutes) in asked, "the second attempt has more memory"


@pytest.mark.parametrize("number", [2, 3])
def test_killed_shard_continues(killed: Killed, number: int) -> None:
    log = killed.log(f"shard.{number}-of-{SHARDS}")
    before = re.search(r"(\d+) of (\d+) records were done before", log)
    assert before, log
    rows = REGIONS // SHARDS
    assert killed.safe[number] <= int(before[1]) < rows == int(before[2])
    # What the second attempt computed is what the first had not.
    computed = re.findall(rf"{number}-of-{SHARDS}\.h5: (\d+) regions", log)[-1]
    assert int(computed) == rows - int(before[1])


def test_undisturbed_shard_is_computed_once(killed: Killed) -> None:
    log = killed.log(f"shard.1-of-{SHARDS}")
    assert "done before" not in log
    assert log.count(" regions, ") == 1


def test_snakemake_tells_of_the_kills(killed: Killed) -> None:
    """The codes of the jobs are yuzu's own, and the log of the terminated one is shown."""
    assert killed.said.count("Trying to restart job") == 2
    assert "stopped before the end; the same command continues" in killed.said
    assert "non-zero exit status 143" in killed.said


def test_merge_equals_the_unsharded_run(killed: Killed) -> None:
    command = [*YUZU, "run", "-c", "run.yaml", "-o", "whole.h5", "-q"]
    subprocess.run(command, cwd=killed.folder, env=environment(), check=True)
    merged = contents(killed.folder / "results/scores.h5")
    assert merged == contents(killed.folder / "whole.h5")


def test_exports_are_there(killed: Killed) -> None:
    import gzip

    exports = killed.folder / "results/exports"
    with gzip.open(exports / "tsv/mutations.tsv.gz", "rt") as table:
        assert sum(1 for _ in table) == 1 + REGIONS * WIDTH * 3
    assert {path.name for path in (exports / "modisco-3").glob("*.np*")} == {"ohe.npz", "attr.npz"}


def test_nothing_is_done_twice(killed: Killed) -> None:
    code, said = finished(snakemake(killed.folder, "--dry-run"))
    assert code == 0, said
    assert "Nothing to be done" in said


def test_foreign_shard_is_named(killed: Killed, tmp_path: Path) -> None:
    """And a shard that is missing is computed, not skipped."""
    folder = tmp_path / "world"
    shutil.copytree(killed.folder, folder)
    second = folder / "results/shards" / f"2-of-{SHARDS}.h5"
    shutil.copy(killed.shard(1), second)
    code, said = finished(snakemake(folder, "results/scores.h5"))
    assert code == 1
    assert "error: results/shards/2-of-3.h5: is shard 1 of 3, and so is" in said
    assert not (folder / "results/scores.h5").exists()
    second.unlink()
    code, said = finished(snakemake(folder, "results/scores.h5", "--dry-run"))
    assert "Missing output files: results/shards/2-of-3.h5" in said
    assert re.search(r"^shard +1$", said, re.M)


def test_slurm_profile_and_plan(tmp_path: Path) -> None:
    """Snakemake and its plugin take the profile, shards ask for what is set, and share a plan."""
    folder = make_world(tmp_path / "world")
    run = RUN | {"compute": {"backend": "yuzu"}, "sensing": {"matrix": "gaussian"}}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    settings = SETTINGS | {"resources": {"shard": {"cpus": 2, "gpus": 1, "runtime": 90}}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings | {"keep_shards": False}))
    code, said = finished(snakemake(folder, "--dry-run", "--cores", "2", profile="slurm"))
    assert code == 0, said
    rules = dict(re.findall(r"rule (\w+):\n(.*?)\n\n", said, re.S))
    for text in ("threads: 2", "runtime=90", "gpu=1", "--plan results/plan.h5"):
        assert text in rules["shard"]
    assert "precompute -c run.yaml -o results/plan.h5" in rules["precompute"]
    assert "gpu" not in rules["merge"]
    removed = re.findall(r"^Would remove temporary output (.*)$", said, re.M)
    assert sorted(removed) == [f"results/shards/{i}-of-{SHARDS}.h5" for i in (1, 2, 3)]


#: Faults that the schema finds are told all at once; the others each on their own.
WRONG = {
    "{shard: 3, shards: many, exports: [bigwi], resources: {shard: {gpu: 1}}}": [
        "error: exports.0.to: 'bigwi' is not one of",
        "error: resources.shard.gpu: unknown key; did you mean gpus?",
        "error: shard: unknown key; did you mean shards?",
        "error: shards: 'many' is not of type 'integer'",
    ],
    "exports: [tsv, tsv]": ["error: exports: tsv is there twice"],
    "run_config: nowhere.yaml": ["error: run_config: there is no file nowhere.yaml"],
    "run_config: mine.yaml": ["error: mine.yaml: model.path is not set"],
}


@pytest.mark.parametrize(("text", "messages"), WRONG.items(), ids=["schema", "twice", "no", "bare"])
def test_wrong_settings_are_refused(tmp_path: Path, text: str, messages: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    code, said = finished(snakemake(tmp_path, "--dry-run"))
    assert code == 1
    errors = [line for line in said.splitlines() if line.startswith("error")]
    for line, message in zip(errors, messages, strict=True):
        assert line.startswith(message)
    assert "Traceback" not in said


def test_default_settings_are_all_the_settings() -> None:
    """A key of the schema that config.yaml does not show would be one that nobody knows of."""
    default = yaml.safe_load((WORKFLOW / "config.yaml").read_text())
    schema = yaml.safe_load((WORKFLOW / "schema.yaml").read_text())
    assert list(default) == schema["required"]
    assert set(default) == set(schema["properties"])
    assert set(SETTINGS) < set(default)
    told = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/cluster.md").read_text(), re.M)
    assert [key for key in default if key in told] == list(default)
