"""The workspace: the only place that builds paths, and how a stage becomes complete.

A stage writes into `.NAME.partial/` and `commit` swaps it in; the old folder goes only then. Inside each
complete stage lie `config.json` (what was asked), `inputs.json` (hashes of what was read) and
`provenance.json` (version, seconds, device). The same config and inputs again: the stage is skipped.
Something differs: it says what, and `overwrite` replaces.
"""

import dataclasses
import hashlib
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import maquette
from maquette.data.errors import InputError
from maquette.data.jsonio import read_json, to_plain, write_json

StageName = Literal["capture", "cameras", "masks", "fields", "asset", "estimator"]
STAGES: tuple[StageName, ...] = ("cameras", "masks", "fields", "asset", "estimator")
RECORDS = ("config.json", "inputs.json", "provenance.json")


@dataclass(frozen=True)
class Workspace:
    """One object's folder; see docs/formats.md for what lies where.

    `network`: an estimator's folder that stands for this workspace's own: one shared with other objects, say.
    """

    root: Path
    network: Path | None = None

    @property
    def capture(self) -> Path:
        return self.root / "capture"

    @property
    def cameras(self) -> Path:
        return self.root / "cameras"

    @property
    def masks(self) -> Path:
        return self.root / "masks"

    @property
    def fields(self) -> Path:
        return self.root / "fields"

    @property
    def asset(self) -> Path:
        return self.root / "asset"

    @property
    def estimator(self) -> Path:
        return self.network or self.root / "estimator"

    @property
    def unfinished_estimator(self) -> Path:
        """Where its training is at work, and leaves weights that can be used already."""
        return partial_of(self.root / "estimator")

    @property
    def features(self) -> Path:
        """Landmarks for poses from local features; made by the stage `poses` when they are first needed."""
        return self.root / "features"

    @property
    def confidence(self) -> Path:
        """What confidences were fitted to; made by a rehearsal of the stage `poses`."""
        return self.root / "confidence"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def given_masks(self) -> Path:
        """Masks that came with the photos: used by `--masks given` and `mix`, else truth for scores."""
        return self.capture / "masks"

    @property
    def ignored(self) -> Path:
        """Pixels of undistorted photos that nothing may learn from: white is ignored."""
        return self.capture / "ignore"

    @property
    def truth(self) -> Path:
        """What the capture's source says is true (truth.json and its mesh); only scores and reports read it."""
        return self.capture / "truth"

    def photo(self, name: str) -> Path:
        """An undistorted photo."""
        return self.cameras / "photos" / name

    def given_mask(self, name: str) -> Path:
        return self.given_masks / f"{Path(name).stem}.png"

    def ignored_mask(self, name: str) -> Path:
        """Missing where the whole photo may be used."""
        return self.ignored / f"{Path(name).stem}.png"

    def coarse_mask(self, name: str) -> Path:
        return self.masks / "coarse" / f"{Path(name).stem}.png"

    def clusters(self, name: str) -> Path:
        return self.masks / "clusters" / f"{Path(name).stem}.png"

    def rendered_mask(self, name: str) -> Path:
        """Visible foreground weight as 8-bit grey, at training resolution."""
        return self.asset / "masks" / f"{Path(name).stem}.png"

    def rendered_view(self, name: str, kind: Literal["all", "object", "background"] = "all") -> Path:
        return self.asset / "views" / kind / f"{Path(name).stem}.png"

    def poses(self, name: str) -> Path:
        return self.root / "poses" / name

    def views(self, name: str) -> Path:
        """Novel views of the asset."""
        return self.root / "views" / name

    def scores(self, name: str) -> Path:
        return self.root / "scores" / f"{name}.json"

    def require(self, stage: StageName, *needed: str) -> Path:
        """The folder of a complete stage. Raises InputError that names the command which makes it."""
        folder = self.estimator if stage == "estimator" else self.root / stage
        for file in needed or ("config.json",):
            if not (folder / file).exists():
                raise InputError(
                    f"{folder / file} is missing: this needs the stage `{stage}` first. "
                    f"Run `maquette {stage} {self.root}`."
                )
        return folder


