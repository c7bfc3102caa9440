# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
"""Rays from one eye into a lit, textured mesh: traced, textured and shaded in one go, beside a plain twin.

Light is linear. With received light E (per vertex), albedo a (texture, sRGB decoded by a power of 2.2), gloss g,
the lamp's colour c and the share of it that a vertex sees s, a ray sees
    a * E + g * c * s * max(0, n.h)^SHININESS,    h halfway between the eye and the lamp (Blinn 1977).
The texture's level is floor(log2(texels per pixel) + dither), texels per pixel along the mean of both axes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from maquette.kernels.launch import launch_in_slices, start
from maquette.kernels.raycast import RayCaster

SHININESS = wp.constant(45.0)
DARKEST_COSINE = wp.constant(0.05)


@dataclass(frozen=True)
class Pyramid:
    """An image at several levels, each half as wide as the one before: four bytes a texel, level after level."""

    texels: Int[Tensor, "texel"]
    starts: Int[Tensor, "level"]
    widths: Int[Tensor, "level"]
    heights: Int[Tensor, "level"]


@dataclass(frozen=True)
class Look:
    """How a mesh looks. Per vertex: received light, normal, share of the lamp seen. Per face: texel coordinates
    (level 0) of its corners, texels per unit of length, gloss."""

    received: Float[Tensor, "vertex 3"]
    normals: Float[Tensor, "vertex 3"]
    lamp_seen: Float[Tensor, "vertex"]
    texels: Float[Tensor, "face 3 2"]
    density: Float[Tensor, "face"]
    gloss: Float[Tensor, "face"]
    pyramid: Pyramid
    lamp: tuple[float, float, float]
    lamp_colour: tuple[float, float, float]


@dataclass(frozen=True)
class Seen:
    """Per ray: linear light (0 where nothing is hit), distance (inf) and face (-1)."""

    light: Float[Tensor, "ray 3"]
    distance: Float[Tensor, "ray"]
    face_idx: Int[Tensor, "ray"]


@wp.func
def _texel(
    texels: wp.array(dtype=int),  # type: ignore[valid-type]
    place: int,
):
    value = texels[place]
    return wp.vec3(float(value & 255), float((value >> 8) & 255), float((value >> 16) & 255))


@wp.kernel
def _shade(
    mesh: wp.uint64,
    first: int,
    eye: wp.vec3,
    directions: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    dither: wp.array(dtype=float),  # type: ignore[valid-type]
    focal: float,
    received: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    normals: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    lamp_seen: wp.array(dtype=float),  # type: ignore[valid-type]
    uv: wp.array(dtype=wp.vec2),  # type: ignore[valid-type]
    density: wp.array(dtype=float),  # type: ignore[valid-type]
    gloss: wp.array(dtype=float),  # type: ignore[valid-type]
    texels: wp.array(dtype=int),  # type: ignore[valid-type]
    levels: wp.array2d(dtype=int),  # type: ignore[valid-type]
    lamp: wp.vec3,
    lamp_colour: wp.vec3,
    light: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    distance: wp.array(dtype=float),  # type: ignore[valid-type]
    face_idx: wp.array(dtype=int),  # type: ignore[valid-type]
):
    ray = first + wp.tid()
    direction = directions[ray]
    query = wp.mesh_query_ray(mesh, eye, direction, 1.0e30)
    if not query.result:
        return
    face, u, v = query.face, query.u, query.v
    w = 1.0 - u - v
    a = wp.mesh_get_index(mesh, 3 * face)
    b = wp.mesh_get_index(mesh, 3 * face + 1)
    c = wp.mesh_get_index(mesh, 3 * face + 2)
    distance[ray] = query.t
    face_idx[ray] = face

    cosine = wp.max(wp.abs(wp.dot(query.normal, direction)), DARKEST_COSINE)
    footprint = wp.max(density[face] * query.t / (focal * wp.sqrt(cosine)), 1.0e-6)
    wanted = int(wp.floor(wp.log2(footprint) + dither[ray]))
    level = wp.clamp(wanted, 0, levels.shape[0] - 1)
    at = (u * uv[3 * face] + v * uv[3 * face + 1] + w * uv[3 * face + 2]) * wp.pow(0.5, float(level))
    x, y = at[0] - 0.5, at[1] - 0.5
    width, height = levels[level, 1], levels[level, 2]
    left = wp.clamp(int(wp.floor(x)), 0, width - 1)
    right = wp.clamp(int(wp.floor(x)) + 1, 0, width - 1)
    top = levels[level, 0] + wp.clamp(int(wp.floor(y)), 0, height - 1) * width
    low = levels[level, 0] + wp.clamp(int(wp.floor(y)) + 1, 0, height - 1) * width
    p, q = x - wp.floor(x), y - wp.floor(y)
    srgb = (1.0 - q) * ((1.0 - p) * _texel(texels, top + left) + p * _texel(texels, top + right)) + q * (
        (1.0 - p) * _texel(texels, low + left) + p * _texel(texels, low + right)
    )
    albedo = wp.vec3(wp.pow(srgb[0] / 255.0, 2.2), wp.pow(srgb[1] / 255.0, 2.2), wp.pow(srgb[2] / 255.0, 2.2))
    shaded = wp.cw_mul(albedo, u * received[a] + v * received[b] + w * received[c])
    if gloss[face] > 0.0:
        normal = wp.normalize(u * normals[a] + v * normals[b] + w * normals[c])
        towards = wp.normalize(lamp - (eye + query.t * direction))
        halfway = wp.normalize(towards - direction)
        seen = u * lamp_seen[a] + v * lamp_seen[b] + w * lamp_seen[c]
        shine = gloss[face] * seen * wp.pow(wp.max(wp.dot(normal, halfway), 0.0), SHININESS)
        shaded += shine * lamp_colour
    light[ray] = shaded


def shade(
    caster: RayCaster,
    look: Look,
    eye: tuple[float, float, float],
    directions: Float[Tensor, "ray 3"],
    dither: Float[Tensor, "ray"],
    focal: float,
) -> Seen:
    """What rays with unit `directions` from `eye` see; `focal` (pixels) and `dither` (0..1) choose levels."""
    start(__name__)
    count, pyramid = len(directions), look.pyramid
    seen = Seen(torch.zeros(count, 3), torch.full((count,), torch.inf), torch.full((count,), -1, dtype=torch.int32))
    levels = torch.stack([pyramid.starts, pyramid.widths, pyramid.heights], -1).int().contiguous()
    arrays = [
        wp.vec3(*eye),
        wp.from_torch(directions.float().contiguous(), dtype=wp.vec3),
        wp.from_torch(dither.contiguous()),
        focal,
        wp.from_torch(look.received, dtype=wp.vec3),
        wp.from_torch(look.normals, dtype=wp.vec3),
        wp.from_torch(look.lamp_seen),
        wp.from_torch(look.texels.reshape(-1, 2), dtype=wp.vec2),
        wp.from_torch(look.density),
        wp.from_torch(look.gloss),
        wp.from_torch(pyramid.texels),
        wp.from_torch(levels),
        wp.vec3(*look.lamp),
        wp.vec3(*look.lamp_colour),
        wp.from_torch(seen.light, dtype=wp.vec3),
        wp.from_torch(seen.distance),
        wp.from_torch(seen.face_idx),
    ]
    launch_in_slices(_shade, count, lambda first: [caster.mesh_id, first, *arrays])
    return seen


def shade_plain(
    caster: RayCaster,
    look: Look,
    eye: tuple[float, float, float],
    directions: Float[Tensor, "ray 3"],
    dither: Float[Tensor, "ray"],
    focal: float,
) -> Seen:
    """The twin: cast, then look up and shade all rays in torch."""
    hits = caster.cast(torch.tensor(eye).expand_as(directions), directions)
    missed, face, weights = hits.face_idx < 0, hits.face_idx.clamp(min=0), hits.barycentric[..., None]
    corners = caster.faces[face].long()
    ends = caster.vertices[corners]
    across = F.normalize(torch.linalg.cross(ends[:, 1] - ends[:, 0], ends[:, 2] - ends[:, 0]), dim=-1)
    cosine = (across * directions).sum(-1).abs().clamp(min=float(DARKEST_COSINE))
    footprint = (look.density[face] * hits.distance / (focal * cosine.sqrt())).clamp(min=1e-6)
    level = (footprint.log2() + dither).floor().clamp(0, len(look.pyramid.starts) - 1).long()
    albedo = (look_up(look.pyramid, (look.texels[face] * weights).sum(1), level) / 255).pow(2.2)
    normal = F.normalize((look.normals[corners] * weights).sum(1), dim=-1)
    towards = F.normalize(torch.tensor(look.lamp) - (ends * weights).sum(1), dim=-1)
    halfway = F.normalize(towards - directions, dim=-1)
    shine = (normal * halfway).sum(-1).clamp(min=0).pow(float(SHININESS))
    shine = shine * (look.lamp_seen[corners] * hits.barycentric).sum(1) * look.gloss[face]
    light = albedo * (look.received[corners] * weights).sum(1) + shine[:, None] * torch.tensor(look.lamp_colour)
    return Seen(torch.where(missed[:, None], 0.0, light), hits.distance, hits.face_idx)


def look_up(pyramid: Pyramid, xy: Float[Tensor, "ray 2"], level: Int[Tensor, "ray"]) -> Float[Tensor, "ray 3"]:
    """The pyramid's values in 0..255 at texel coordinates of level 0, bilinear within the given level."""
    scale = torch.pow(0.5, level.float())
    x, y = xy[:, 0] * scale - 0.5, xy[:, 1] * scale - 0.5
    width, last_row = pyramid.widths[level], pyramid.heights[level] - 1
    columns = [(x.floor().long() + k).clamp(min=0).minimum(width - 1) for k in (0, 1)]
    rows = [(y.floor().long() + k).clamp(min=0).minimum(last_row) * width + pyramid.starts[level] for k in (0, 1)]

    def at(place: Int[Tensor, "ray"]) -> Float[Tensor, "ray 3"]:
        return pyramid.texels[place].view(torch.uint8).reshape(-1, 4)[:, :3].float()

    p, q = (x - x.floor())[:, None], (y - y.floor())[:, None]
    upper = torch.lerp(at(rows[0] + columns[0]), at(rows[0] + columns[1]), p)
    return torch.lerp(upper, torch.lerp(at(rows[1] + columns[0]), at(rows[1] + columns[1]), p), q)
