"""Masks of all photos from what a person marked in a few: segment, carry, judge, look again where lost.

What grows with the number of photos is a window of working size each (0.6 MB at 224 pixels); photos and whole
masks are read and written one at a time, and the video memory is bounded (`masks/sam2.py`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8

from maquette.data.errors import InputError
from maquette.data.progress import track
from maquette.data.records import Capture, PhotoMask, View
from maquette.geometry.boxes import Box, box_of
from maquette.geometry.sphere import Sphere
from maquette.masks.carry import Memory, camera_distances, carry_by_box, carry_by_memory, path, tree
from maquette.masks.crops import Crop, cut_mask, paste_object
from maquette.masks.cuts import Cuts
from maquette.masks.hull import Voxels
from maquette.masks.judge import LEAST_AGREEMENT, Carried, Verdict, box_in_photo, judge
from maquette.masks.prompts import Mark, PromptConfig, Segmenter, grown, read_marks, segment_marks
from maquette.masks.segmenters import make_memory, make_sam2, make_segmenter
from maquette.masks.shapes import largest_component, near_hull, overlap
from maquette.masks.voting import vote


@dataclass
class Masks:
    """The photos that see the sphere, and their masks as they come.

    `photo` reads a photo, `write` takes a whole mask away and `load` reads it again; what stays here is each
    mask at working size.
    """

    views: Sequence[View]
    crops: Sequence[Crop]
    sphere: Sphere
    voxels: Voxels
    side: int
    photo: Callable[[int], UInt8[np.ndarray, "height width 3"]]
    load: Callable[[int], Bool[np.ndarray, "height width"]]
    write: Callable[[int, Bool[np.ndarray, "height width"]], None]
    carried: dict[int, Carried] = field(default_factory=dict)
    boxes: dict[int, Box] = field(default_factory=dict)

    def keep(self, photo: int, mask: Bool[np.ndarray, "height width"]) -> None:
        """Write a mask and remember it at working size."""
        self.write(photo, mask)
        self.remember(photo, mask)

    def remember(self, photo: int, mask: Bool[np.ndarray, "height width"]) -> None:
        """A mask that lies where it belongs already."""
        self.carried[photo] = Carried(cut_mask(mask, self.crops[photo]), float(mask.sum()))
        self.boxes.pop(photo, None)
        if (box := box_of(mask)) is not None:
            self.boxes[photo] = box

    def verdicts(self, marked: Collection[int]) -> list[Verdict]:
        """How far each mask is to be trusted, by all of them; those `marked` are never lost."""
        in_order = [self.carried[photo] for photo in range(len(self.views))]
        distances = camera_distances(self.views, self.sphere)
        return judge(self.crops, in_order, self.voxels, self.side, distances, marked)

    def outline(self, photo: int) -> Box:
        """The sphere's outline."""
        view = self.views[photo]
        box = self.sphere.box_in(view.camera, view.cam_from_world)
        assert box is not None
        return box

    def outline_cut(self, photo: int) -> Box:
        """The sphere's outline within the photo."""
        camera = self.views[photo].camera
        box = grown(self.outline(photo), 1.0, camera.width, camera.height)
        assert box is not None
        return box


def find_marks(masks: Masks, capture: Capture, config: PromptConfig) -> dict[int, tuple[Mark, ...]]:
    """The marks by photo; without any, the box by which the cameras were told of the object.

    Raises InputError where there is neither, or where a photo does not show the object sphere.
    """
    boxes = config.prompt
    if not config.given:
        if capture.box is None:
            raise InputError(
                "--masks prompted needs a mark on the object: --masks.prompt PHOTO x0 y0 x1 y1 (a box around it, "
                "in pixels of cameras/photos/PHOTO) or --masks.click PHOTO x y."
            )
        name, box = capture.box
        boxes = ((name, *box),)
    index = {view.name: photo for photo, view in enumerate(masks.views)}
    found = {}
    for name, marks in read_marks(boxes, config.click, capture).items():
        if name not in index:
            raise InputError(f"the object sphere is out of sight in {name}; mark the object in another photo.")
        found[index[name]] = marks
    if config.segmenter != "grabcut":
        return found
    # Colours alone do not tell how far the object reaches from a click: the sphere's outline does.
    return {p: tuple(replace(m, box=m.box or masks.outline_cut(p)) for m in marks) for p, marks in found.items()}


def from_marks(
    masks: Masks,
    marks: Mapping[int, Sequence[Mark]],
    config: PromptConfig,
    labels: Callable[[], Sequence[Int[np.ndarray, "size size"]]],
    rounds: int,
    cuts: Cuts,
    device: torch.device,
) -> list[PhotoMask]:
    """All masks from marks in a few photos, kept, and what is noted of each. SAM 2 runs on `device`.

    `labels` clusters the windows jointly, `rounds` are those of the voting: for carrying by hull.
    """
    if config.grid is not None:
        sam2 = make_sam2(config.weights, device)
        for photo in track(range(len(masks.views)), "masks", len(masks.views)):
            masks.keep(photo, sam2.segment_grid(masks.photo(photo), config.grid)[0])
        return records(masks, masks.verdicts(()), {})
    segmenter = make_segmenter(config.segmenter, config.weights, device, cuts.seed)
    segment_marked(masks, marks, segmenter)
    marked = list(marks)
    if config.carrier == "hull":
        carry_hull(masks, marked, labels(), rounds, cuts)
    elif config.carrier == "box":
        carry_boxes(masks, marked, segmenter)
    else:
        carry_memory(masks, marked, make_memory(config.weights, device))
    return records(masks, second_look(masks, marks, segmenter), dict.fromkeys(marks, "prompted"))