@dataclass(frozen=True)
class StageFolder:
    """One attempt at a stage. `complete` means: nothing to do, the folder holds this very result."""

    final: Path
    partial: Path
    complete: bool
    resumed: bool

    def commit(self, seconds: float, device: str = "cpu", seed: int = 0) -> None:
        """Write the provenance and swap the folder in; what was there goes only then."""
        provenance = {
            "maquette": maquette.__version__,
            "seconds": round(seconds, 3),
            "device": device,
            "seed": seed,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        write_json(self.partial / "provenance.json", provenance)
        swap_in(self.partial, self.final)


def swap_in(partial: Path, final: Path) -> None:
    """Rename `partial` to `final`; a complete `final` that stands in the way is removed afterwards."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    os.rename(partial, final)
    shutil.rmtree(old, ignore_errors=True)


def partial_of(final: Path) -> Path:
    """Where a stage's folder is written until it is complete."""
    return final.with_name(f".{final.name}.partial")


def begin_stage(
    final: Path,
    config: object,
    inputs: dict[str, Path],
    overwrite: bool = False,
    keep: bool = False,
    changeable: tuple[str, ...] = (),
) -> StageFolder:
    """Open a stage's folder for writing, or find it complete.

    `inputs` are files or folders this stage reads, by name; their hashes decide with `config` whether an
    existing result is this one. An option that did not exist when it was made is taken for its default; those that
    are `changeable` (they say nothing of the result) may be others by now. `keep` (training) goes on with a partial
    folder of the same config and inputs instead of clearing it. Raises InputError where a different result is in
    the way.
    """
    partial = partial_of(final)
    old = final.with_name(f".{final.name}.old")
    if old.exists() and not final.exists():
        os.rename(old, final)
    asked = {"config.json": to_plain(config), "inputs.json": {k: hash_of(v) for k, v in inputs.items()}}
    usual = {"config.json": _defaults(config)}
    if final.exists():
        changes = _differences(final, asked, usual, changeable)
        if not changes:
            return StageFolder(final, partial, complete=True, resumed=False)
        if not overwrite:
            more = f"; and {len(changes) - 6} more" if len(changes) > 6 else ""
            raise InputError(
                f"{final} was made from something else: {'; '.join(changes[:6])}{more}. "
                "Add --overwrite to replace it, or choose another folder."
            )
    resumed = keep and partial.exists() and not _differences(partial, asked, usual, changeable)
    if not resumed:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    for name, content in asked.items():
        write_json(partial / name, content)
    return StageFolder(final, partial, complete=False, resumed=resumed)


def reopen_stage(final: Path) -> StageFolder:
    """A copy of a complete stage to change in part and commit: it was made from the same, and then repaired."""
    partial = partial_of(final)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(final, partial)
    return StageFolder(final, partial, complete=False, resumed=True)


def hash_of(path: Path) -> str | None:
    """SHA-256 of a file, or of a folder's files and their names; records of when and how long do not count."""
    if not path.exists():
        return None
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file.name == "provenance.json" or any(part.startswith(".") for part in file.relative_to(path).parts):
            continue
        digest.update(str(file.relative_to(path)).encode())
        with open(file, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _defaults(config: object) -> object:
    """What the options of a config are by default, as plain values; None where an option has none."""
    if isinstance(config, dict):
        return {name: _defaults(part) for name, part in config.items()}
    if not dataclasses.is_dataclass(config):
        return None
    found: dict[str, object] = {}
    for option in dataclasses.fields(config):
        if option.default is not dataclasses.MISSING:
            found[option.name] = to_plain(option.default)
        elif option.default_factory is not dataclasses.MISSING:
            found[option.name] = to_plain(option.default_factory())
        else:
            found[option.name] = _defaults(getattr(config, option.name))
    return found


def _differences(
    folder: Path, asked: dict[str, object], usual: dict[str, object], changeable: tuple[str, ...] = ()
) -> list[str]:
    changes = []
    for file, wanted in asked.items():
        try:
            found = read_json(folder / file)
        except InputError:
            return [f"{file} is missing or broken"]
        found = _filled(found, usual.get(file))
        if file == "config.json":
            found, wanted = _without(found, changeable), _without(wanted, changeable)
        changes += _compare(found, wanted, "" if file == "config.json" else "input ")
    return changes


def _without(options: object, names: tuple[str, ...]) -> object:
    if not isinstance(options, dict):
        return options
    return {name: value for name, value in options.items() if name not in names}


def _filled(found: object, usual: object) -> object:
    """What was found, with what is usual where it says nothing."""
    if not (isinstance(found, dict) and isinstance(usual, dict)):
        return found
    return usual | {key: _filled(value, usual.get(key)) for key, value in found.items()}


def _compare(found: object, wanted: object, where: str) -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(set(found) | set(wanted))
        dot = "." if where and not where.endswith(" ") else ""
        return [c for key in keys for c in _compare(found.get(key), wanted.get(key), f"{where}{dot}{key}")]
    if found == wanted:
        return []
    if where.startswith("input "):
        return [f"{where} has changed"]
    return [f"{where} was {found!r} and is now {wanted!r}"]
