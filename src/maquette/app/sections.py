"""The report's sections: each reads what its stages wrote and gives a piece of HTML, or nothing."""

import json
from html import escape
from pathlib import Path

import numpy as np

from maquette.app.charts import Scene, camera_plot, in_words, line_chart, seconds_bar
from maquette.app.page import figure, notes, row, table, tile
from maquette.app.pictures import around_sphere, as_data, as_film, fit, turning, with_mask, with_pose, with_sphere
from maquette.data.errors import InputError
from maquette.data.images import list_photos, read_labels, read_mask, read_photo, resize_area
from maquette.data.jsonio import from_plain, read_json, read_record
from maquette.data.records import Capture, MaskRecords, PoseEstimate, View
from maquette.data.workspace import STAGES, Workspace
from maquette.geometry.transforms import apply, inverse
from maquette.render.mesh import Mesh, MeshRenderer, load_mesh
from maquette.scores.table import as_text, label

_TILES = ("mask_iou", "psnr", "chamfer_diameter", "add_recall_10", "recall_5deg_5pct", "median_rotation_deg")
_NOT_CURVES = ("step", "seconds", "time", "images", "inv_s", "rate", "lr")
Scores = dict[str, dict]


def read_scores(workspace: Workspace) -> Scores:
    """Every scores/NAME.json by name; `default` first."""
    paths = sorted((workspace.root / "scores").glob("*.json"), key=lambda p: (p.stem != "default", p.stem))
    found = {path.stem: read_json(path) for path in paths}
    return {name: content for name, content in found.items() if isinstance(content, dict)}


def tiles(workspace: Workspace, scores: Scores) -> str:
    """The numbers people look for first, from the first table that has them, and the time all took."""
    shown = []
    for key in _TILES:
        value = next((s[key] for s in scores.values() if isinstance(s.get(key), (int, float))), None)
        if value is not None:
            text = as_text(key, value).removesuffix(" of diameter").replace(" degrees", "\u00b0")
            shown.append(tile(text, label(key)))
    total = sum(seconds for _, seconds in stage_seconds(workspace))
    if total:
        shown.append(tile(in_words(total), "all stages"))
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def capture_section(workspace: Workspace, capture: Capture, count: int = 8) -> str:
    """Photos with the mask's and the sphere's outline, and the cameras around the points."""
    chosen = [capture.views[i] for i in np.unique(np.linspace(0, len(capture.views) - 1, count).astype(int))]
    pictures = []
    for view in chosen:
        photo = fit(read_photo(workspace.photo(view.name)), 480)
        mask, source = _best_mask(workspace, view)
        if mask is not None:
            photo = with_mask(photo, mask)
        photo = with_sphere(photo, capture.sphere, view.camera, view.cam_from_world)
        held = " (held out)" if view.held_out else ""
        pictures.append(figure(as_data(photo), f"{view.name}{held}{source}"))
    plots = [f'<div class="card">{camera_plot(_scene(capture), azimuth=a)}</div>' for a in (0.5, 2.1)]
    return row(pictures, "four") + '<div style="height:12px"></div>' + row(plots, "two")


def masks_section(workspace: Workspace, capture: Capture, most: int = 60) -> str:
    """A contact sheet: the learnt photos around the sphere with their coarse masks, lost ones and then the most
    doubtful first, each with what is known of it."""
    if not (workspace.masks / "masks.json").exists():
        return ""
    records = read_record(workspace.masks / "masks.json", MaskRecords).photos
    views = {view.name: view for view in capture.learnt}
    pictures = []
    for record in sorted((r for r in records if r.photo in views), key=lambda r: (not r.lost, r.agreement))[:most]:
        view, path = views[record.photo], workspace.coarse_mask(record.photo)
        if not path.exists():
            continue
        photo = with_mask(fit(read_photo(workspace.photo(view.name)), 640), read_mask(path))
        seen = fit(around_sphere(photo, capture.sphere, view.camera, view.cam_from_world), 160)
        said = "no object found" if record.share == 0 else f"agreement {record.agreement:.2f}"
        said = f"lost ({record.lost}), {said}" if record.lost else said
        pictures.append(figure(as_data(seen, 75), f"{view.name}: {said}, {record.source}"))
    return row(pictures, "six")


def _best_mask(workspace: Workspace, view: View) -> tuple[np.ndarray | None, str]:
    if (path := workspace.rendered_mask(view.name)).exists():
        return read_labels(path) > 127, ""
    if (path := workspace.coarse_mask(view.name)).exists():
        return read_mask(path), ", coarse mask"
    return None, ""


