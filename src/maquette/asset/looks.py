"""What photos show of the points of a surface: whether they see them, how well, and in which colour.

Symbols: photo p, vertex v; c_pv sRGB colour; q_pv quality = focal length x cosine of the viewing angle / distance,
pixels per length on the surface; g_p gain of a photo's exposure and white balance; m_v consensus colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.sparse import csr_matrix
from scipy.spatial import KDTree
from torch import Tensor

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, apply, centre_of
from maquette.render.mesh import Mesh, MeshRenderer


@dataclass(frozen=True)
class Photo:
    """An undistorted photo with its camera and the object's soft mask (1 inside), all of one size."""

    camera: Camera
    cam_from_world: Matrix4
    pixels: UInt8[np.ndarray, "height width 3"]
    mask: Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Looks:
    """Per photo and vertex a weight (0: not seen) and an sRGB colour in 0..1; per vertex how many photos see it."""

    weight: Float[Tensor, "photo vertex"]
    colour: Float[Tensor, "photo vertex 3"]
    seen_by: Int[Tensor, "vertex"]
    gains: Float[Tensor, "photo 3"]


def trusted(photo: Photo, margin: float = 0.012) -> Photo:
    """The photo with its mask's edge taken back: 0 at the edge, 1 from `margin` of the object's width inwards."""
    solid = (photo.mask > 0.5).astype(np.uint8)
    columns = np.flatnonzero(solid.any(axis=0))
    if len(columns) == 0:
        return photo
    width = max(2.0, margin * (columns[-1] - columns[0]))
    # The border of the photo is no edge of the object.
    padded = cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return replace(photo, mask=photo.mask * np.clip((depth - 1) / width, 0, 1).astype(np.float32))


def look(mesh_world: Mesh, photos: Sequence[Photo], graph: csr_matrix) -> Looks:
    """Every vertex in every photo; weights rest on q^4, the mask, and on the neighbours being seen as well.

    A photo sees a vertex that faces it, with nothing in between, within its mask. Colours are evened out in
    exposure and white balance, and colours that the other photos contradict lose their weight.
    """
    renderer = MeshRenderer(mesh_world)
    vertices, normals = mesh_world.vertices, mesh_world.vertex_normals
    extent = float((vertices.amax(0) - vertices.amin(0)).max())
    weight = torch.zeros(len(photos), len(vertices))
    colour = torch.zeros(len(photos), len(vertices), 3)
    seen_by = torch.zeros(len(vertices), dtype=torch.long)
    for idx, photo in enumerate(photos):
        seen, quality = _sees(renderer, photo, vertices, normals, extent)
        xy = photo.camera.project(apply(photo.cam_from_world, vertices[seen].double().numpy()))
        sampled = sample_photo(photo, torch.as_tensor(xy).float())
        inside = sampled[:, 3] > 0.02
        seen_by[seen] += inside.long()
        weight[idx, seen] = (quality**4 * sampled[:, 3]) * inside
        colour[idx, seen] = sampled[:, :3]
    weight = _inner(weight, graph) / weight.max().clamp(min=1e-12)
    gains = exposure_gains(weight, colour)
    colour = (colour * gains[:, None]).clamp(0, 1)
    return Looks(_agreed(weight, colour), colour, seen_by, gains)


def blend(looks: Looks, vertices: Float[Tensor, "vertex 3"]) -> Float[Tensor, "vertex 3"]:
    """A colour per vertex; those no photo sees get the colour of their nearest seen neighbours."""
    total = looks.weight.sum(0)
    known = (looks.seen_by > 0) & (total > 0)
    colours = (looks.weight[..., None] * looks.colour).sum(0) / total.clamp(min=1e-20)[:, None]
    return fill_unknown(vertices, colours, known)


def consensus(
    weight: Float[Tensor, "photo vertex"], colour: Float[Tensor, "photo vertex 3"]
) -> Float[Tensor, "vertex 3"]:
    """The weighted median over photos, channel by channel: m_v."""
    ordered, order = colour.sort(dim=0)
    along = weight[..., None].expand_as(colour).gather(0, order).cumsum(0)
    half = (along < 0.5 * along[-1:]).sum(0, keepdim=True).clamp(max=len(colour) - 1)
    return ordered.gather(0, half)[0]


