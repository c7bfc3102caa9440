"""Options that a request would not read, refused at the door: what was asked for is what is made."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from maquette.data.errors import InputError
from maquette.masks.config import MasksConfig
from maquette.masks.cosegment import CosegmentConfig
from maquette.masks.prompts import PromptConfig, check_marks

FOR_MASKS = ("salient", "cuts")
"""What co-segmentation reads for its masks alone, not for the label maps."""


@dataclass(frozen=True)
class _Reader:
    """Who reads an option, whether it has a say in a request, and what to add where it has none."""

    what: str
    reads: Callable[[MasksConfig], bool]
    cure: str


_VOTES = _Reader(
    "masks that are voted on",
    lambda request: request.votes,
    "use --masks find --masks.method vote (or for prompted masks --masks.carry hull)",
)
READERS: dict[str, _Reader] = {
    "clusters": _VOTES,
    "rounds": _VOTES,
    "grabcut": _VOTES,
    "voxels": _Reader(
        "masks that a common hull votes on or judges",
        lambda request: request.source != "given" or request.marks.given,
        "use --masks find, mix or prompted",
    ),
    "photo_clusters": _Reader(
        "label maps of each photo's colours",
        lambda request: not request.labels_in_groups,
        "say --masks.most-clusters for co-segmentation's",
    ),
}
"""Options of the request itself that not all requests read."""


def check_options(request: MasksConfig) -> None:
    """Raises InputError for an option that is typed and would change nothing, with what it is for."""
    if request.source == "prompted":
        check_marks(request.marks)
    else:
        _refuse_prompted(request.marks)
    _refuse_voting(request)
    _refuse_groups(request)
    _refuse_unread(request)


def _refuse_prompted(marks: PromptConfig) -> None:
    """Masks that are not prompted read marks alone, which repair them, and for that what answers the marks."""
    usual = PromptConfig()
    typed = {"--masks.grid": marks.grid != usual.grid, "--masks.carry": marks.carry != usual.carry}
    if not marks.given:
        typed["--masks.segmenter"] = marks.segmenter != usual.segmenter
        typed["--masks.sam2-weights"] = marks.weights != usual.weights
    for option in (option for option, is_typed in typed.items() if is_typed):
        what = "a repair is of the marked photo alone" if marks.given else "these masks are made without it"
        raise InputError(
            f"{option} is for --masks prompted, and {what}: add --masks prompted, or leave {option} out."
        )


def _refuse_unread(request: MasksConfig) -> None:
    usual = MasksConfig()
    for name, reader in READERS.items():
        if getattr(request, name) != getattr(usual, name) and not reader.reads(request):
            option = f"--masks.{name.replace('_', '-')}"
            raise InputError(f"{option} is for {reader.what}, and here are none: {reader.cure}, or leave it out.")


def _refuse_voting(request: MasksConfig) -> None:
    """What only voting reads; depth has a say where masks are found so, not where they are carried."""
    if request.with_appearance and not (request.votes and request.features != "appearance"):
        raise InputError(
            "--masks.with-appearance joins a network's clusters with colour's where clusters vote: name the "
            "network by --masks.features and let it vote (--masks.method vote, or for prompted masks --masks.carry "
            "hull), or leave it out."
        )
    usual, swept = MasksConfig(), request.finds and request.votes
    if (request.relief != usual.relief or request.stereo != usual.stereo) and not swept:
        raise InputError(
            "--masks.relief and --masks.stereo are for masks that are found by voting, and these are not: leave "
            "them out, or use --masks find --masks.method vote."
        )
    if request.stereo != usual.stereo and request.relief == "off":
        raise InputError("--masks.stereo is read by --masks.relief on alone; leave one of them out.")


def _refuse_groups(request: MasksConfig) -> None:
    """What only co-segmentation reads, for masks that are found by it or for label maps."""
    own, usual = request.cosegmentation, CosegmentConfig()
    masks = request.finds and request.method == "cosegment"
    for field in fields(own):
        if getattr(own, field.name) == getattr(usual, field.name):
            continue
        option = f"--masks.{field.name.replace('_', '-')}"
        if not (masks if field.name in FOR_MASKS else request.labels_in_groups):
            what = "masks that co-segmentation finds" if field.name in FOR_MASKS else "co-segmentation's clusters"
            cure = (
                "add --masks.method cosegment"
                if request.finds or field.name not in FOR_MASKS
                else "use --masks find"
            )
            raise InputError(f"{option} is for {what}, and here are none: {cure}, or leave {option} out.")
        if field.name == "references" and own.partners != "several":
            raise InputError("--masks.references says how many --masks.partners several takes; add that.")
