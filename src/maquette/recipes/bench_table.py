"""The table of a bench: ours by object, all together, and what the papers print beside."""

from collections.abc import Mapping
from dataclasses import dataclass

PAPERS: Mapping[str, tuple[tuple[str, Mapping[str, float]], ...]] = {
    "LM-O": (
        ("NeuSurfEmb, RGB, eight objects, found boxes", {"ar": 0.554}),
        ("NeuSurfEmb, RGB-D, eight objects, found boxes", {"ar": 0.666}),
    ),
    "DTU": (
        ("DORec", {"mask_iou": 0.971}),
        ("NeuS with SAM's masks", {"mask_iou": 0.949}),
        ("SAM", {"mask_iou": 0.936}),
    ),
}
COLUMNS = (
    "ar",
    "ar_vsd",
    "ar_vsd_no_sensor",
    "ar_mssd",
    "ar_mspd",
    "add_recall_10",
    "adds_recall_10",
    "ad_recall_10",
    "ap_pose",
    "mask_iou",
    "mean_fg_bg_iou",
    "boundary_f",
    "psnr",
    "ssim",
    "chamfer_diameter",
    "chamfer_diameter_icp",
    "normal_consistency",
    "count",
    "seconds_per_photo",
    "seconds",
)


@dataclass(frozen=True)
class Row:
    """One object: its figures, or why there are none."""

    name: str
    figures: Mapping[str, float | int]
    failure: str = ""


@dataclass(frozen=True)
class Bench:
    """A protocol's outcome; `overall` is over all rows as the protocol has it."""

    title: str
    notes: tuple[str, ...]
    overall: Mapping[str, float | int]
    rows: tuple[Row, ...]


def markdown(bench: Bench) -> str:
    """The table as bench.md holds it: fractions under their keys, `-` where a figure is unknown."""
    papers = PAPERS.get(bench.title, ())
    said = [bench.overall, *(row.figures for row in bench.rows), *(figures for _, figures in papers)]
    columns = [key for key in COLUMNS if any(key in figures for figures in said)]
    lines = [f"# {bench.title}", "", *(f"- {note}" for note in bench.notes), ""]
    lines += [f"| | {' | '.join(f'`{key}`' for key in columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [_line(row.name, row.figures, columns) for row in bench.rows]
    lines += [_line("**all**", bench.overall, columns)]
    lines += [_line(f"*{name}*", figures, columns) for name, figures in papers]
    failures = [row for row in bench.rows if row.failure]
    if failures:
        lines += ["", *(f"- {row.name} failed: {row.failure}" for row in failures)]
    return "\n".join(lines) + "\n"


def _line(name: str, figures: Mapping[str, float | int], columns: list[str]) -> str:
    cells = [f"{figures[key]:.4g}" if key in figures else "-" for key in columns]
    return f"| {name} | {' | '.join(cells)} |"
