"""What the person sees while they wait: one line a stage, a bar where there is a terminal, quiet in a pipe."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line for the person."""
    console.print(message, markup=False, soft_wrap=True)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar and the time left on a terminal and nothing in a pipe."""
    if not console.is_terminal:
        yield from items
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, description=label, total=total)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


@contextmanager
def steps(labels: dict[str, str]) -> Iterator[Callable[[str, int, int], None]]:
    """A function (step, done, total) to report with: a bar per step on a terminal, a line per finished step else.

    `labels` says what each step is called; steps without a label are not shown.
    """
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in labels:
                return
            if step not in tasks:
                tasks[step] = progress.add_task(labels[step], total=total)
            progress.update(tasks[step], completed=done, total=total)
            if done == total and not console.is_terminal:
                say(f"  {labels[step]}: {total}")

        yield report
