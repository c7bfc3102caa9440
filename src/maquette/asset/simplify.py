"""A mesh with fewer faces: quadric error, then whatever that tore or folded is mended."""

from itertools import pairwise

import fast_simplification
import numpy as np
from jaxtyping import Bool, Float, Int

from maquette.asset.components import chosen_faces, edges_of, largest_piece
from maquette.asset.isosurface import Surface


def simplify(surface: Surface, faces: int) -> Surface:
    """About `faces` faces, closed if it was closed; the surface itself where it has no more, or 0 is asked."""
    if faces <= 0 or len(surface[1]) <= faces:
        return surface
    simplified = fast_simplification.simplify(surface[0], surface[1], target_count=faces)
    return mend((np.asarray(simplified[0], np.float64), np.asarray(simplified[1], np.int64)))


def mend(surface: Surface, rounds: int = 8) -> Surface:
    """Closed again where a few edges have not exactly two faces: those faces go, the holes are filled.

    What cannot be mended so in `rounds` rounds stays open; `components.topology` says whether it did.
    """
    surface = largest_piece(_without_folds(surface))
    for _ in range(rounds):
        torn = _torn(surface[1])
        if not torn.any():
            break
        # Every face at a vertex of a torn edge: what is left around has simple borders.
        bad = np.zeros(len(surface[0]), bool)
        bad[np.unique(surface[1][torn])] = True
        vertices, faces = chosen_faces(surface, ~np.any(bad[surface[1]], axis=1))
        surface = largest_piece(_without_folds(_filled(vertices, faces)))
    return surface


def _torn(faces: Int[np.ndarray, "face 3"]) -> Bool[np.ndarray, "face"]:
    """Faces at an edge that is not shared by exactly two faces in opposite directions."""
    edges = edges_of(faces)
    count = int(faces.max()) + 1
    code, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    unique, inverse, times = np.unique(code, return_inverse=True, return_counts=True)
    found = np.searchsorted(unique, back).clip(max=len(unique) - 1)
    bad = (times[inverse] != 1) | (unique[found] != back) | (times[found] != 1)
    return bad.reshape(3, -1).any(axis=0)


def _without_folds(surface: Surface) -> Surface:
    """Without faces of two corners, and without pairs of faces on the same three."""
    faces = surface[1]
    faces = faces[np.all(faces != np.roll(faces, 1, axis=1), axis=1)]
    _, inverse, times = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True)
    return chosen_faces((surface[0], faces), np.asarray(times[inverse.ravel()] == 1))


def _filled(vertices: Float[np.ndarray, "vertex 3"], faces: Int[np.ndarray, "face 3"]) -> Surface:
    """Each border loop closed by a fan about its centre."""
    edges = edges_of(faces)
    count = len(vertices)
    code, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    border = edges[~np.isin(back, code)]
    after: dict[int, list[int]] = {}
    for start, end in border.tolist():
        after.setdefault(end, []).append(start)
    centres, fans = [], []
    for loop in _loops(after):
        hub = count + len(centres)
        centres.append(vertices[loop].mean(axis=0))
        fans += [(a, b, hub) for a, b in pairwise([*loop, loop[0]])]
    if not fans:
        return vertices, faces
    return np.concatenate([vertices, centres]), np.concatenate([faces, np.array(fans)])


def _loops(after: dict[int, list[int]]) -> list[list[int]]:
    """Closed walks over directed edges, each edge once; a walk that meets itself is cut into simple loops."""
    loops = []
    while after:
        walk = [next(iter(after))]
        at = {walk[0]: 0}
        while walk and walk[-1] in after:
            here = walk[-1]
            there = after[here].pop()
            if not after[here]:
                del after[here]
            if there in at:
                loop = walk[at[there] :]
                loops.append(loop)
                for vertex in loop[1:]:
                    del at[vertex]
                walk = walk[: at[there] + 1]
            else:
                at[there] = len(walk)
                walk.append(there)
    return [loop for loop in loops if len(loop) >= 3]
