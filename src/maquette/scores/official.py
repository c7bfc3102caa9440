"""The BOP toolkit's own files: the name of what it reads, and the figures of what it writes.

Its results go into METHOD_DATASET-SPLIT.csv (`data.formats.bop` writes the rows); it answers with
scores_bop19.json and scores_bop24.json. Source: the toolkit's documentation.
"""

from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.formats.door import read_json_value

SECONDS = "seconds_per_photo"
KEYS = {
    "bop19_average_recall": "ar",
    "bop19_average_recall_vsd": "ar_vsd",
    "bop19_average_recall_mssd": "ar_mssd",
    "bop19_average_recall_mspd": "ar_mspd",
    "bop19_average_time_per_image": SECONDS,
    "bop24_mAP": "ap_pose",
    "bop24_mAP_mssd": "ap_mssd",
    "bop24_mAP_mspd": "ap_mspd",
    "bop24_mAP_mssd_mm": "ap_mssd_mm",
    "bop24_average_time_per_image": SECONDS,
}
"""What the toolkit calls our figures."""


def results_name(method: str, dataset: str, split: str = "test") -> str:
    """METHOD_DATASET-SPLIT.csv. Raises InputError for a name that the toolkit would take apart wrongly."""
    if not method or set("_/") & set(method) or set("_-/") & set(dataset) or "_" in split:
        raise InputError(
            f"{method!r}, {dataset!r}, {split!r} make no name of a results file: the toolkit reads "
            "METHOD_DATASET-SPLIT.csv, so the method may not hold `_`, and the data set neither `_` nor `-`"
        )
    return f"{method}_{dataset}-{split}.csv"


def parse_name(path: Path) -> tuple[str, str, str]:
    """Method, data set and split of a results file. Raises InputError for a name of another form."""
    method, _, rest = path.stem.partition("_")
    dataset, _, split = rest.partition("-")
    if path.suffix != ".csv" or not (method and dataset and split) or "_" in rest:
        raise InputError(f"{path.name} is not named as a results file: expected METHOD_DATASET-SPLIT.csv")
    return method, dataset, split


def read_official(path: Path) -> dict[str, float]:
    """The toolkit's figures under our keys; one of -1 (unknown) is left out.

    Raises FormatError for a file that holds none of them or only unknown ones, or one that is no fraction or time.
    """
    whole = read_json_value(path, "let the BOP toolkit write it again")
    if not set(KEYS) & set(whole.record()):
        raise whole.error(f"holds no scores of the BOP toolkit: expected {', '.join(list(KEYS)[:2])}, ...")
    figures = {}
    for theirs, ours in KEYS.items():
        value = whole.get(theirs)
        figure = -1.0 if value is None else value.number()
        if value is None or figure == -1:
            continue
        if figure < 0 or (ours != SECONDS and figure > 1 + 1e-9):
            expected = "seconds of at least 0" if ours == SECONDS else "a fraction from 0 to 1"
            raise value.error(f"expected {expected}, got {figure:g}")
        figures[ours] = figure
    if not figures:
        raise whole.error("holds no figure: all are unknown (-1 or null)")
    return figures