def exposure_gains(
    weight: Float[Tensor, "photo vertex"], colour: Float[Tensor, "photo vertex 3"], rounds: int = 2
) -> Float[Tensor, "photo 3"]:
    """g_p: median ratio of consensus to the photo's colours where both are well exposed.

    Together they leave the mean colour of the surface as it is. Within 0.75..1.33 of that; 1 for photos with fewer
    than 30 such vertices.
    """
    step = max(1, weight.shape[1] // 8000)
    weight, colour = weight[:, ::step].sqrt(), colour[:, ::step]
    gains = torch.ones(len(weight), 3)
    shared = (weight > 0).sum(0) >= 3
    for _ in range(rounds):
        middle = consensus(weight, colour * gains[:, None])
        for idx in range(len(weight)):
            used = shared & (weight[idx] > 0) & (colour[idx].amin(-1) > 0.04) & (colour[idx].amax(-1) < 0.96)
            if used.sum() >= 30:
                gains[idx] = (middle[used] / colour[idx, used]).median(dim=0).values
        bright = weight[..., None] * colour
        kept = bright.sum((0, 1)) / (bright * gains[:, None]).sum((0, 1)).clamp(min=1e-12)
        gains = (gains * kept).clamp(0.75, 1.33) if bool(shared.any()) else gains
    return gains


def sample_photo(photo: Photo, xy: Float[Tensor, "point 2"]) -> Float[Tensor, "point 4"]:
    """sRGB in 0..1 and the mask at pixels, bilinear."""
    if len(xy) == 0:
        return torch.zeros(0, 4)
    places = xy.numpy().astype(np.float32) - 0.5
    found = [_remap(image, places).reshape(len(xy), -1) for image in (photo.pixels, photo.mask.astype(np.float32))]
    return torch.as_tensor(np.concatenate([found[0].astype(np.float32) / 255, found[1]], axis=1))


def fill_unknown(
    vertices: Float[Tensor, "vertex 3"], colours: Float[Tensor, "vertex 3"], known: Tensor
) -> Float[Tensor, "vertex 3"]:
    """Colours of the eight nearest known vertices, by inverse distance, where none is known; grey without any."""
    if known.all() or not known.any():
        return torch.where(known[:, None], colours, 0.5).clamp(0, 1)
    nearest = min(8, int(known.sum()))
    distance, source = KDTree(vertices[known].numpy()).query(vertices[~known].numpy(), k=nearest)
    count = int((~known).sum())
    share = torch.as_tensor(1 / (np.asarray(distance).reshape(count, nearest) + 1e-9)).float()
    filled = colours.clone()
    neighbours = colours[known][torch.as_tensor(np.asarray(source).reshape(count, nearest))]
    filled[~known] = (neighbours * share[..., None]).sum(1) / share.sum(1, keepdim=True)
    return filled.clamp(0, 1)


def _sees(
    renderer: MeshRenderer, photo: Photo, vertices: Tensor, normals: Tensor, extent: float
) -> tuple[Int[Tensor, "seen"], Float[Tensor, "seen"]]:
    """Vertices that face the camera and are not hidden from it, and their quality q in pixels per extent."""
    offset = torch.as_tensor(centre_of(photo.cam_from_world)).float() - vertices
    distance = offset.norm(dim=-1)
    toward = offset / distance[:, None]
    xy = torch.as_tensor(photo.camera.project(apply(photo.cam_from_world, vertices.double().numpy())))
    inside = ((xy > 0) & (xy < torch.tensor([photo.camera.width, photo.camera.height]))).all(-1)
    cosine = (normals * toward).sum(-1)
    facing = (inside & (cosine > 0.05)).nonzero()[:, 0]
    origins = vertices[facing] + 2e-3 * extent * normals[facing]
    seen = facing[torch.isinf(renderer.cast(origins, toward[facing]).distance)]
    return seen, photo.camera.fx * extent * cosine[seen] / distance[seen]


def _inner(weight: Float[Tensor, "photo vertex"], graph: csr_matrix) -> Float[Tensor, "photo vertex"]:
    """Next to a vertex that the photo does not see, a photo counts for a hundredth: edges are never exact."""
    seen = (weight > 0).numpy().astype(np.float32)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    whole = degree - 0.5 <= (graph @ seen.T).T
    return weight * torch.as_tensor(np.where(whole, 1.0, 0.01)).float()


def _agreed(
    weight: Float[Tensor, "photo vertex"], colour: Float[Tensor, "photo vertex 3"]
) -> Float[Tensor, "photo vertex"]:
    """Weights, less where a photo's colour is farther from the consensus than is usual on this object."""
    # The square root lets several photos outvote the one that stands nearest.
    off = (colour - consensus(weight.sqrt(), colour)).abs().amax(-1)
    usual = max(0.03, 1.5 * float(off[weight > 0].median())) if bool((weight > 0).any()) else 1.0
    return weight / (1 + (off / (2 * usual)) ** 4)


def _remap(image: np.ndarray, places: Float[np.ndarray, "point 2"]) -> np.ndarray:
    """Bilinear lookup; OpenCV takes at most 32767 rows a call."""
    parts = [
        cv2.remap(image, part[:, None, 0], part[:, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in np.array_split(places, len(places) // 32000 + 1)
    ]
    return np.concatenate(parts)
