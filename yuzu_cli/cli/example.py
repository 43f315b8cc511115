"""`yuzu example`: the data, the model and the workflows that come with yuzu, as files to run."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import click

from yuzu_cli.cli._options import verbosity_options

#: What is written; a wheel carries them inside the package.
FOLDERS = ("example_data", "configs")

#: What a system says of a folder to be replaced that holds something, or that one stands in.
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EBUSY)


def shipped() -> Path:
    """The folder that holds `FOLDERS`: in an installed package, or in a checkout of the sources."""
    package = Path(__file__).parents[1]
    return inside if (inside := package / "shipped").is_dir() else package.parent


@click.command("example", short_help="Write the example and the workflows into a folder.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@verbosity_options
def command(folder: Path, verbose: int, quiet: bool, debug: bool) -> None:
    """Write a small trained model, its genome and regions, presets and workflows into a new folder.

    \b
    Example:
      yuzu example demo
      cd demo && yuzu run -c example_data/example.yaml -o example.h5
    """
    from yuzu_cli.errors import OutputError
    from yuzu_cli.files import disk_errors

    ignored = shutil.ignore_patterns("__pycache__", "*.fai", "*.gzi", "*.part")
    with (
        disk_errors(folder),
        tempfile.TemporaryDirectory(prefix=".example-", dir=folder.absolute().parent) as made,
    ):
        for name in FOLDERS:
            shutil.copytree(shipped() / name, Path(made, "whole", name), ignore=ignored)
        try:
            os.rename(Path(made, "whole"), folder)  # over an empty folder, never over files
        except OSError as error:
            if error.errno in _TAKEN:
                raise OutputError(str(folder), "is there already", "give a new folder") from None
            raise
    if not quiet:
        click.echo(f"cd {folder} && yuzu run -c example_data/example.yaml -o example.h5", err=True)
