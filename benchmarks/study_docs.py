"""docs/studies.md: what the studies share, and of each the table or how to make it."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from study_plan import Sizes, Study, StudyName
from study_tables import read_outcome, save_plot, section

HEAD = """# Open questions of the two papers

Written by `python benchmarks/studies.py --docs studies/` from the runs in `studies/`; nothing here is typed by
hand. `python benchmarks/studies.py --all --to studies/ --weights DATA/weights/squeezenet1_0_imagenet.npz` makes all
tables, the command in each section that one alone. Stopped, it goes on where it was; what is complete is not made
again; a run that fails is a line with its reason. Every run's figures are in [studies/](studies/).

What all tables share, where a row or a command does not say otherwise:

- **Learnt from**: the studio's {object} among clutter, {photos} photos {width} pixels wide, the diagonal of the
  object's box 0.42 photo heights long, with the *true cameras*: how well cameras are found is not what is studied.
  Each seed is another print, room and light, and seeds every training.
- **Tested on**: {test_photos} photos of another room, by another camera, up to half of the object hidden. *Boxes
  are the truth's.* Of a real capture: its held-out photos, whose given cameras are the true poses; only rotations
  are scored then, unless `--diameter` says how large the object is.
- **Sizes**: fields {fields_steps} steps of {fields_rays} rays, mesh on a grid of {resolution}, estimator {steps}
  steps of {batch} crops from random weights, where `maquette estimator` starts from the trunk. Far smaller than
  `maquette run`, so that a run takes minutes: compare rows, not these figures with those of
  [results.md](results.md). Steps are counted, so figures do not depend on what else a machine does.
- **Poses**: by the network alone; *both* is with local features, as `maquette poses` does by itself. Figures are
  those of [results.md](results.md): `ad_recall_10`, `recall_5deg_5pct`, and medians over all test photos, where a
  photo without a pose is infinitely wrong (`inf`: half of them and more). Mean and deviation over the seeds.
- **Masks and surface**: `mask_iou` is of the rendered masks, on the photos learnt from (on held-out ones of a real
  capture); the IoU of the masks learnt from is theirs before any field.
- **Seconds** are of all stages and the network's poses, by the clock of the machine that made the table, whatever
  else it did; a stage that two rows share counts in both.
"""
NOT_MADE = "No table yet. This makes it:"


def write_docs(
    folders: Sequence[Path], docs: Path, known: Mapping[StudyName, Study], commands: Mapping[StudyName, str]
) -> Path:
    """Gather the tables of `folders` into studies.md and their figures into studies/, and plot them into images/;
    of each study one per folder.

    Raises InputError for a file that holds no table.
    """
    lines = [HEAD.format(**vars(Sizes()))]
    for name in ("images", "studies"):
        (docs / name).mkdir(parents=True, exist_ok=True)
    for name, study in known.items():
        lines += [f"## {study.title}", ""]
        made = [folder for folder in folders if (folder / f"{name}.json").exists()]
        for index, folder in enumerate(made):
            number = f"_{index}" if index else ""
            outcome = replace(read_outcome(folder / f"{name}.json"), axis=study.axis)
            shutil.copyfile(folder / f"{name}.json", docs / "studies" / f"{name}{number}.json")
            shown = f"images/study_{name}{number}.png"
            lines += [*section(outcome, shown if save_plot(outcome, docs / shown) else None), ""]
        if not made:
            rows = [f"- `{row}`: {variant.what}" for row, variant in study.variants.items()]
            lines += [NOT_MADE, "", "```", commands[name], "```", "", "Its rows:", "", *rows, ""]
    path = docs / "studies.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path
