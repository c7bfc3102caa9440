"""The figures as a table for people: percent and degrees, with what they rest on in its head."""

from maquette.scores.records import Scores

_LABELS = {
    "mask_iou": ("Mask IoU, mean", "percent"),
    "mask_iou_min": ("Mask IoU, worst photo", "percent"),
    "psnr": ("PSNR, whole photo", "dB"),
    "psnr_object": ("PSNR, inside the object", "dB"),
    "chamfer_diameter": ("Chamfer distance, seen surface", "percent of diameter"),
    "chamfer_diameter_all": ("Chamfer distance, whole surface", "percent of diameter"),
    "fscore_1pct": ("F-score at 1 % of the diameter", "percent"),
    "add_recall_10": ("ADD below 10 % of the diameter", "percent"),
    "adds_recall_10": ("ADD-S below 10 % of the diameter", "percent"),
    "recall_5deg_5pct": ("Within 5 degrees and 5 % of the diameter", "percent"),
    "median_rotation_deg": ("Rotation error, median", "degrees"),
    "median_translation_diameter": ("Translation error, median", "percent of diameter"),
    "count": ("Photos with a true pose", ""),
}


def label(figure: str) -> str:
    """What a person calls a figure."""
    if figure.startswith("seconds_"):
        return f"Time, {figure.removeprefix('seconds_')}"
    return _LABELS[figure][0]


def as_text(figure: str, value: float | int) -> str:
    """The value with its unit: fractions become percent, seconds minutes where they are many."""
    if figure.startswith("seconds_"):
        return f"{value / 60:.1f} min" if value >= 120 else f"{value:.1f} s"
    unit = _LABELS[figure][1]
    if figure == "count":
        return f"{value:.0f}"
    if value != value or value in (float("inf"), float("-inf")):
        return "none"
    if unit.startswith("percent"):
        return f"{100 * value:.2f} %" + unit.removeprefix("percent")
    return f"{value:.2f} {unit}"


def markdown(title: str, scores: Scores) -> str:
    """The table as it is written to scores/NAME.md and printed."""
    lines = [
        f"# {title}",
        "",
        *(f"- {note}" for note in scores.notes),
        "",
        "| figure | value | key |",
        "|---|---|---|",
    ]
    lines += [f"| {label(key)} | {as_text(key, value)} | `{key}` |" for key, value in scores.figures.items()]
    return "\n".join(lines) + "\n"