def repaired(
    masks: Masks,
    marks: Mapping[int, Sequence[Mark]],
    config: PromptConfig,
    old: Mapping[str, PhotoMask],
    device: torch.device,
    seed: int,
) -> list[PhotoMask]:
    """The marked photos anew; photos that were lost are looked at again in the hull that all masks now have."""
    for photo in range(len(masks.views)):
        masks.remember(photo, masks.load(photo))
    segmenter = make_segmenter(config.segmenter, config.weights, device, seed)
    segment_marked(masks, marks, segmenter)
    sure = {p for p, view in enumerate(masks.views) if p in marks or not old[view.name].lost}
    noted = records(masks, second_look(masks, sure, segmenter), dict.fromkeys(marks, "repaired"))
    return [old[new.photo] if p not in marks and not old[new.photo].lost else new for p, new in enumerate(noted)]


def segment_marked(masks: Masks, marks: Mapping[int, Sequence[Mark]], segmenter: Segmenter) -> None:
    """The masks of the marked photos. Raises InputError where nothing is found, or not the sphere's object."""
    for photo, own in marks.items():
        mask, _ = segment_marks(segmenter, masks.photo(photo), own)
        name = masks.views[photo].name
        if not mask.any():
            raise InputError(
                f"nothing was found in what you marked in {name}: draw the box a little wider than the object, or "
                "click on it with --masks.click."
            )
        masks.keep(photo, mask)
        if not (masks.carried[photo].mask & masks.crops[photo].disc).any():
            x0, y0, x1, y1 = masks.boxes[photo]
            raise InputError(
                f"what you marked in {name} lies outside the object sphere, so the cameras were told of another "
                f"object: run `maquette cameras` again with --box {name} {x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f}."
            )


def carry_boxes(masks: Masks, marked: Sequence[int], segmenter: Segmenter) -> None:
    """Carry by boxes, from camera to neighbouring camera."""
    steps = tree(camera_distances(masks.views, masks.sphere), marked)
    outlines = [masks.outline(photo) for photo in range(len(masks.views))]
    carry_by_box(masks.photo, masks.keep, steps, masks.boxes, outlines, segmenter)


def carry_memory(masks: Masks, marked: Sequence[int], memory: Memory) -> None:
    """Carry by a memory, which is given the marked photos first."""
    for photo in marked:
        memory.condition(masks.photo(photo), masks.load(photo))
    carry_by_memory(masks.photo, masks.keep, path(camera_distances(masks.views, masks.sphere), marked), memory)


def carry_hull(
    masks: Masks, marked: Sequence[int], labels: Sequence[Int[np.ndarray, "size size"]], rounds: int, cuts: Cuts
) -> None:
    """Carry by colours and the common hull, all photos at once."""
    known = {photo: masks.carried[photo].mask for photo in marked}
    voted = vote(masks.crops, labels, masks.voxels, masks.side, rounds, cuts, known)
    for photo, (mask, hull) in enumerate(zip(voted.masks, voted.hulls, strict=True)):
        if photo not in known:
            camera = masks.views[photo].camera
            masks.keep(photo, paste_object(near_hull(mask, hull), masks.crops[photo], camera))


def second_look(masks: Masks, sure: Collection[int], segmenter: Segmenter) -> list[Verdict]:
    """The verdicts on all masks, after those that were lost have been looked at again; `sure` ones never are."""
    verdicts = masks.verdicts(sure)
    lost = {photo: verdict for photo, verdict in enumerate(verdicts) if verdict.lost}
    return masks.verdicts(sure) if lost and look_again(masks, lost, segmenter) else verdicts


def look_again(masks: Masks, lost: Mapping[int, Verdict], segmenter: Segmenter) -> int:
    """Lost photos segmented once more, in the box of the common hull; how many came out better and were kept."""
    better = 0
    for photo, verdict in lost.items():
        camera, crop = masks.views[photo].camera, masks.crops[photo]
        box = box_in_photo(verdict.hull, crop)
        box = box and grown(box, 1.1, camera.width, camera.height)
        if box is None:
            continue
        mask = largest_component(segmenter.segment(masks.photo(photo), Mark(box))[0])
        if overlap(cut_mask(mask, crop), verdict.hull) > max(LEAST_AGREEMENT, verdict.agreement):
            masks.keep(photo, mask)
            better += 1
    return better


def records(masks: Masks, verdicts: Sequence[Verdict], marked: Mapping[int, str]) -> list[PhotoMask]:
    """What is noted of each photo; `marked` says how those masks came that were not carried.

    A marked photo's agreement is 1: a person has said what is there.
    """
    noted = []
    for photo, (view, verdict) in enumerate(zip(masks.views, verdicts, strict=True)):
        agreement = 1.0 if photo in marked else round(verdict.agreement, 4)
        share = masks.carried[photo].area / (view.camera.width * view.camera.height)
        noted.append(PhotoMask(view.name, marked.get(photo, "carried"), agreement, round(share, 5), verdict.lost))
    return noted
