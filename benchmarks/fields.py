"""A training step of the hash grids beside one of the paper's own networks: seconds, per ray, and memory; and what
either has learnt after so many minutes.

`python benchmarks/fields.py [WORKSPACE]`: rays of a workspace that is complete up to `masks`, else of noise. Each
kind runs in a process of its own, so that its peak memory is its own. Both get the same share of rays that meet the
object sphere, since only those pay for both fields; a step of the paper's networks is of 64 + 4 x 16 samples in the
sphere and 64 beyond it, where NeuS' own code also asks the distance of samples outside of the sphere.

`--minutes M --to DIR` trains both, too, in workspaces of their own: the hash grids as they are by default, the
networks for as many steps as fit into M minutes, with their schedule brought to that. Figures are of rays learnt
from, means over the last ten lines of metrics.jsonl.
"""

import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from runs import lend, measured_apart, start

from maquette.data.captures import as_masked, load_capture
from maquette.data.errors import InputError
from maquette.data.workspace import Workspace
from maquette.fields.config import FieldsConfig
from maquette.fields.interface import KindName
from maquette.fields.kinds import KINDS, build_field
from maquette.fields.parts import Manner, ask
from maquette.fields.photos import training_photos
from maquette.fields.presets import preset
from maquette.fields.rays import RayBank, TrainingPhoto
from maquette.fields.stage import run as train_fields
from maquette.fields.training import asked_of, loss_terms
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import inverse, look_at


@dataclass(frozen=True)
class Asked:
    """On which rays, and for how long."""

    workspace: tyro.conf.Positional[Path | None] = None
    """Complete up to `masks`; else rays are of noise."""
    steps: int = 60
    """Steps of the hash grids."""
    mlp_steps: int = 2
    """Steps of the paper's networks."""
    minutes: float | None = None
    """Train both, the networks for so long."""
    to: Path | None = None
    """The folder of these trainings."""
    only: KindName | None = None
    """The kind of a line, measured in this process and printed as JSON."""


def noise_photos(count: int = 12, width: int = 320, height: int = 240) -> list[TrainingPhoto]:
    """Photos of nothing from a ring around the sphere, a disc for a mask: a step costs the same."""
    rng, photos = np.random.default_rng(0), []
    camera = Camera(width, height, 400.0, 400.0, width / 2, height / 2)
    y, x = np.mgrid[:height, :width]
    disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < 80**2
    for k in range(count):
        eye = 3.0 * np.array([np.cos(k), np.sin(k), 0.4])
        pose = inverse(look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0])))
        colour = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        photos.append(TrainingPhoto(camera, pose, colour, disc, rng.integers(0, 20, disc.shape).astype(np.uint8)))
    return photos


def _config(kind: KindName) -> FieldsConfig:
    """A kind's options, but the same photos, of the same size, for both."""
    usual = FieldsConfig()
    return replace(preset(kind), object_pixels=usual.object_pixels, least_agreement=usual.least_agreement)


def measure(kind: KindName, workspace: Path | None, steps: int) -> dict[str, float]:
    """Median seconds of a step, after one to warm up, at the middle of the training; peak memory of the process."""
    config = _config(kind)
    if workspace is None:
        photos = noise_photos()
    else:
        home = Workspace(workspace)
        photos = training_photos(home, as_masked(home, load_capture(home)), config)
    bank = RayBank(photos)
    field, grids = build_field(config, 2), KINDS[kind].sampler(config.shapes)
    optimizer = KINDS[kind].optimizer(torch.nn.ModuleDict({"field": field}), config)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    before = _peak_mib()
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        grids.refresh(field)
        batch = bank.draw(rng, config.rays, config.photos, FieldsConfig().on_object)
        asked = asked_of(bank, batch, field, grids, config, 0.8, rng, generator)
        answers = ask(field, asked, Manner(grids, config.sharpness.inv_s(0.8), 1.0, config.sections))
        terms = loss_terms(answers, batch, field.head, None, config.losses, 0.8)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return {"step": float(np.median(seconds[1:])), "rays": config.rays, "peak": _peak_mib(), "before": before}


