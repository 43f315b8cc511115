"""The file in a folder of unfinished work that says whose it is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError
from yuzu_cli.files import write_atomically
from yuzu_cli.results.schema import MANIFEST
from yuzu_cli.runs.run_info import RunInfo

#: Of unfinished work; that of version 1 (yuzu 0.1) cannot be continued.
PART_VERSION = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of work in progress; `run_id` ties segments to it, so others' are never taken."""

    run_id: str
    info: RunInfo

    def save(self, folder: Path) -> None:
        """Write durably; a reader sees the old one or the new one, never a piece."""
        data = {
            "format": "yuzu-part",
            "format_version": PART_VERSION,
            "run_id": self.run_id,
            "info": asdict(self.info),
        }
        write_atomically(folder / MANIFEST, json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, folder: Path, tolerant: bool = False) -> Manifest | None:
        """The manifest in `folder`; None when there is none, or (if tolerant) none to be read.

        Raises
        ------
        OutputError
            When it cannot be read, or was written by another version.
        """
        path, hint = folder / MANIFEST, "use --no-resume to start again"
        data: dict[str, Any] = {}
        try:
            data = json.loads(path.read_bytes())
            found = data.get("format_version")
            what = f"is of format {found}, this yuzu continues {PART_VERSION}"
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            what = f"cannot be read ({error})"
        if data.get("format_version") != PART_VERSION:
            if tolerant:
                return None
            raise OutputError(os.fspath(path), what, hint)
        known = {f.name for f in fields(RunInfo)}
        return cls(data["run_id"], RunInfo(**{k: v for k, v in data["info"].items() if k in known}))
