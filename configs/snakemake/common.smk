# Reads and checks the settings; no rules here. The config of `yuzu run` is only looked into for the files
# it names and the method: `yuzu run` itself checks it, in the rule `regions`.
import difflib
import json
import math
import re
import sys
from pathlib import Path

import jsonschema
import yaml

from yuzu_cli.yaml12 import read_yaml

#: What an export is called in its folder; modisco writes into the folder itself.
FILES = {
    "modisco": "",
    "chrombpnet": "attributions.h5",
    "basenji": "scores.h5",
    "bigwig": "contribution.bw",
    "bedgraph": "contribution.bedgraph.gz",
    "tsv": "mutations.tsv.gz",
    "npz": "scores.npz",
}


def refuse(lines):
    """Say what is wrong and stop. Snakemake would add where in this file it was found out."""
    sys.exit("\n".join(f"error: {line}" for line in lines))


def fault(error):
    """One fault that the schema found, as lines that begin with the path of the key."""
    place = [str(part) for part in error.absolute_path]
    if error.validator != "additionalProperties":
        yield f"{'.'.join(place)}: {error.message}"
        return
    for key in error.instance.keys() - error.schema["properties"].keys():
        near = difflib.get_close_matches(str(key), error.schema["properties"], 1)
        hint = f"did you mean {near[0]}?" if near else "see configs/snakemake/config.yaml"
        yield f"{'.'.join([*place, str(key)])}: unknown key; {hint}"


def plain(settings):
    """The settings with short spellings written out; `--config report=true` arrives as text."""
    words = {"true": True, "false": False}
    settings = {k: words.get(v, v) if isinstance(v, str) else v for k, v in settings.items()}
    if isinstance(settings.get("exports"), list):
        settings["exports"] = [{"to": e} if isinstance(e, str) else e for e in settings["exports"]]
    return settings


def checked(settings):
    """The settings as rules use them; all faults are told at once, each with its path."""
    settings = plain(settings)
    schema = yaml.safe_load(Path(workflow.basedir, "schema.yaml").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(settings)
    if faults := sorted(line for error in errors for line in fault(error)):
        refuse(faults)
    for export in settings["exports"]:
        parts = [export["to"], *([export["target"]] if "target" in export else [])]
        export.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(map(str, parts))))
    names = [export["name"] for export in settings["exports"]]
    if double := {name for name in names if names.count(name) > 1}:
        refuse([f"exports: {min(double)} is there twice; give each a name of its own"])
    if settings["link"] and not settings["keep_shards"]:
        refuse(["keep_shards: must be true with link, which refers to the shards"])
    return settings


def run_settings(path):
    """The config of `yuzu run`, as it stands; without sequences and model there is nothing to do."""
    if not Path(path).is_file():
        refuse([f"run_config: there is no file {path}; it is relative to {Path.cwd()}"])
    try:
        tree = read_yaml(Path(path).read_text()) or {}
        source = tree.get("input") or {}
        model = (tree.get("model") or {}).get("path") or []
    except (yaml.YAMLError, AttributeError) as error:
        refuse([f"{path}: is not a config of yuzu run ({' '.join(str(error).split())})"])
    if not model:
        refuse([f"{path}: model.path is not set; jobs know only this file"])
    if not (source.get("fasta") or source.get("bed")):
        refuse([f"{path}: neither input.fasta nor input.bed is set; jobs know only this file"])
    if source.get("fasta") == "-":
        refuse([f"{path}: input.fasta is standard input, which several jobs cannot read"])
    return tree


def run_files(tree):
    """The files a run reads: if one of them changes, its shards are computed again."""
    source, model = tree["input"], tree["model"]["path"]
    sequences = [source[key] for key in ("fasta", "bed", "genome") if source.get(key)]
    return [*([model] if isinstance(model, str) else model), *sequences]


def wants_plan(tree):
    """Whether all shards are to share one plan: published codes take long to find."""
    if SETTINGS["precompute"] != "auto":
        return SETTINGS["precompute"]
    matrix = (tree.get("sensing") or {}).get("matrix")
    backend = (tree.get("compute") or {}).get("backend")
    return backend == "yuzu" and matrix in ("gaussian", "bernoulli")


def told(input):
    """What the dry run said; until it has, Snakemake counts the resources as not known yet."""
    return json.loads(Path(str(input.checked)).read_text())


def shard_memory(wildcards, input, attempt):
    """MB for one shard: what is set, or what the dry run told and 1 GB; each new attempt has more."""
    if SHARD["mem_mb"] != "auto":
        return SHARD["mem_mb"]
    facts = told(input)
    # On a GPU, its memory is its own, and CUDA takes some of the host's.
    work = facts["device_bytes"] if facts["device"] == "cpu" else 4_000_000_000
    return attempt * math.ceil((work + facts["host_bytes"] + 1_000_000_000) / 1e6)


def shard_minutes(wildcards, input, attempt):
    """Minutes for one shard: what is set, or twice what the dry run told, and ten to begin."""
    if SHARD["runtime"] != "auto":
        return SHARD["runtime"]
    return 10 + math.ceil(2 * told(input)["seconds"] / SHARDS / 60)


SETTINGS = checked(config)
RUN = run_settings(SETTINGS["run_config"])
