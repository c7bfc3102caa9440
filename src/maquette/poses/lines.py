"""Records a line each, written the moment they are known: what was stopped goes on after the last whole one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from maquette.data.errors import InputError
from maquette.data.jsonio import from_plain, to_plain

T = TypeVar("T")


def add_line(lines: Path, record: object) -> None:
    """Add a dataclass; once this returns it survives the process, though maybe not a power cut."""
    with open(lines, "a") as file:
        file.write(json.dumps(to_plain(record)) + "\n")


def read_records(lines: Path, kind: type[T]) -> Iterator[T]:
    """The records of a file, in order, one at a time. Raises InputError for a broken line."""
    with open(lines) as file:
        for number, line in enumerate(file, 1):
            try:
                plain = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{lines}, line {number}: not JSON ({error})") from None
            yield from_plain(kind, plain, lines)


def whole_records(lines: Path, kind: type[T]) -> Iterator[T]:
    """The records of a file that a run left when it was stopped; a last line that was cut short is removed.

    Where there is no file an empty one is begun.
    """
    lines.touch()
    with open(lines, "rb+") as file:
        whole = 0
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
        file.truncate(whole)
    yield from read_records(lines, kind)
