"""Opens a model file: finds out what it is from its bytes, then lets torch load it.

A pickle can run code when it is loaded, so nothing here ever unpickles: a file that is not
TorchScript or an exported program is told apart by its zip index and its pickle opcodes alone, and
refused. May not: run the model, or know about layouts, outputs and targets.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import io
import logging
import os
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from yuzu_cli.errors import ModelError
from yuzu_cli.model.archive import check_members, read_head
from yuzu_cli.model.exported import check_exported
from yuzu_cli.model.weights import cast

SAVE_HINT = "save it with torch.jit.script(model).save(...) or torch.export.save(...)"
_PLAIN: tuple[str, ...] = (
    "collections.",
    "torch._utils.",
    "torch.storage.",
    "torch.nn.parameter.",
    "torch.Size",
)
_PLAIN += ("torch._tensor.", "torch.serialization.", "torch.device", "torch.dtype")
_PLAIN += tuple(f"torch.{kind}" for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int"))
_PLAIN += tuple(f"torch.{kind}" for kind in ("Short", "Char", "Byte", "Bool", "float", "int"))
"""What a checkpoint of weights is made of."""
_OTHER_FORMATS = (
    (b"\x89HDF", "an HDF5 file (a Keras model?)"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with `git lfs pull`"),
)


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A model as torch loaded it, with what its file says of its inputs.

    Attributes
    ----------
    module : torch.nn.Module
        Freshly loaded, in inference mode, no parameter requires a gradient.
    kind : str
        "torchscript", "exported", or "module" for one of Python's.
    inputs : tuple of (name, is_tensor, has_default)
        The inputs of `forward`, in order.
    batch : tuple of (int, int or None) per input
        Smallest and largest size of axis 0 that the file allows; (1, None) when it does not say.
    """

    module: torch.nn.Module
    kind: str
    inputs: tuple[tuple[str, bool, bool], ...]
    batch: tuple[tuple[int, int | None], ...]


Given: TypeAlias = torch.nn.Module | torch.export.ExportedProgram
"""A model in memory: a module of Python's, a ScriptModule, or an exported program."""


