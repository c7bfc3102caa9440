"""Climbing the likelihood from a good pose: Fisher scoring on coordinates and on the outline.

With the visible surface fixed, point i projects to u_i(theta) and contributes f_i = q(u_i).k_i - A(u_i) + log m.
Because P is an exponential family, the expected curvature of f with respect to u is I(u) = J^T C J, J the
image gradient of q and C the covariance of the keys under P_u: with it every step is a small least-squares problem.
The outline contributes distances, along its normals, to the edge of the observed mask.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.matching.distribution import Distribution, Observation, Surface
from maquette.matching.scoring import Evidence

# Bilinear values lie on chords, which pull points inwards where the surface turns away; a finer grid of bicubic
# values halves the chords and quarters the pull.
FINER = 2


@dataclass(frozen=True)
class Landscape:
    """Images over which points are moved. `channels` (query, A, active) are FINER times finer than the others."""

    camera: Camera
    channels: Float[Tensor, "fine_height fine_width channel"]
    information: Float[Tensor, "height width 2 2"]
    outlier: Float[Tensor, "height width"]
    mask: Float[Tensor, "height width"]


@dataclass(frozen=True)
class Visible:
    """Surface points in sight; each stands for `weight` independent pixels. `log_count` is log m."""

    points_obj: Float[Tensor, "visible 3"]
    keys: Float[Tensor, "visible key"]
    weight: float
    log_count: float

    def some(self, chosen: Bool[Tensor, "visible"]) -> "Visible":
        """The chosen points, each with the weight it had."""
        return replace(self, points_obj=self.points_obj[chosen], keys=self.keys[chosen])


@dataclass(frozen=True)
class Outline:
    """Points on the rim of the surface, the direction in the image they may move in, and where they should be.

    Point i should move by `distance[i]` pixels along `normal[i]`, with `weight[i]` in 0..1.
    """

    points_obj: Float[Tensor, "rim 3"]
    pixels: Float[Tensor, "rim 2"]
    normal: Float[Tensor, "rim 2"]
    distance: Float[Tensor, "rim"]
    weight: Float[Tensor, "rim"]

    def some(self, chosen: Bool[Tensor, "rim"]) -> "Outline":
        """The chosen points of the rim."""
        parts = (self.points_obj, self.pixels, self.normal, self.distance, self.weight)
        return Outline(*(part[chosen] for part in parts))


def make_landscape(observation: Observation, distribution: Distribution, evidence: Evidence) -> Landscape:
    """Everything of an observation that does not change while poses move."""
    camera = observation.camera
    height, width = camera.height, camera.width
    query = observation.query
    flat = torch.zeros(height * width, 2)
    flat[distribution.pixel_idx, 0] = distribution.log_normaliser
    flat[distribution.pixel_idx, 1] = 1.0
    padded = F.pad(query.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0]
    dx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    dy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    jacobian = torch.stack([dx, dy], 1).permute(2, 3, 0, 1).flatten(0, 1)[distribution.pixel_idx]
    information = torch.zeros(height * width, 2, 2)
    information[distribution.pixel_idx] = jacobian.transpose(1, 2) @ distribution.key_covariance @ jacobian
    channels = torch.cat([query, flat.unflatten(0, (height, width))], -1).permute(2, 0, 1)[None]
    size = (FINER * height, FINER * width)
    fine = F.interpolate(channels, size, mode="bicubic", align_corners=False)[0]
    fine[-1] = F.interpolate(channels[:, -1:], size, mode="bilinear", align_corners=False)[0, 0]
    return Landscape(
        camera,
        fine.permute(1, 2, 0).contiguous(),
        information.unflatten(0, (height, width)),
        evidence.outlier.unflatten(0, (height, width)),
        observation.mask_logit.sigmoid(),
    )


def bilinear(
    image: Float[Tensor, "height width channel"], xy: Float[Tensor, "point 2"]
) -> tuple[Float[Tensor, "point channel"], Float[Tensor, "point channel 2"]]:
    """Values and derivatives with respect to xy; the border is continued outwards."""
    height, width = image.shape[:2]
    x = (xy[:, 0] - 0.5).clamp(0, width - 1.001)
    y = (xy[:, 1] - 0.5).clamp(0, height - 1.001)
    column, row = x.long(), y.long()
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    flat, corner = image.flatten(0, 1), row * width + column
    a, b, c, d = flat[corner], flat[corner + 1], flat[corner + width], flat[corner + width + 1]
    top, bottom = a + (b - a) * fx, c + (d - c) * fx
    return top + (bottom - top) * fy, torch.stack([(b - a) + (d - c - b + a) * fy, bottom - top], -1)


def trace_outline(
    observed: Float[Tensor, "height width"],
    mask: Float[Tensor, "height width"],
    points_obj: Float[Tensor, "height width 3"],
    visible: Float[Tensor, "height width"] | None,
    reach: float = 5.0,
) -> Outline:
    """The outline of a rendered mask and how far the edge of the observed one (probabilities) lies from it.

    Along the normal from -reach to reach the observed mask's integral, less `reach`, is where its edge is. Rim
    pixels lie on average max(|nx|, |ny|) / 2 inside the edge of what was rendered, which is taken off.
    """
    blurred = F.avg_pool2d(F.avg_pool2d(mask[None], 3, 1, 1), 3, 1, 1)[0]
    neighbours = -F.max_pool2d(-F.pad(mask[None], (1, 1, 1, 1)), (3, 1), 1)[0, :, 1:-1]
    across = -F.max_pool2d(-F.pad(mask[None], (1, 1, 1, 1)), (1, 3), 1)[0, 1:-1]
    rim = (mask > 0.5) & ((neighbours < 0.5) | (across < 0.5))
    # The crop's own border cuts the object: nothing is known of the outline there.
    rim[[0, -1]] = False
    rim[:, [0, -1]] = False
    rows, columns = rim.nonzero(as_tuple=True)
    pixels = torch.stack([columns, rows], -1) + 0.5
    padded = F.pad(blurred[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    slope = torch.stack([padded[1:-1, :-2] - padded[1:-1, 2:], padded[:-2, 1:-1] - padded[2:, 1:-1]], -1)[
        rows, columns
    ]
    normal = F.normalize(slope, dim=-1)
    steps = torch.linspace(-reach, reach, int(4 * reach) + 1)
    along = pixels[:, None] + steps[:, None] * normal[:, None]
    inside = bilinear(observed[..., None], along.flatten(0, 1))[0].unflatten(0, along.shape[:2])[..., 0]
    distance = torch.trapezoid(inside, steps, dim=1) - reach - normal.abs().amax(-1) / 2
    weight = 1 / (1 + (distance / 1.5) ** 2)
    # An edge that is blurred along the whole reach says nothing.
    weight = weight * (inside.amax(1) - inside.amin(1)).clamp(0, 1)
    if visible is not None:
        weight = weight * visible[rows, columns]
    return Outline(points_obj[rows, columns], pixels, normal, distance, weight)


def seen_points(
    depth: Float[Tensor, "height width"],
    rotation: Float[Tensor, "3 3"],
    translation: Float[Tensor, "3"],
    camera: Camera,
    surface: Surface,
    count: int,
) -> Int[Tensor, "visible"]:
    """At most `count` surface points, evenly chosen, that face the camera and are not behind the rendered depth.

    All such points, not the nearest one of each pixel: that one lies on the near side of its pixel, and the lean
    adds up to two percent of the distance.
    """
    points = surface.points_obj @ rotation.float().T + translation.float()
    facing = (points * (surface.normals_obj @ rotation.float().T)).sum(-1) < -0.1 * points.norm(dim=-1)
    z = points[:, 2].clamp(min=1e-9)
    column = (points[:, 0] / z * camera.fx + camera.cx).floor().long()
    row = (points[:, 1] / z * camera.fy + camera.cy).floor().long()
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    farthest = F.max_pool2d(depth[None], 3, 1, 1)[0]
    limit = farthest[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
    seen = (facing & inside & (points[:, 2] < limit + 0.01 * surface.diameter)).nonzero()[:, 0]
    return seen[torch.linspace(0, len(seen) - 1, count).long()] if len(seen) > count else seen


def climb(
    rotation: Float[Tensor, "3 3"],
    translation: Float[Tensor, "3"],
    landscape: Landscape,
    visible: Visible,
    outline: Outline,
    outline_weight: float,
    iterations: int = 8,
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    """The pose that maximises the likelihood of the visible points and the outline, near the given one.

    Damping grows until a step improves.
    """
    value, hessian, gradient = _model(rotation, translation, landscape, visible, outline, outline_weight)
    damping = 1e-3
    for _ in range(iterations):
        damped = hessian + damping * torch.diag(hessian.diagonal() + 1e-9)
        step = torch.linalg.solve(damped, gradient)
        moved = torch.linalg.matrix_exp(cross_matrix(step[:3])) @ rotation, translation + step[3:]
        trial = _model(*moved, landscape, visible, outline, outline_weight)
        if trial[0] > value:
            small = float(trial[0] - value) < 1e-4 * (1 + abs(float(value)))
            (rotation, translation), (value, hessian, gradient) = moved, trial
            damping = max(damping / 5, 1e-6)
            if small:
                break
        else:
            damping *= 8
            if damping > 1e4:
                break
    return rotation, translation


def slope_and_curvature(
    rotation: Float[Tensor, "3 3"],
    translation: Float[Tensor, "3"],
    landscape: Landscape,
    visible: Visible,
    outline: Outline,
    outline_weight: float,
) -> tuple[Float[Tensor, "6"], Float[Tensor, "6 6"]]:
    """Gradient of the log likelihood over (turn about the object's origin, shift), both in cam, and its expected
    curvature (positive).
    """
    _, curvature, slope = _model(rotation, translation, landscape, visible, outline, outline_weight)
    return slope, curvature


def _model(
    rotation: Tensor,
    translation: Tensor,
    landscape: Landscape,
    visible: Visible,
    outline: Outline,
    outline_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log likelihood, its expected curvature (positive) and its gradient over (rotation vector, translation)."""
    xy, jacobian = project_points(rotation, translation, visible.points_obj.double(), landscape.camera)
    values, slopes = bilinear(landscape.channels, FINER * xy.float())
    column = xy[:, 0].long().clamp(0, landscape.camera.width - 1)
    row = xy[:, 1].long().clamp(0, landscape.camera.height - 1)
    usable = (values[:, -1] > 0.999).double()
    log_p = (values[:, :-2] * visible.keys).sum(-1) - values[:, -2] + visible.log_count
    slope = ((slopes[:, :-2] * visible.keys[..., None]).sum(1) - slopes[:, -2]).double() * FINER
    outlier = landscape.outlier[row, column].double()
    ratio = (1 - outlier) * log_p.double().clamp(max=30).exp()
    inlier = usable * ratio / (outlier + ratio) * visible.weight
    value = torch.log(outlier + usable * ratio).sum() * visible.weight
    gradient = (jacobian.transpose(1, 2) @ (inlier[:, None] * slope)[..., None]).sum(0)[:, 0]
    information = landscape.information[row, column].double() * inlier[:, None, None]
    hessian = (jacobian.transpose(1, 2) @ information @ jacobian).sum(0)
    if outline_weight and len(outline.pixels):
        xy, jacobian = project_points(rotation, translation, outline.points_obj.double(), landscape.camera)
        normal, weight = outline.normal.double(), outline.weight.double() * outline_weight
        left = outline.distance - ((xy - outline.pixels) * normal).sum(-1)
        along = (normal[:, None] @ jacobian)[:, 0]
        value = value - 0.5 * (weight * left**2).sum()
        gradient = gradient + ((weight * left)[:, None] * along).sum(0)
        hessian = hessian + (along * weight[:, None]).T @ along
    return value, hessian, gradient


def project_points(rotation: Tensor, translation: Tensor, points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Pixels, and their derivative with respect to a turn about the object's origin and a shift, both in cam."""
    turned = points @ rotation.T
    x, y, z = (turned + translation).unbind(-1)
    z = z.clamp(min=1e-9)
    xy = torch.stack([x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy], -1)
    zero = torch.zeros_like(z)
    shift = torch.stack(
        [
            torch.stack([camera.fx / z, zero, -camera.fx * x / z**2], -1),
            torch.stack([zero, camera.fy / z, -camera.fy * y / z**2], -1),
        ],
        1,
    )
    return xy, torch.cat([-shift @ cross_matrix(turned), shift], -1)


def cross_matrix(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix of v x."""
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
