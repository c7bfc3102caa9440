"""The table of a bench: ours by object, all together, and what the papers print beside."""

from collections.abc import Mapping

from maquette.recipes.bench_papers import NOTES, PAPERS, SCENES
from maquette.recipes.bench_rows import Bench

COLUMNS = (
    "ar",
    "ar_rgbd",
    "ar_nobox",
    "ar_other",
    "ar_vsd",
    "ar_vsd_no_sensor",
    "ar_mssd",
    "ar_mspd",
    "add_recall_10",
    "adds_recall_10",
    "ad_recall_10",
    "ad_recall_10_rgbd",
    "ad_recall_10_nobox",
    "ad_recall_10_other",
    "add_auc",
    "adds_auc",
    "ad_auc",
    "ap_pose",
    "ap_box",
    "mask_iou",
    "mean_fg_bg_iou",
    "boundary_f",
    "psnr",
    "psnr_object",
    "ssim",
    "chamfer_diameter",
    "chamfer_diameter_icp",
    "chamfer_sphere",
    "chamfer_sphere_icp",
    "fscore_1pct",
    "normal_consistency",
    "recall_5deg_5pct",
    "median_rotation_deg",
    "median_translation_diameter",
    "dtu_accuracy_mm",
    "dtu_completeness_mm",
    "dtu_overall_mm",
    "count",
    "seconds_per_photo",
    "seconds",
)


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
    lines += _printed_by_scene(bench.title)
    failures = [row for row in bench.rows if row.failure]
    if failures:
        lines += ["", *(f"- {row.name} failed: {row.failure}" for row in failures)]
    if any(row.notes for row in bench.rows):
        lines += ["", "What each row rests on:", ""]
        lines += [f"- {row.name}: {' '.join(row.notes)}" for row in bench.rows if row.notes]
    return "\n".join(lines) + "\n"


def _printed_by_scene(title: str) -> list[str]:
    said = [
        f"- DORec scene by scene, `{key}`: {', '.join(f'{value:g}' for value in values)}."
        for key, values in SCENES.get(title, {}).items()
    ]
    said += [f"- {NOTES[title]}"] if title in NOTES else []
    return ["", *said] if said else []


def _line(name: str, figures: Mapping[str, float | int], columns: list[str]) -> str:
    cells = [f"{figures[key]:.4g}" if key in figures else "-" for key in columns]
    return f"| {name} | {' | '.join(cells)} |"