def sha256_of(path: str | os.PathLike[str] | Given) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in pieces; of a model, what it is of."""
    digest = hashlib.sha256()
    if not isinstance(path, (str, os.PathLike)):
        digest.update(repr(path).encode())
        state = path.state_dict() if isinstance(path, torch.nn.Module) else path.state_dict
        for name, value in state.items():
            digest.update(name.encode() + value.detach().cpu().double().numpy().tobytes())
        return digest.hexdigest()
    with open(path, "rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sniff(path: str | os.PathLike[str]) -> str:
    """What a model file is: "torchscript" or "exported".

    Raises
    ------
    ModelError
        The file is missing, or is anything else; the message says what it looks like.
    """
    where, file = str(path), Path(path)
    if not file.exists():
        raise ModelError(where, "no such file", "give a TorchScript .pt or an exported .pt2")
    if not file.is_file():
        raise ModelError(where, "is not a file", "give a TorchScript .pt or an exported .pt2")
    try:
        with zipfile.ZipFile(file) as archive:
            return _sniff_zip(where, archive)
    except zipfile.BadZipFile:
        pass
    except OSError as error:
        raise ModelError(where, f"cannot be read: {error.strerror}") from None
    raise ModelError(where, _describe_bytes(file), SAVE_HINT)


def _sniff_zip(where: str, archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    inner = {name.split("/", 1)[-1] for name in names}
    tops = {name.split("/", 1)[0] for name in inner}
    if "constants.pkl" in inner and "code" in tops:
        check_members(where, archive, packed=True)
        return "torchscript"
    if any("aotinductor/" in name for name in names):
        raise ModelError(
            where, "holds compiled code (AOTInductor)", "save it with torch.export.save(...)"
        )
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        check_exported(where, archive)
        return "exported"
    for name in names:
        if name.split("/", 1)[-1] == "data.pkl":
            raise ModelError(where, _describe_pickle(read_head(archive, name)), SAVE_HINT)
    raise ModelError(where, "is a zip file, but not TorchScript or torch.export", SAVE_HINT)


def _describe_bytes(file: Path) -> str:
    size = file.stat().st_size
    if size == 0:
        return "is empty"
    with open(file, "rb") as handle:
        head = handle.read(1 << 20)
    if head[:1] == b"\x80":
        return _describe_pickle(head)
    for magic, name in _OTHER_FORMATS:
        if head.startswith(magic):
            return f"is {name}, not TorchScript or torch.export"
    if head[:2] == b"PK":
        return "is a damaged or truncated zip file"
    return "is not a TorchScript or torch.export file"


def _describe_pickle(data: bytes) -> str:
    """Tell a state_dict from a pickled module by the names in its opcodes, without loading it."""
    classes: list[str] = []
    recent: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                classes.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL" and len(recent) >= 2:
                classes.append(".".join(recent[-2:]))
            elif isinstance(argument, str):
                recent.append(argument)
    except ValueError:  # only the head of the file was read, or several pickles follow one another
        pass
    own = [name for name in classes if not name.startswith(_PLAIN)]
    if own:
        return f"is a pickled Python object ({own[0]}), which is not loaded as it could run code"
    return "is a pickle of weights (a state_dict or checkpoint) without the model's code"


def open_model(
    path: str | os.PathLike[str] | Given, device: torch.device, dtype: torch.dtype
) -> LoadedFile:
    """Load a model file, or copy a model in memory, onto `device`, computing in `dtype`.

    Raises
    ------
    ModelError
        The file is not a model, torch cannot load it, or it cannot be moved or cast.
    """
    if not isinstance(path, (str, os.PathLike)):
        if isinstance(path, torch.nn.Module):
            with torch.no_grad():  # else what is copied of a ScriptModule would remember from where
                return _module(copy.deepcopy(path), device, dtype)
        memory = io.BytesIO()
        torch.export.save(path, memory)
        return _open_exported(memory, device, dtype)
    kind = sniff(path)
    try:
        opener = _open_torchscript if kind == "torchscript" else _open_exported
        return opener(path, device, dtype)
    except torch.OutOfMemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(str(path), "holds a pickle, which could run code", SAVE_HINT) from error
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, OSError) as error:
        what = f"cannot be loaded in {str(dtype).removeprefix('torch.')} on {device}"
        raise ModelError(str(path), f"{what}: {short(error)}") from error


def _open_torchscript(
    path: str | os.PathLike[str], device: torch.device, dtype: torch.dtype
) -> LoadedFile:
    return _module(torch.jit.load(str(path), map_location=device), device, dtype)


def _module(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> LoadedFile:
    """A module that is ours to change."""
    module.eval()
    cast(module.to(device), dtype)
    _freeze(module)
    if not isinstance(module, torch.jit.ScriptModule):
        given = inspect.signature(module.forward).parameters.values()
        inputs = tuple(
            (p.name, True, p.default is not p.empty)
            for p in given
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
        )
        return LoadedFile(module, "module", inputs, ((1, None),) * len(inputs))
    forward: Any = module.forward
    arguments = forward.schema.arguments[1:]
    inputs = tuple((a.name, str(a.type) == "Tensor", a.has_default_value()) for a in arguments)
    return LoadedFile(module, "torchscript", inputs, ((1, None),) * len(inputs))


def _open_exported(
    path: str | os.PathLike[str] | io.BytesIO, device: torch.device, dtype: torch.dtype
) -> LoadedFile:
    with _weights_only(), _quiet("torch.export", "torch._export"):
        program = torch.export.load(path if isinstance(path, io.BytesIO) else str(path))
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, str(device))
    names = program.graph_signature.user_inputs
    shapes = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    batch = tuple(_batch_range(shapes.get(str(name)), program.range_constraints) for name in names)
    module = cast(program.module(), dtype)
    _freeze(module)
    return LoadedFile(module, "exported", tuple((str(n), True, False) for n in names), batch)


def _freeze(module: torch.nn.Module) -> None:
    for parameter in module.parameters():  # ScriptModule has no requires_grad_
        parameter.requires_grad_(False)


def _batch_range(value: Any, constraints: Any) -> tuple[int, int | None]:
    if not isinstance(value, torch.Tensor) or value.dim() == 0:
        return 1, None
    size = value.shape[0]
    if isinstance(size, int):
        return size, size
    limits = constraints.get(size.node.expr)
    if limits is None:
        return 1, None
    high = int(limits.upper) if limits.upper < (1 << 40) else None
    return max(1, int(limits.lower)), high


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Make torch.load refuse anything but tensors, also where torch.export asks it not to."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence loggers that print a traceback before torch raises the same error."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def short(error: BaseException, limit: int = 200) -> str:
    """The last line of an error's message: where TorchScript puts what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    for prefix in ("RuntimeError: ", "torch.jit.Error: "):
        text = text.removeprefix(prefix)
    return text if len(text) <= limit else text[: limit - 3] + "..."
