"""A split that somebody else drew: which photos are learnt from, which are held out, which are left away."""

from dataclasses import replace
from pathlib import Path

from maquette.cameras.sources import Source
from maquette.data.errors import InputError
from maquette.data.formats.door import Value, read_json_value

CURE = 'expected {"learnt": [photo names], "held_out": [photo names]}'


def read_split(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The names of learnt and of held-out photos. Raises FormatError where a name is in both, or none is learnt."""
    whole = read_json_value(path, CURE)
    learnt, held_out = (_names(whole.key(key)) for key in ("learnt", "held_out"))
    if not learnt:
        raise whole.key("learnt").error("names no photo to learn from")
    if both := sorted(learnt & held_out):
        raise whole.key("held_out").error(f"{both[0]} is among the learnt photos too")
    return learnt, held_out


def held_out_of(path: Path) -> set[str]:
    """The names of the photos that nothing learns from."""
    return set(read_split(path)[1])


def with_split(source: Source, path: Path, holdout: int | None) -> Source:
    """The source with the photos of the split alone.

    Raises InputError for names that the source does not hold, a --holdout beside it, and a video, whose frames
    have no names before they are chosen.
    """
    if holdout is not None:
        raise InputError("--split says already what is held out; leave --holdout away.")
    if source.given is None and source.video is not None:
        raise InputError(f"--split goes by the names of photos, and {source.video} is a video without cameras.")
    learnt, held_out = read_split(path)
    chosen = learnt | held_out
    given = source.given
    known = {photo.name for photo in (source.photos if given is None else given.photos)}
    if missing := sorted(chosen - known):
        raise InputError(
            f"{path} names {missing[0]} ({len(missing)} of {len(chosen)} names are not there), but {source.root} "
            f"holds {', '.join(sorted(known)[:3])}, ...; names are file names with their ending."
        )
    if given is not None:
        kept = tuple(photo for photo in given.photos if photo.name in chosen)
        given = replace(given, photos=kept)
    return replace(source, photos=tuple(p for p in source.photos if p.name in chosen), given=given)


def _names(value: Value) -> frozenset[str]:
    return frozenset(name.text() for name in value.each("photo"))
