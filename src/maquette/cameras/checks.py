"""What a person may ask of the stage, checked before hours are spent on it; each message says what to do."""

from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.formats.geometry import check_object_option
from maquette.geometry.lens import Lens

FEWEST_PHOTOS = 3


def check_options(holdout: int | None, size: float | None) -> None:
    """Raises InputError for a holdout that leaves nothing, or a size that is none of an object in metres."""
    if holdout is not None and holdout < 2:
        raise InputError(f"--holdout {holdout} leaves nothing to learn from; give 2 or more.")
    if size is not None:
        check_object_option("--size", size)


def check_count(count: int, source: Path, frames: str | None) -> None:
    """Raises InputError for fewer photos than cameras can be found from."""
    if count < FEWEST_PHOTOS:
        after = f" after --frames {frames}" if frames else ""
        photos = "1 photo" if count == 1 else f"{count} photos"
        raise InputError(
            f"{photos} in {source}{after}: at least {FEWEST_PHOTOS} are needed, 30 to 80 from all sides are good. "
            "Take more photos, or give a video."
        )


def held_out(names: list[str], holdout: int | None) -> set[str]:
    """The names whose index in sorted order is divisible by `holdout`."""
    return {name for index, name in enumerate(sorted(names)) if holdout and index % holdout == 0}


def check_box(
    box: tuple[str, float, float, float, float] | None, sizes: dict[str, tuple[int, int]], held: set[str]
) -> None:
    """Raises InputError where the box is on no chosen photo, on a held-out one, or not inside it."""
    if box is None:
        return
    name, x0, y0, x1, y1 = box
    names = sorted(sizes)
    if name not in sizes:
        raise InputError(
            f"--box names the photo {name!r}, which is not one of the {len(names)} photos "
            f"({names[0]} to {names[-1]}). Give a file name without its folder."
        )
    if name in held:
        other = next(n for n in names if n not in held)
        raise InputError(
            f"--box is on {name}, which --holdout holds out: nothing may be learnt from it. "
            f"Mark the object in another photo, for instance {other}."
        )
    width, height = sizes[name]
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"--box {x0:g} {y0:g} {x1:g} {y1:g} does not lie in {name}, which is {width} x {height} pixels: "
            f"expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}."
        )


def check_lens_size(name: str, size: tuple[int, int], lens: Lens, where: str) -> None:
    """Raises InputError where a calibration is of photos of another size; `where` says what gave it."""
    if (lens.width, lens.height) != size:
        raise InputError(
            f"{name} is {size[0]} x {size[1]} pixels, but {where} expects {lens.width} x {lens.height}: "
            "they do not belong together. Leave the photo out, or leave the calibration out."
        )


def nothing_built(registered: int, count: int, camera: Path | None) -> InputError:
    """The error for photos that COLMAP could not fit together."""
    advice = (
        "Photos must overlap and be taken from moving viewpoints: walk round the object in small steps, "
        "keep its surroundings still, and let them show some texture."
    )
    if camera is not None:
        advice = (
            f"The calibration {camera} may not belong to these photos (another camera or mode, or photos that "
            "were rectified already): try again without --camera."
        )
    return InputError(f"the cameras could not be found: {registered} of {count} photos fit together. {advice}")
