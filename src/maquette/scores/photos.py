"""Rendered masks and views against the truth masks and the photos."""

import numpy as np

from maquette.data.images import read_labels, read_mask, read_photo, resize_area
from maquette.data.records import Capture, View
from maquette.data.workspace import Workspace
from maquette.scores.images import psnr, ssim
from maquette.scores.masks import boundary_f, iou, mask_of_weight, mean_fg_bg_iou
from maquette.scores.records import PhotoScore

MEANS = ("mask_iou", "mean_fg_bg_iou", "boundary_f", "psnr", "psnr_object", "ssim", "ssim_object")


def score_photos(workspace: Workspace, capture: Capture, notes: list[str]) -> tuple[PhotoScore, ...]:
    """Rendered masks and views of the held-out photos, or of all where none was held out."""
    views = capture.held_out or capture.learnt
    scored = []
    for view in views:
        if workspace.rendered_mask(view.name).exists() or workspace.rendered_view(view.name).exists():
            scored.append(_score_photo(workspace, view))
    if scored:
        which = "held-out photos" if capture.held_out else "learnt photos, because none was held out"
        notes.append(f"Masks, PSNR and SSIM: {len(scored)} {which}.")
    return tuple(scored)


def photo_figures(photos: tuple[PhotoScore, ...]) -> dict[str, float | int]:
    """Means over the photos in which a figure is known, and the worst mask."""
    figures = {}
    for key in MEANS:
        values = [value for photo in photos if (value := getattr(photo, key)) is not None]
        if values:
            figures[key] = float(np.mean(values))
            if key == "mask_iou":
                figures["mask_iou_min"] = float(np.min(values))
    return figures


def _score_photo(workspace: Workspace, view: View) -> PhotoScore:
    truth_path = workspace.given_mask(view.name)
    truth = read_mask(truth_path) if truth_path.exists() else None
    figures: dict[str, float | None] = dict.fromkeys(MEANS)
    if truth is not None and (path := workspace.rendered_mask(view.name)).exists():
        weight = read_labels(path).astype(np.float32) / 255
        predicted = mask_of_weight(weight, truth.shape[1], truth.shape[0])
        for key, formula in (("mask_iou", iou), ("mean_fg_bg_iou", mean_fg_bg_iou), ("boundary_f", boundary_f)):
            figures[key] = formula(predicted, truth)
    if (path := workspace.rendered_view(view.name)).exists():
        rendered = read_photo(path)
        height, width = rendered.shape[:2]
        photo = resize_area(read_photo(workspace.photo(view.name)), width, height)
        figures["psnr"], figures["ssim"] = psnr(rendered, photo), ssim(rendered, photo)
        if truth is not None:
            inside = mask_of_weight(truth.astype(np.float32), width, height)
            figures["psnr_object"] = psnr(rendered, photo, inside)
            figures["ssim_object"] = ssim(rendered, photo, inside)
    return PhotoScore(view.name, *(figures[key] for key in MEANS))
