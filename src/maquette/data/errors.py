"""The one error that speaks to the person at the keyboard, its kind for files of others' formats, its words."""

from pathlib import Path


class InputError(Exception):
    """Something given to Maquette cannot be used: expected, got, where, what to do, in one message.

    The command line prints the message alone and exits with 2.
    """


class FormatError(InputError):
    """A file of a foreign format cannot be used: which `path`, the `place` in it, the problem, and the `cure`."""

    def __init__(self, path: Path, place: str, problem: str, cure: str) -> None:
        super().__init__(f"{path}, {place}: {problem}. {cure[:1].upper()}{cure[1:].rstrip('.')}.")
        self.path = path
        self.place = place
        self.problem = problem
        self.cure = cure


def shown(value: object) -> str:
    """A value of a file for a message; short, whatever it is."""
    if isinstance(value, int) and abs(value) > 2**64:
        return "a number too large"
    text = type(value).__name__ if isinstance(value, (dict, list)) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
