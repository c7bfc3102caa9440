"""report.html: everything a workspace holds, on one page that needs no other file. Missing stages are left out."""

from datetime import datetime
from pathlib import Path

import maquette
from maquette.app.page import page, section
from maquette.app.sections import (
    capture_section,
    curves_section,
    explained_section,
    masks_section,
    mesh_section,
    poses_section,
    read_scores,
    renders_section,
    tables_section,
    tiles,
    time_section,
)
from maquette.data.captures import as_masked, load_capture
from maquette.data.records import Capture
from maquette.data.workspace import Workspace


def write_report(workspace: Workspace, side: int = 300) -> Path:
    """Write report.html from whatever is there; the turning mesh is `side` pixels large.

    Raises InputError where there is not even a camera.
    """
    capture = as_masked(workspace, load_capture(workspace))
    scores = read_scores(workspace)
    which = (
        "Held-out photos: nothing learnt from them." if capture.held_out else "Learnt photos: none was held out."
    )
    body = [
        tiles(workspace, scores),
        section(
            "The object", "As it is exported: its colours, and its shape alone.", mesh_section(workspace, side)
        ),
        section(
            "The capture",
            "Photos with the object's outline and the object sphere; below, the cameras around the sparse points.",
            capture_section(workspace, capture),
        ),
        section(
            "Coarse masks",
            "What the fields start from; the photos that agree least with the others first.",
            masks_section(workspace, capture),
        ),
        section("Renders beside photos", which, renders_section(workspace, capture, scores)),
        section("Poses", "The mesh where the estimate puts it.", poses_section(workspace, scores)),
        section(
            "What the network thinks",
            "Hypotheses and pose; masks; which key each pixel expects beside those at the pose (right where the "
            "colours agree); where on the surface the marked pixel may be, yellow the likeliest.",
            explained_section(workspace),
        ),
        section("Scores", "Percent here; scores/NAME.json holds fractions under the keys.", tables_section(scores)),
        section(
            "Training",
            "Faint: every value. Strong: running median, its last value named.",
            curves_section(workspace),
        ),
        section("Where the time went", "By the clock, stage by stage.", time_section(workspace)),
    ]
    name = workspace.root.resolve().name
    when = datetime.now().strftime("%Y-%m-%d %H:%M")
    html = page(name, _subtitle(capture), "".join(body), f"Written by Maquette {maquette.__version__}, {when}.")
    beside = workspace.report.with_name(".report.html.partial")
    beside.write_text(html, encoding="utf-8")
    beside.replace(workspace.report)
    return workspace.report


def _subtitle(capture: Capture) -> str:
    parts = [f"{len(capture.views)} photos, {len(capture.held_out)} of them held out"]
    if capture.unregistered:
        parts.append(f"{len(capture.unregistered)} left out")
    if capture.reprojection_error_px is not None:
        parts.append(f"reprojection error {capture.reprojection_error_px:.2f} px")
    parts.append("metres" if capture.metric else "no scale known")
    return " · ".join(parts)