def _scene(capture: Capture) -> Scene:
    reach = 0.09 * float(np.median([np.linalg.norm(_eye(v) - capture.sphere.centre) for v in capture.views]))
    corners = []
    for view in capture.views:
        camera = view.camera
        pixels = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]], float)
        rays = np.concatenate([(pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy], np.ones((4, 1))], -1)
        corners.append(apply(inverse(view.cam_from_world), reach * rays))
    down = np.mean([view.cam_from_world[1, :3] for view in capture.views], axis=0)
    up = np.array(capture.up_world) if capture.up_world is not None else -down
    return Scene(
        np.stack([_eye(view) for view in capture.views]),
        np.stack(corners),
        tuple(view.held_out for view in capture.views),
        capture.points.world,
        capture.points.colour,
        np.array(capture.sphere.centre),
        capture.sphere.radius,
        up,
    )


def _eye(view: View) -> np.ndarray:
    return inverse(view.cam_from_world)[:3, 3]


def mesh_section(workspace: Workspace, side: int) -> str:
    """The mesh turning, `side` pixels large, with its size."""
    mesh = asset_mesh(workspace)
    if mesh is None:
        return ""
    asset = read_json(workspace.asset / "asset.json")
    assert isinstance(asset, dict)
    unit = "m" if asset["metric"] else "sphere radii (no scale is known)"
    size = " x ".join(f"{length:.3g}" for length in asset["size"])
    count = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces"
    text = f"{count}; {size} {unit}; diameter {asset['diameter']:.3g}"
    return f'<div class="card">{figure(as_film(turning(MeshRenderer(mesh), side)), text, free=True)}</div>'


def asset_mesh(workspace: Workspace) -> Mesh | None:
    path = workspace.asset / "mesh.ply"
    return load_mesh(path) if path.exists() else None


def renders_section(workspace: Workspace, capture: Capture, scores: Scores, count: int = 4) -> str:
    """Photo, render, object alone and background alone of held-out photos (of any rendered ones, without those)."""
    rendered = [v for v in capture.held_out or capture.views if workspace.rendered_view(v.name).exists()]
    figures = {p["photo"]: p for s in scores.values() for p in s.get("photos", [])}
    pictures = []
    for idx in np.unique(np.linspace(0, len(rendered) - 1, count).astype(int)) if rendered else []:
        view = rendered[idx]
        render = _window(workspace.rendered_view(view.name), capture, view)
        photo = resize_area(_window(workspace.photo(view.name), capture, view), render.shape[1], render.shape[0])
        known = figures.get(view.name, {})
        said = [f"{name} {known[key]:{form}}" for key, name, form in _PHOTO_FIGURES if known.get(key) is not None]
        pictures.append(figure(as_data(fit(photo, 420)), f"{view.name}: photo"))
        pictures.append(figure(as_data(fit(render, 420)), ", ".join(["render", *said])))
        for kind in ("object", "background"):
            path = workspace.rendered_view(view.name, kind)
            seen = _window(path, capture, view) if path.exists() else None
            pictures.append("" if seen is None else figure(as_data(fit(seen, 420)), f"{kind} alone"))
    return row([picture for picture in pictures if picture], "four")


def _window(path: Path, capture: Capture, view: View) -> np.ndarray:
    return around_sphere(read_photo(path), capture.sphere, view.camera, view.cam_from_world)


_PHOTO_FIGURES = (("psnr", "PSNR", ".1f"), ("mask_iou", "mask IoU", ".3f"))