@dataclass(frozen=True)
class Learnt:
    """A training's course: seconds, PSNR (dB) and the masks' IoU with the foreground, smoothed over ten lines."""

    steps: int
    seconds: list[float]
    psnr: list[float]
    agreement: list[float]

    def seconds_until(self, psnr: float) -> float:
        """How long it took to be as good; infinite where it never was."""
        return next(
            (s for s, reached in zip(self.seconds, self.psnr, strict=True) if reached >= psnr), float("inf")
        )


def learn(kind: KindName, workspace: Path, folder: Path, steps: int | None) -> Learnt:
    """Train in a workspace beside, with links to the other's cameras and masks."""
    config = _config(kind)
    config = replace(config, diagnosis="off", steps=config.steps if steps is None else steps)
    beside = lend(Workspace(workspace), folder / kind, ("capture", "cameras", "masks"))
    train_fields(beside, config, overwrite=True)
    rows = [json.loads(line) for line in (beside.fields / "metrics.jsonl").read_text().splitlines()]
    smooth = [rows[max(0, last - 9) : last + 1] for last in range(len(rows))]
    psnr, agreement = (
        [float(np.mean([row[key] for row in part])) for part in smooth] for key in ("psnr", "mask_agreement")
    )
    return Learnt(config.steps, [row["seconds"] for row in rows], psnr, agreement)


def tell_learnt(workspace: Path, folder: Path, minutes: float, step_of_mlp: float) -> None:
    """Both trainings, and when the hash grids had what the networks have at their end."""
    networks = learn("mlp", workspace, folder, max(10, int(60 * minutes / step_of_mlp)))
    grids = learn("hashgrid", workspace, folder, None)
    print("\n| kind | steps | seconds | PSNR, dB | IoU with the masks |\n|---|---|---|---|---|")
    for kind, got in (("mlp", networks), ("hashgrid", grids)):
        print(f"| {kind} | {got.steps} | {got.seconds[-1]:.0f} | {got.psnr[-1]:.1f} | {got.agreement[-1]:.3f} |")
    print(f"\nthe hash grids had the networks' PSNR after {grids.seconds_until(networks.psnr[-1]):.1f} s")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(asked: Asked) -> None:
    if asked.minutes is not None and (asked.workspace is None or asked.to is None):
        raise InputError("--minutes needs a WORKSPACE and --to DIR")
    if asked.only:
        steps = asked.mlp_steps if asked.only == "mlp" else asked.steps
        print(json.dumps(measure(asked.only, asked.workspace, steps)))
        return
    found = {}
    for kind in KINDS:
        # As the program `maquette` does: threads that spin while they wait take the cores from those that work.
        found[kind] = measured_apart(*sys.argv[1:], "--only", kind, OMP_WAIT_POLICY="PASSIVE")
    print("| kind | rays a step | s a step | ms a ray | peak MiB | of that the step |\n|---|---|---|---|---|---|")
    for kind, row in found.items():
        each = 1000 * row["step"] / row["rays"]
        memory = f"{row['peak']:.0f} | {row['peak'] - row['before']:.0f}"
        print(f"| {kind} | {row['rays']} | {row['step']:.3f} | {each:.4f} | {memory} |")
    ratio = (found["mlp"]["step"] / found["mlp"]["rays"]) / (found["hashgrid"]["step"] / found["hashgrid"]["rays"])
    print(f"\nper ray {ratio:.0f} times as fast, {torch.get_num_threads()} threads")
    if asked.minutes is not None:
        assert asked.workspace is not None and asked.to is not None
        tell_learnt(asked.workspace, asked.to, asked.minutes, found["mlp"]["step"])


if __name__ == "__main__":
    start(main, Asked, __doc__)
