"""Rendered masks and views against the truth masks and the photos."""

import numpy as np

from maquette.data.captures import load_ignored
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
    ignored = load_ignored(workspace, view)
    figures: dict[str, float | None] = dict.fromkeys(MEANS)
    if truth is not None and (path := workspace.rendered_mask(view.name)).exists():
        weight = read_labels(path).astype(np.float32) / 255
        used = np.ones(truth.shape, bool) if ignored is None else ~ignored
        predicted = mask_of_weight(weight, truth.shape[1], truth.shape[0]) & used
        for key, formula in (("mask_iou", iou), ("mean_fg_bg_iou", mean_fg_bg_iou), ("boundary_f", boundary_f)):
            figures[key] = formula(predicted, truth & used)
    if (path := workspace.rendered_view(view.name)).exists():
        rendered = read_photo(path)
        height, width = rendered.shape[:2]
        photo = resize_area(read_photo(workspace.photo(view.name)), width, height)
        used = None if ignored is None else resize_area(ignored.astype(np.float32), width, height) == 0
        figures["psnr"], figures["ssim"] = psnr(rendered, photo, used), ssim(rendered, photo, used)
        if truth is not None:
            inside = mask_of_weight(truth.astype(np.float32), width, height)
            inside = inside if used is None else inside & used
            figures["psnr_object"] = psnr(rendered, photo, inside)
            figures["ssim_object"] = ssim(rendered, photo, inside)
    return PhotoScore(view.name, *(figures[key] for key in MEANS))
