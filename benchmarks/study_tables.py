"""A study's outcome in files: STUDY.json, STUDY.md and STUDY.png: over an axis, or row by row where it has none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from runs import cell

from maquette.data.jsonio import read_record, write_json

COLUMNS = (
    ("ad_recall_10", "ADD(-S) < 10 %"),
    ("recall_5deg_5pct", "5 degrees, 5 %"),
    ("median_rotation_deg", "median rotation, degrees"),
    ("median_translation_diameter", "median translation, diameters"),
    ("both_ad_recall_10", "both: ADD(-S) < 10 %"),
    ("both_recall_5deg_5pct", "both: 5 degrees, 5 %"),
    ("coarse_iou", "IoU of the masks learnt from"),
    ("mask_iou", "`mask_iou`"),
    ("chamfer_diameter", "`chamfer_diameter`"),
    ("seconds", "seconds"),
)
PANELS = (
    ("within 5 degrees and 5 % of the diameter", "recall_5deg_5pct"),
    ("median rotation error, degrees", "median_rotation_deg"),
)
CURVES = (("", "network alone", (31, 95, 160)), ("both_", "both sources", (206, 106, 22)))
INK, PALE = (40, 40, 40), (215, 215, 215)


@dataclass(frozen=True)
class Row:
    """One run: its figures by key, or why there are none."""

    variant: str
    what: str
    seed: int
    figures: dict[str, float]
    failure: str = ""
    x: float | None = None


@dataclass(frozen=True)
class Outcome:
    """STUDY.json. `command` makes it again; `versions` and `sizes` are what made it."""

    study: str
    title: str
    axis: str
    command: str
    on: str
    versions: dict[str, str]
    sizes: dict[str, object]
    rows: tuple[Row, ...]


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """STUDY.json, STUDY.md and, where there is something to draw, STUDY.png."""
    write_json(folder / f"{outcome.study}.json", outcome)
    drawn = f"{outcome.study}.png" if save_plot(outcome, folder / f"{outcome.study}.png") else None
    (folder / f"{outcome.study}.md").write_text(
        "\n".join(["# " + outcome.title, "", *section(outcome, drawn)]) + "\n"
    )


def read_outcome(path: Path) -> Outcome:
    """What `write_outcome` wrote. Raises InputError where it is something else."""
    outcome = read_record(path, Outcome)
    return replace(outcome, rows=tuple(replace(row, figures=finite_or_not(row.figures)) for row in outcome.rows))


def finite_or_not(figures: Mapping[str, float | None]) -> dict[str, float]:
    """Figures as they were before JSON, which has no infinity and says null."""
    return {key: float("inf") if value is None else value for key, value in figures.items()}


def section(outcome: Outcome, picture: str | None) -> list[str]:
    """Lines of Markdown: command, table, plot, failures, and what made it."""
    lines = ["```", outcome.command, "```", "", f"On {outcome.on}.", "", *table(outcome.rows)]
    if picture is not None:
        lines += ["", f"![{outcome.title}]({picture})"]
    failed = _failures(outcome.rows)
    lines += ["", "No result:", "", *failed] if failed else []
    made = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    return [*lines, "", f"Made with {made}."]


def _failures(rows: Sequence[Row]) -> list[str]:
    """A line for each variant and reason, with its seeds."""
    reasons = dict.fromkeys((row.variant, row.failure) for row in rows if row.failure)
    seeds = {why: [str(row.seed) for row in rows if (row.variant, row.failure) == why] for why in reasons}
    return [f"- {variant}, seed {', '.join(seeds[variant, reason])}: {reason}" for variant, reason in reasons]


def table(rows: Sequence[Row]) -> list[str]:
    """A row a variant, mean and deviation over its seeds; columns that no run knows are left out."""
    known = [(key, title) for key, title in COLUMNS if any(key in row.figures for row in rows)]
    lines = [
        f"| variant | | runs | {' | '.join(title for _, title in known)} |",
        f"|---|---|---{'|---' * len(known)}|",
    ]
    for name in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == name]
        made = [row for row in own if not row.failure]
        cells = [cell([row.figures[key] for row in made if key in row.figures]) for key, _ in known]
        lines.append(f"| {name} | {own[0].what} | {len(made)} of {len(own)} | {' | '.join(cells)} |")
    return lines


def save_plot(outcome: Outcome, path: Path) -> bool:
    """Whether there is something to draw; where not, no older picture is left."""
    picture = plot(outcome)
    if picture is None:
        path.unlink(missing_ok=True)
        return False
    picture.save(path, optimize=True)
    return True


def plot(outcome: Outcome) -> Image.Image | None:
    """Each panel's figure, a dot a seed: over the axis, with lines through their means; where there is no axis, for
    each variant, with a bar at their mean. None where fewer than two places have something.
    """
    made = [row for row in outcome.rows if not row.failure]
    names = {} if outcome.axis else dict(enumerate(dict.fromkeys(row.variant for row in outcome.rows)))
    if names:
        place = {name: float(at) for at, name in names.items()}
        made = [replace(row, x=place[row.variant]) for row in made]
    rows = [row for row in made if row.x is not None]
    if len({row.x for row in rows}) < 2:
        return None
    scale, width, height = 2, 420, 300
    picture = Image.new("RGB", (scale * width * len(PANELS), scale * height), "white")
    for index, (title, key) in enumerate(PANELS):
        area = (index * width + 46, 34, (index + 1) * width - 16, height - 58)
        _panel(ImageDraw.Draw(picture), rows, title, key, outcome.axis, names, area, scale)
    return picture.resize((width * len(PANELS), height), Image.Resampling.LANCZOS).quantize(256)


def _panel(
    draw: ImageDraw.ImageDraw,
    rows: Sequence[Row],
    title: str,
    key: str,
    axis: str,
    names: Mapping[int, str],
    area: tuple[int, int, int, int],
    scale: int,
) -> None:
    """One panel in `area` (left, top, right, bottom, of the smaller picture); infinite values are left out.

    `names` stand for the numbers 0, 1, ... on an axis without a title.
    """
    left, top, right, bottom = (scale * edge for edge in area)
    ticks = sorted({row.x for row in rows if row.x is not None})
    values = [v for row in rows for prefix, *_ in CURVES if (v := row.figures.get(prefix + key, np.inf)) < np.inf]
    highest = 1.0 if "recall" in key else 1.1 * max([*values, 1e-9])
    across = _axis(ticks, left, right)

    def down(value: float) -> float:
        return bottom - value / highest * (bottom - top)

    def write(
        x: float, y: float, words: str, anchor: str, colour: tuple[int, int, int] = INK, size: int = 11
    ) -> None:
        draw.text((x, y), words, colour, ImageFont.load_default(scale * size), anchor)

    write(left, top - 12 * scale, title, "ls", size=12)
    write((left + right) / 2, bottom + 34 * scale, axis, "ms")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = down(share * highest)
        draw.line([(left, y), (right, y)], PALE, scale)
        write(left - 5 * scale, y, f"{share * highest:.3g}", "rm")
    for x in ticks:
        write(across(x), bottom + 15 * scale, names.get(int(x), "") if names else f"{x:g}", "ms")
    for index, (prefix, name, colour) in enumerate(CURVES):
        line = []
        # Where a place is a name, both curves' dots would lie on each other.
        aside = (2 * index - 1) * 9 * scale if names else 0
        for x in ticks:
            here = [v for row in rows if row.x == x and (v := row.figures.get(prefix + key, np.inf)) < np.inf]
            for value in here:
                draw.circle((across(x) + aside, down(value)), 2.5 * scale, colour)
            line += [(across(x) + aside, down(float(np.mean(here))))] if here else []
        bars = [[(x - 8 * scale, y), (x + 8 * scale, y)] for x, y in line] if names else [line]
        for part in bars:
            draw.line(part, colour, 2 * scale)
        write(left + index * 120 * scale, bottom + 52 * scale, name, "ls", colour)


def _axis(ticks: Sequence[float], left: float, right: float) -> Callable[[float], float]:
    """Where a value stands between the edges; by its logarithm where the values span more than a factor of ten."""
    change = np.log if ticks[-1] > 10 * ticks[0] > 0 else float
    low, high = float(change(ticks[0])), float(change(ticks[-1]))
    return lambda x: left + 0.08 * (right - left) + (float(change(x)) - low) / (high - low) * 0.84 * (right - left)
