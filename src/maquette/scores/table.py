"""The figures as a table for people: percent and degrees, with what they rest on in its head."""

from maquette.scores.records import Scores

_LABELS = {
    "mask_iou": ("Mask IoU, mean", "percent"),
    "mask_iou_min": ("Mask IoU, worst photo", "percent"),
    "mean_fg_bg_iou": ("IoU of foreground and background, mean", "percent"),
    "boundary_f": ("F of the mask's outline", "percent"),
    "psnr": ("PSNR, whole photo", "dB"),
    "psnr_object": ("PSNR, inside the object", "dB"),
    "ssim": ("SSIM, whole photo", ""),
    "ssim_object": ("SSIM, inside the object", ""),
    "chamfer_diameter": ("Chamfer distance, seen surface", "percent of diameter"),
    "chamfer_diameter_all": ("Chamfer distance, whole surface", "percent of diameter"),
    "chamfer_diameter_unseen": ("Chamfer distance, unseen surface", "percent of diameter"),
    "chamfer_diameter_icp": ("Chamfer distance, seen, after ICP", "percent of diameter"),
    "chamfer_world": ("Chamfer distance, seen, in the truth's unit", "length"),
    "accuracy_diameter": ("Distance predicted to truth, seen", "percent of diameter"),
    "completeness_diameter": ("Distance truth to predicted, seen", "percent of diameter"),
    "accuracy_world": ("Distance predicted to truth, seen, in the truth's unit", "length"),
    "completeness_world": ("Distance truth to predicted, seen, in the truth's unit", "length"),
    "chamfer_forward_mm": ("Distance predicted to truth, whole surface", "mm"),
    "chamfer_total_mm": ("Distances both ways added, whole surface", "mm"),
    "fscore_1pct": ("F-score at 1 % of the diameter", "percent"),
    "normal_consistency": ("Normals, |cosine|, seen", ""),
    "ar": ("Average recall (BOP'19)", "percent"),
    "ar_vsd": ("Average recall by VSD", "percent"),
    "ar_vsd_no_sensor": ("Average recall by VSD, depth rendered", "percent"),
    "ar_mssd": ("Average recall by MSSD", "percent"),
    "ar_mspd": ("Average recall by MSPD", "percent"),
    "ap_pose": ("Average precision of found poses (BOP'24)", "percent"),
    "ap_mssd": ("Average precision by MSSD", "percent"),
    "ap_mspd": ("Average precision by MSPD", "percent"),
    "add_recall_10": ("ADD below 10 % of the diameter", "percent"),
    "adds_recall_10": ("ADD-S below 10 % of the diameter", "percent"),
    "ad_recall_10": ("ADD(-S) below 10 %: ADD-S if symmetric", "percent"),
    "add_auc": ("Area under ADD's recall up to 10 cm", "percent"),
    "adds_auc": ("Area under ADD-S's recall up to 10 cm", "percent"),
    "ad_auc": ("Area under ADD(-S)'s recall up to 10 cm", "percent"),
    "proj_recall_5px": ("Projection error below 5 px", "percent"),
    "cus_recall_50": ("Silhouettes overlap by half", "percent"),
    "recall_5deg_5pct": ("Within 5 degrees and 5 % of the diameter", "percent"),
    "median_rotation_deg": ("Rotation error, median", "degrees"),
    "median_translation_diameter": ("Translation error, median", "percent of diameter"),
    "confidence_error": ("Confidence beside the share that is right", "percent"),
    "ball_radius": ("Radius of the sphere that fits best", "length"),
    "ball_rms_diameter": ("Surface off that sphere, rms", "percent of diameter"),
    "count": ("Photos with a true pose", ""),
    "seconds_per_photo": ("Time per photo", "s"),
}


def label(figure: str) -> str:
    """What a person calls a figure."""
    if figure.startswith("seconds_") and figure not in _LABELS:
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
    if unit in ("", "length"):
        return f"{value:.4g}"
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
