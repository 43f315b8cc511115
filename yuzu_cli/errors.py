"""The errors a user can cause, each one line: `where: what; hint`.

Raised where the fact is known, turned into exit codes once, in `yuzu_cli.cli`. Nothing else here:
no logging, no formatting of tracebacks.
"""

from __future__ import annotations


class YuzuError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    where : str
        File and line, record, config path or option the fault was found at; may be empty.
    what : str
        What is wrong, without a full stop.
    hint : str
        What to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        self.where, self.what, self.hint = where, what, hint
        super().__init__(where, what, hint)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.hint}" if self.hint else text


class UsageError(YuzuError):
    """The command line or the config is at fault."""

    exit_code = 2


class InputError(YuzuError):
    """A FASTA, BED or genome is at fault."""


class ModelError(YuzuError):
    """The model file, or what the model computes, is at fault."""


class OutputError(YuzuError):
    """An output, a part of one or a plan cannot be written, read or continued."""