def poses_section(workspace: Workspace, scores: Scores) -> str:
    """Best, median and worst estimate of each poses/NAME, by the scores where there are some."""
    mesh = asset_mesh(workspace)
    body = []
    for path in sorted((workspace.root / "poses").glob("*/poses.json")) if mesh is not None else []:
        content = read_json(path)
        if not isinstance(content, dict):
            continue
        estimates = [from_plain(PoseEstimate, item, path) for item in content.get("estimates", [])]
        found = [e for e in estimates if e.cam_from_obj is not None]
        ranked = _ranked(found, scores)
        pictures = []
        for word, at in (("best", 0), ("median", len(ranked) // 2), ("worst", len(ranked) - 1)):
            if ranked and (picture := _overlay(path.parent, content, ranked[at][0], mesh)) is not None:
                pictures.append(figure(as_data(picture), f"{word}: {ranked[at][0].photo}{ranked[at][1]}"))
        head = notes(
            [f"{path.parent.name}: {len(found)} of {len(estimates)} photos, boxes: {content.get('box_source')}"]
        )
        body.append(head + row(pictures, "three"))
    return "".join(body)


def explained_section(workspace: Workspace, most: int = 4) -> str:
    """The pictures of what the network thinks, of every poses/NAME that has some."""
    pictures = []
    for folder in sorted((workspace.root / "poses").glob("*/explain")):
        for path in list_photos(folder)[:most]:
            pictures.append(figure(as_data(read_photo(path)), f"{folder.parent.name}: {path.stem}"))
    return row(pictures, "one")


def _ranked(found: list[PoseEstimate], scores: Scores) -> list[tuple[PoseEstimate, str]]:
    """From best to worst, each with what is known of its error."""
    errors = {t["photo"]: t for s in scores.values() for t in s.get("targets", [])}

    def key(estimate: PoseEstimate) -> float:
        known = errors.get(estimate.photo, {})
        for name in ("add_diameter", "rotation_deg"):
            if known.get(name) is not None:
                return float(known[name])
        return -estimate.confidence

    def said(estimate: PoseEstimate) -> str:
        known = errors.get(estimate.photo, {})
        words = [f"{known['rotation_deg']:.1f} degrees"] if known.get("rotation_deg") is not None else []
        words += [f"ADD {100 * known['add_diameter']:.1f} %"] if known.get("add_diameter") is not None else []
        return ", " + ", ".join([*words, f"confidence {estimate.confidence:.2f}"])

    scored = [e for e in found if e.photo in errors] or found
    return [(estimate, said(estimate)) for estimate in sorted(scored, key=key)]


def _overlay(folder: Path, content: dict, estimate: PoseEstimate, mesh: Mesh | None) -> np.ndarray | None:
    """The stage's own picture of the estimate, or one drawn from the photo where that still lies in its place."""
    overlays = folder / "overlays"
    if overlays.is_dir():
        stem = Path(estimate.photo).stem
        for path in list_photos(overlays):
            if path.stem == stem:
                return fit(read_photo(path), 480)
    source = content.get("photos")
    path = Path(source) / estimate.photo if isinstance(source, str) else None
    if path is None or not path.exists() or mesh is None or estimate.cam_from_obj is None:
        return None
    try:
        photo = fit(read_photo(path), 480)
    except InputError:
        return None
    return with_pose(photo, MeshRenderer(mesh), estimate.camera, estimate.cam_from_obj)


def tables_section(scores: Scores) -> str:
    """Every table, with what it rests on in its head."""
    body = []
    for name, content in scores.items():
        keys = [key for key in content if isinstance(content[key], (int, float))]
        rows = [(label(key), as_text(key, content[key]), key) for key in keys]
        body.append(
            f'<div class="card"><h3>{escape(name)}</h3>{notes(content.get("notes", []))}{table(rows)}</div>'
        )
    return row(body, "two" if len(body) > 1 else "one")


def curves_section(workspace: Workspace) -> str:
    """Small charts of every number in a training stage's metrics.jsonl."""
    body = []
    for stage in ("fields", "estimator"):
        path = workspace.root / stage / "metrics.jsonl"
        if not path.exists():
            continue
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        names = [name for name in dict.fromkeys(k for r in rows for k in r) if name not in _NOT_CURVES]
        charts = []
        for name in names:
            kept = [r for r in rows if isinstance(r.get(name), (int, float)) and "step" in r]
            title = f"{stage}: {name.replace('_', ' ')}"
            charts.append(line_chart([r["step"] for r in kept], [r[name] for r in kept], title))
        body += [f'<div class="card">{chart}</div>' for chart in charts if chart]
    return f'<div class="charts">{"".join(body)}</div>' if body else ""


def stage_seconds(workspace: Workspace) -> list[tuple[str, float]]:
    """Seconds of every complete stage, from its provenance."""
    folders = [workspace.root / stage for stage in ("studio", *STAGES)] + sorted(
        (workspace.root / "poses").glob("*")
    )
    found = []
    for folder in folders:
        if (folder / "provenance.json").exists():
            provenance = read_json(folder / "provenance.json")
            if isinstance(provenance, dict) and isinstance(provenance.get("seconds"), (int, float)):
                name = f"poses {folder.name}" if folder.parent.name == "poses" else folder.name
                found.append((name, float(provenance["seconds"])))
    return found


def seconds_table(workspace: Workspace) -> str:
    """Where the seconds went, as lines for a terminal."""
    seconds = stage_seconds(workspace)
    rows = [*seconds, ("together", sum(value for _, value in seconds))]
    return "\n".join(
        ["", "| stage | seconds |", "|---|---|", *(f"| {name} | {value:.1f} |" for name, value in rows)]
    )


def time_section(workspace: Workspace) -> str:
    """One bar, a part for each stage."""
    seconds = stage_seconds(workspace)
    return f'<div class="card">{seconds_bar(seconds)}</div>' if seconds else ""
