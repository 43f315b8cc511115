"""Each package in a fresh environment: the example runs from it, and the sdist's own tests pass.

    python -m tests.programs.packages dist

Nothing of this checkout is used but constraints.txt. Some minutes, and a gigabyte for the two
environments, which are removed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

TOP = Path(__file__).parents[2]
#: Tests that need no library beside pytest's.
QUICK = ("tests/test_alphabet.py", "tests/test_docs.py", "tests/test_packages.py", "tests/cli")


def told(*command: str | Path, folder: Path) -> None:
    """Run a command; its own words on failure."""
    print("+", *command, flush=True)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([*map(str, command)], cwd=folder, env=clean, check=True)


def check(package: Path, folder: Path) -> None:
    """Install one package and use it as its README says."""
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / "bin"
    quiet = ("--quiet", "--disable-pip-version-check")
    pip = (programs / "python", "-m", "pip", "install", *quiet)
    pinned = ("-c", TOP / "constraints.txt")
    told(
        *pip,
        *pinned,
        "torch",
        f"yuzu-cli[plots,export] @ {package.resolve().as_uri()}",
        folder=folder,
    )
    told(programs / "yuzu", "example", "demo", folder=folder)
    demo = folder / "demo"
    told(*f"{programs}/yuzu run -c example_data/example.yaml -o e.h5".split(), folder=demo)
    told(*f"{programs}/yuzu plot e.h5 --region SuHw_1 --target 3 -o e.png".split(), folder=demo)
    if package.suffix != ".gz":
        return
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    source = folder / package.name.removesuffix(".tar.gz")
    told(*pip, *pinned, ".[dev]", folder=source)
    told(programs / "python", "-m", "pytest", "-m", "not slow", *QUICK, folder=source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path)
    packages = sorted(parser.parse_args().dist.glob("yuzu_cli-*"))
    if {p.suffix for p in packages} != {".whl", ".gz"}:
        sys.exit(f"no wheel and sdist: {[p.name for p in packages]}")
    for package in packages:
        with tempfile.TemporaryDirectory() as folder:
            check(package, Path(folder))
    print("both packages work")


if __name__ == "__main__":
    main()
