# Reads and checks the settings; no rules here. The config of `yuzu run` is only looked into for the files
# it names and the method: `yuzu run` itself checks it, in the rule `regions`.
from pathlib import Path

import jsonschema
import yaml

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
    raise WorkflowError("\n".join(["the settings of the workflow are wrong", *lines]))


def checked(settings):
    """The settings, with every export spelled out; all faults are told at once, each with its path."""
    settings = dict(settings)
    exports = settings.get("exports")
    if isinstance(exports, list):
        settings["exports"] = [{"to": e} if isinstance(e, str) else e for e in exports]
    schema = yaml.safe_load(Path(workflow.basedir, "schema.yaml").read_text())
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(settings), key=str)
    if errors:
        refuse(f"error: {'.'.join(map(str, e.absolute_path)) or 'config'}: {e.message}" for e in errors)
    for export in settings["exports"]:
        target = export.get("target")
        export.setdefault("name", export["to"] if target is None else f"{export['to']}-{target}")
    names = [export["name"] for export in settings["exports"]]
    if double := {name for name in names if names.count(name) > 1}:
        refuse([f"error: exports: {min(double)!r} is there twice; give each another name"])
    if settings["link"] and not settings["keep_shards"]:
        refuse(["error: keep_shards: must be true with link, which refers to the shards"])
    return settings


def run_settings(path):
    """The config of `yuzu run`, as it stands; without sequences and model there is nothing to do."""
    if not Path(path).is_file():
        refuse([f"error: run_config: there is no file {path}; it is relative to {Path.cwd()}"])
    try:
        tree = yaml.safe_load(Path(path).read_text()) or {}
        source = tree.get("input") or {}
        model = (tree.get("model") or {}).get("path") or []
    except (yaml.YAMLError, AttributeError) as error:
        refuse([f"error: {path}: is not a config of yuzu run ({' '.join(str(error).split())})"])
    if not model:
        refuse([f"error: {path}: model.path is not set; jobs know only this file"])
    if not (source.get("fasta") or source.get("bed")):
        refuse([f"error: {path}: neither input.fasta nor input.bed is set; jobs know only this file"])
    if source.get("fasta") == "-":
        refuse([f"error: {path}: input.fasta is standard input, which several jobs cannot read"])
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


SETTINGS = checked(config)
RUN = run_settings(SETTINGS["run_config"])
