"""The site from the same files that are read in the repository.

README, CHANGELOG and CONTRIBUTING become pages, and a link to a file that is no page leads to the
repository, so that every page can be read in both places.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TOP = Path(__file__).parent.parent
#: Pages of the site that stand outside docs/.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that are made of files outside docs/."""
    for source, page in PAGES.items():
        text = (TOP / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=linked(text, TOP, config)))
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """Links of a page of docs/ that lead out of it."""
    return linked(markdown, Path(config.docs_dir), config)


def linked(text: str, folder: Path, config: MkDocsConfig) -> str:
    """Every link as it must be on the site; one to a file that is not there stays, and is told."""

    def target(link: re.Match[str]) -> str:
        path, anchor = (folder / link[1]).resolve(), link[2] or ""
        if not path.exists():
            return link[0]
        if path.is_relative_to(config.docs_dir):
            return path.relative_to(config.docs_dir).as_posix() + anchor
        name = path.relative_to(TOP).as_posix()
        return (
            f"{PAGES[name]}{anchor}"
            if name in PAGES
            else f"{config.repo_url}/blob/main/{name}{anchor}"
        )

    return LINK.sub(target, text)
