"""A stage's folder is whole or absent: skipped when nothing changed, kept when something did, never lost."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from maquette.data.errors import InputError
from maquette.data.workspace import StageFolder, Workspace, begin_stage, hash_of, swap_in


@dataclass(frozen=True)
class _Inner:
    kind: str = "grid"


@dataclass(frozen=True)
class _NewerInner(_Inner):
    levels: int = 1


@dataclass(frozen=True)
class _Config:
    steps: int = 10
    fields: _Inner = _Inner()
    box: tuple[str, float] | None = None


def _finish(
    final: Path, config: object, inputs: dict[str, Path], text: str, overwrite: bool = False
) -> StageFolder:
    folder = begin_stage(final, config, inputs, overwrite)
    if not folder.complete:
        (folder.partial / "result.txt").write_text(text)
        folder.commit(1.5, seed=7)
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.txt").write_text("a")
    return {"photos": photos}


def test_a_finished_stage_holds_its_result_and_its_records(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(), inputs, "one")
    assert (final / "result.txt").read_text() == "one"
    provenance = json.loads((final / "provenance.json").read_text())
    assert provenance["seconds"] == 1.5 and provenance["seed"] == 7 and provenance["maquette"]
    assert json.loads((final / "config.json").read_text())["fields"] == {"kind": "grid"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_the_same_config_and_inputs_are_skipped(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(box=("a.jpg", 1.0)), inputs, "one")
    again = _finish(final, _Config(box=("a.jpg", 1.0)), inputs, "two")
    assert again.complete and (final / "result.txt").read_text() == "one"


def test_a_changed_config_says_what_was_and_what_is(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(), inputs, "one")
    with pytest.raises(InputError, match=r"steps was 10 and is now 20.*--overwrite"):
        begin_stage(final, _Config(steps=20), inputs)
    with pytest.raises(InputError, match=r"fields\.kind was 'grid' and is now 'mlp'"):
        begin_stage(final, _Config(fields=_Inner("mlp")), inputs)
    assert (final / "result.txt").read_text() == "one"


@dataclass(frozen=True)
class _Newer(_Config):
    """The same in a later version, which knows more options."""

    fields: _Inner = _NewerInner("grid", 3)
    places: tuple[str, ...] = field(default_factory=lambda: ("here",))


def test_an_option_that_is_new_since_is_taken_for_its_default(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(), inputs, "one")
    assert begin_stage(final, _Newer(), inputs).complete
    for asked, said in (
        (_Newer(places=("there",)), r"places was \['here'\] and is now \['there'\]"),
        (_Newer(fields=_NewerInner("grid", 5)), r"fields\.levels was 3 and is now 5"),
        (_Newer(steps=20), r"steps was 10 and is now 20"),
    ):
        with pytest.raises(InputError, match=said):
            begin_stage(final, asked, inputs)
    _finish(tmp_path / "named", {"seed": 1, "one": _Config()}, inputs, "one")
    assert begin_stage(tmp_path / "named", {"seed": 1, "one": _Newer()}, inputs).complete
    _finish(final, _Newer(places=("there",)), inputs, "two", overwrite=True)
    with pytest.raises(InputError, match=r"places was \['there'\] and is now None"):
        begin_stage(final, _Config(), inputs)


def test_a_changed_input_says_which(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(), inputs, "one")
    (inputs["photos"] / "b.txt").write_text("b")
    with pytest.raises(InputError, match="input photos has changed"):
        begin_stage(final, _Config(), inputs)


def test_overwrite_keeps_the_old_result_until_the_new_one_is_complete(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(), inputs, "one")
    folder = begin_stage(final, _Config(steps=20), inputs, overwrite=True)
    assert (final / "result.txt").read_text() == "one"
    (folder.partial / "result.txt").write_text("two")
    folder.commit(1.0)
    assert (final / "result.txt").read_text() == "two"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(), inputs, "one")
    begin_stage(final, _Config(steps=20), inputs, overwrite=True)
    final.rename(tmp_path / ".fields.old")
    again = begin_stage(final, _Config(), inputs)
    assert again.complete and (final / "result.txt").read_text() == "one"


def test_a_crash_after_the_swap_leaves_the_new_result_and_the_next_swap_clears_the_old(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    final, old = tmp_path / "fields", tmp_path / ".fields.old"
    _finish(final, _Config(), inputs, "two")
    old.mkdir()
    assert begin_stage(final, _Config(), inputs).complete
    _finish(final, _Config(steps=20), inputs, "three", overwrite=True)
    assert (final / "result.txt").read_text() == "three" and not old.exists()


def test_an_unfinished_stage_starts_afresh_unless_it_is_kept(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    first = begin_stage(final, _Config(), inputs, keep=True)
    assert not first.resumed
    (first.partial / "checkpoint").write_text("step 5")
    assert begin_stage(final, _Config(), inputs, keep=True).resumed
    assert (first.partial / "checkpoint").exists()
    assert not begin_stage(final, _Config(), inputs).resumed
    assert not (first.partial / "checkpoint").exists()


def test_training_does_not_resume_from_another_configs_checkpoint(tmp_path: Path, inputs: dict[str, Path]) -> None:
    final = tmp_path / "fields"
    first = begin_stage(final, _Config(), inputs, keep=True)
    (first.partial / "checkpoint").write_text("step 5")
    other = begin_stage(final, _Config(steps=20), inputs, keep=True)
    assert not other.resumed and not (other.partial / "checkpoint").exists()


def test_training_goes_on_with_other_options_that_may_change_and_says_so_in_its_records(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    final = tmp_path / "fields"
    first = begin_stage(final, _Config(), inputs, keep=True, changeable=("box",))
    (first.partial / "checkpoint").write_text("step 5")
    other = begin_stage(final, _Config(box=("b", 1.0)), inputs, keep=True, changeable=("box",))
    assert other.resumed and (other.partial / "checkpoint").exists()
    assert json.loads((other.partial / "config.json").read_text())["box"] == ["b", 1.0]
    assert not begin_stage(final, _Config(steps=20), inputs, keep=True, changeable=("box",)).resumed


def test_a_finished_stage_is_complete_whatever_its_changeable_options_were(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    final = tmp_path / "fields"
    _finish(final, _Config(box=("b", 1.0)), inputs, "one")
    assert begin_stage(final, _Config(), inputs, keep=True, changeable=("box",)).complete
    with pytest.raises(InputError, match=r"made from something else: steps was 10 and is now 20\. Add"):
        begin_stage(final, _Config(steps=20), inputs, keep=True, changeable=("box",))
    with pytest.raises(InputError, match="box was"):
        begin_stage(final, _Config(), inputs, keep=True)


def test_hashes_follow_names_and_contents_but_not_provenance(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = hash_of(folder)
    (folder / "provenance.json").write_text("{}")
    (folder / ".hidden").write_text("x")
    assert hash_of(folder) == first
    (folder / "a").rename(folder / "b")
    assert hash_of(folder) != first
    assert hash_of(tmp_path / "nowhere") is None
    assert hash_of(folder / "b") is not None


def test_a_file_moved_between_folders_changes_the_hash(tmp_path: Path) -> None:
    for name in ("x/a", "y/a"):
        (tmp_path / name).parent.mkdir()
    (tmp_path / "x" / "a").write_text("1")
    first = hash_of(tmp_path)
    (tmp_path / "x" / "a").rename(tmp_path / "y" / "a")
    assert hash_of(tmp_path) != first


def test_swapping_into_an_empty_place_only_renames(tmp_path: Path) -> None:
    (tmp_path / ".a.partial").mkdir()
    swap_in(tmp_path / ".a.partial", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_missing_stage_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Run `maquette masks .*mug`"):
        Workspace(tmp_path / "mug").require("masks")


def test_every_picture_of_a_photo_shares_its_stem(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for path in (workspace.coarse_mask, workspace.clusters, workspace.rendered_mask, workspace.given_mask):
        assert path("IMG_1.JPG").name == "IMG_1.png"
    assert workspace.rendered_view("a.jpeg", "object") == tmp_path / "asset" / "views" / "object" / "a.png"
