"""Options that a request would not read, refused at the door: what was asked for is what is made."""

from maquette.data.errors import InputError
from maquette.masks.config import MasksConfig
from maquette.masks.prompts import PromptConfig, check_marks


def check_options(request: MasksConfig) -> None:
    """Raises InputError for an option that is typed and would change nothing, with what it is for."""
    if request.source == "prompted":
        check_marks(request.marks)
    else:
        _refuse_prompted(request.marks)


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
