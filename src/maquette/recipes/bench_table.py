"""The tables of a bench: ours by object, all together, and what the papers print beside; a table a subject."""

from collections.abc import Iterable, Mapping

from maquette.recipes.bench_papers import NOTES, PAPERS, SCENES
from maquette.recipes.bench_rows import Bench, Figures

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Poses by BOP": (
        "ar",
        "ar_rgbd",
        "ar_nobox",
        "ar_other",
        "ar_vsd",
        "ar_vsd_no_sensor",
        "ar_mssd",
        "ar_mspd",
        "ap_pose",
        "ap_pose_rgbd",
        "ap_pose_nobox",
        "ap_pose_other",
        "ap_box",
    ),
    "Poses by ADD and others": (
        "add_recall_10",
        "adds_recall_10",
        "ad_recall_10",
        "ad_recall_10_rgbd",
        "ad_recall_10_nobox",
        "ad_recall_10_other",
        "add_auc",
        "adds_auc",
        "ad_auc",
        "proj_recall_5px",
        "cus_recall_50",
        "recall_5deg_5pct",
        "median_rotation_deg",
        "median_translation_diameter",
        "count",
    ),
    "Masks and photos": (
        "mask_iou",
        "mask_iou_min",
        "mean_fg_bg_iou",
        "boundary_f",
        "psnr",
        "psnr_object",
        "ssim",
        "ssim_object",
    ),
    "Surface": (
        "chamfer_diameter",
        "chamfer_diameter_all",
        "chamfer_diameter_unseen",
        "chamfer_diameter_icp",
        "accuracy_diameter",
        "completeness_diameter",
        "chamfer_sphere",
        "chamfer_sphere_icp",
        "fscore_1pct",
        "normal_consistency",
    ),
    "Surface in lengths": (
        "chamfer_world",
        "accuracy_world",
        "completeness_world",
        "chamfer_forward_mm",
        "chamfer_total_mm",
        "dtu_accuracy_mm",
        "dtu_completeness_mm",
        "dtu_overall_mm",
    ),
    "Time": ("seconds_per_photo", "seconds"),
}
"""Subject -> keys, in the order in which they are told."""


def markdown(bench: Bench) -> str:
    """The tables as bench.md holds them: fractions under their keys, `-` where a figure is unknown.

    A subject of which we know nothing is left out, unless we know nothing at all; so is a column that nobody fills.
    """
    lines = [f"# {bench.title}", "", *(f"- {note}" for note in bench.notes)]
    papers = PAPERS.get(bench.title, ())
    ours = [bench.overall, *(row.figures for row in bench.rows)]
    known = _filled(ours) or COLUMNS
    for subject, columns in _filled([*ours, *(figures for _, figures in papers)]).items():
        if subject in known:
            lines += ["", f"## {subject}", "", *_table(bench, columns)]
    lines += _printed_by_scene(bench.title)
    failures = [row for row in bench.rows if row.failure]
    if failures:
        lines += ["", *(f"- {row.name} failed: {row.failure}" for row in failures)]
    if any(row.notes for row in bench.rows):
        lines += ["", "What each row rests on:", ""]
        lines += [f"- {row.name}: {' '.join(row.notes)}" for row in bench.rows if row.notes]
    return "\n".join(lines) + "\n"


def _filled(said: Iterable[Figures]) -> dict[str, list[str]]:
    """The columns of each subject that hold a figure."""
    keys = {key for figures in said for key in figures}
    filled = {subject: [key for key in columns if key in keys] for subject, columns in COLUMNS.items()}
    return {subject: columns for subject, columns in filled.items() if columns}


def _table(bench: Bench, columns: list[str]) -> list[str]:
    """Our rows, their means, and those of the papers that say something of the subject."""
    lines = [_line("", [f"`{key}`" for key in columns]), "|---" * (len(columns) + 1) + "|"]
    lines += [_figures(row.name, row.figures, columns) for row in bench.rows]
    lines += [_figures("**all**", bench.overall, columns)]
    if bench.shared is not None:
        lines += [_figures(f"**{bench.shared.name}**", bench.shared.figures, columns)]
    papers = [(name, figures) for name, figures in PAPERS.get(bench.title, ()) if set(figures) & set(columns)]
    return lines + [_figures(f"*{name}*", figures, columns) for name, figures in papers]


def _printed_by_scene(title: str) -> list[str]:
    """What DORec prints of each of its scenes, in a table a figure."""
    lines: list[str] = []
    for key, methods in SCENES.get(title, {}).items():
        count = len(next(iter(methods.values())))
        lines += ["", _line(f"`{key}`", [str(number + 1) for number in range(count)])]
        lines += ["|---" * (count + 1) + "|"]
        lines += [_line(f"*{name}*", [f"{value:g}" for value in values]) for name, values in methods.items()]
    lines += ["", f"- {NOTES[title]}"] if title in NOTES else []
    return ["", "## Scene by scene, as DORec prints it", *lines] if lines else []


def _figures(name: str, figures: Figures, columns: list[str]) -> str:
    return _line(name, [f"{figures[key]:.4g}" if key in figures else "-" for key in columns])


def _line(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"
