"""The command line: `maquette COMMAND ...`. Errors of a person's making are one line, and exit with 2.

A command's options are its stage's configuration, so a stage is imported only when its command is typed.
"""

import difflib
import errno
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

import maquette
from maquette.data.errors import InputError

BAD_INPUT, INTERRUPTED, UNREAD = 2, 130, 141

COMMANDS = {
    "run": "photos or a video in, a model and a trained pose estimator out (the five stages below in a row)",
    "cameras": "photos, a video or a posed capture -> cameras, sparse points, the object's sphere",
    "masks": "cameras -> a foreground mask and a cluster map per photo",
    "fields": "masks -> decomposed fields: the object's surface, and everything else",
    "asset": "fields -> mesh, texture, exports, rendered masks and views",
    "estimator": "asset -> a network trained to recognise the object's surface in a photo",
    "poses": "photos + estimator -> where the object is in each",
    "track": "video + estimator -> the object followed from frame to frame",
    "views": "asset -> pictures, masks, depth and normals from any camera",
    "align": "two assets of one object -> the transform that lays one on the other",
    "scores": "predictions + truth -> numbers",
    "bench": "a published protocol on the data that are there -> one table beside the papers'",
    "report": "everything a workspace holds -> report.html",
    "export": "photos, cameras, masks and object in another program's format (BOP, COLMAP, nerfstudio, ...)",
    "studio": "make a capture of our own, with all its truth",
    "demo": "make a capture, run everything on it, estimate poses, score them, write the report",
}
_GROUPS = (
    ("everything at once", ("demo", "run")),
    ("stages, one after the other", ("cameras", "masks", "fields", "asset", "estimator")),
    ("using and judging the result", ("poses", "track", "views", "align", "scores", "bench", "report", "export")),
    ("making photos", ("studio",)),
)


def main() -> None:
    """The program `maquette`."""
    # Threads that spin while they wait would take the cores from the one that makes training batches.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = run_command(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more (`| head`): what is still in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
    if status == INTERRUPTED:
        # At once: a thread in the middle of a kernel would be waited for, or torn down under it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run_command(args: Sequence[str]) -> int:
    """Run one command line; the exit status."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if args else BAD_INPUT
    if args[0] in ("--version", "-V"):
        print(f"maquette {maquette.__version__}")
        return 0
    if args[0] not in COMMANDS:
        near = difflib.get_close_matches(args[0], COMMANDS, 1)
        hint = f"did you mean `maquette {near[0]}`?" if near else "`maquette --help` lists the commands."
        return _fail(f"there is no command {args[0]!r}; {hint}")
    try:
        import tyro

        from maquette.app import commands
        from maquette.app.presets import expand

        tyro.cli(commands.load(args[0]), args=expand(args[0], args[1:]), prog=f"maquette {args[0]}")
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _say("stopped. Complete stages are kept; type the same command again to go on.", "yellow")
        return INTERRUPTED
    except Exception as error:
        message = _about_the_machine(error)
        if message is None:
            raise
        return _fail(message)
    return 0


def _about_the_machine(error: Exception) -> str | None:
    """What to say about a full disk or a folder that may not be written; None for our own mistakes."""
    number = error.errno if isinstance(error, OSError) else None
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    # Writers that are not Python's (safetensors, torch) pass the system's words on, but not its number.
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return (
            f"the disk is full{where}. Free some space and type the same command again; complete stages are kept."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write or read here{where}. Choose another folder or change its permissions."
    if number == errno.ENAMETOOLONG:
        return f"this name is too long for the file system{where}."
    return None


def _fail(message: str) -> int:
    _say(f"error: {message}", "bold red")
    return BAD_INPUT


def _say(message: str, style: str) -> None:
    one_line = " ".join(message.split())
    Console(stderr=True, highlight=False).print(f"[{style}]{escape(one_line)}[/]", soft_wrap=True)


def _help() -> str:
    lines = ["usage: maquette COMMAND ... [--help]", "", maquette.__doc__ or ""]
    for title, names in _GROUPS:
        lines += ["", f"{title}:", *(f"  {name:<10} {COMMANDS[name]}" for name in names)]
    lines += [
        "",
        "`maquette COMMAND --help` lists its options. Start with",
        "  maquette demo --to demo/",
        "  maquette run PHOTOS --to mug/",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
