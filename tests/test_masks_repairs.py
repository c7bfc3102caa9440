"""The stage with marks: one box makes all masks, more marks repair single photos."""

from pathlib import Path

import pytest

from maquette.app.main import BAD_INPUT, run_command
from maquette.data.images import read_mask
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import MaskRecords
from maquette.data.workspace import hash_of
from maquette.masks.config import MasksConfig
from maquette.masks.marked import base_of
from maquette.masks.prompts import PromptConfig
from maquette.masks.repairs import Repairs
from toy_ball import iou
from toy_prompts import box_in, command_of, mean_iou, scene, workspace_of_ball

PROMPTED = ("--masks", "prompted", "--masks.segmenter", "grabcut")


def test_one_box_in_one_photo_makes_all_masks_and_a_repair_touches_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = workspace_of_ball(tmp_path)
    box = ("--masks.prompt", "004.png", *(f"{v:g}" for v in box_in(4)))
    command = command_of(workspace, *PROMPTED, *box)
    assert run_command(command) == 0
    assert mean_iou(workspace) > 0.93
    records = {r.photo: r for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    assert records["004.png"].source == "prompted" and records["004.png"].agreement == 1.0
    assert all(r.source == "carried" and r.agreement > 0.6 for r in records.values() if r.photo != "004.png")

    before = {p.name: hash_of(p) for p in (workspace.masks / "coarse").iterdir()}
    # The command that repairs says nothing of how the masks were made.
    repair = ["masks", str(workspace.root), "--masks.prompt", "007.png", *(f"{v:g}" for v in box_in(7))]
    assert run_command(repair) == 0
    after = {p.name: hash_of(p) for p in (workspace.masks / "coarse").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"007.png"}
    assert iou(read_mask(workspace.coarse_mask("007.png")), scene()[1][7]) > 0.97
    again = {r.photo: r for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    assert again["007.png"].source == "repaired" and again["002.png"] == records["002.png"]
    assert read_record(workspace.masks / "repairs.json", Repairs).prompt[0][0] == "007.png"

    stamp = (workspace.masks / "provenance.json").stat().st_mtime_ns
    assert run_command(repair) == 0 and run_command(command) == 0
    assert (workspace.masks / "provenance.json").stat().st_mtime_ns == stamp
    assert not list(tmp_path.glob(".masks*"))
    capsys.readouterr()
    assert run_command([*command, "--grabcut", "2"]) == BAD_INPUT
    assert "grabcut was 3 and is now 2" in capsys.readouterr().err
    assert run_command([*command, "--grabcut", "2", "--overwrite"]) == 0
    assert "--masks.prompt 007.png" in capsys.readouterr().err
    assert not (workspace.masks / "repairs.json").exists()


def test_marks_on_found_masks_find_them_first_and_then_repair(tmp_path: Path) -> None:
    workspace = workspace_of_ball(tmp_path)
    click = ("--masks.segmenter", "grabcut", "--masks.click", "003.png", "80", "60", "+")
    assert run_command(command_of(workspace, *click, "--masks.click", "003.png", "3", "3", "-")) == 0
    records = {r.photo: r.source for r in read_record(workspace.masks / "masks.json", MaskRecords).photos}
    assert records.pop("003.png") == "repaired" and set(records.values()) == {"found"}
    assert mean_iou(workspace) > 0.93
    assert run_command(command_of(workspace)) == 0


def test_the_box_of_the_cameras_is_a_mark(tmp_path: Path) -> None:
    workspace = workspace_of_ball(tmp_path, box=("002.png", box_in(2)))
    assert run_command(command_of(workspace, *PROMPTED, "--masks.carry", "box")) == 0
    assert mean_iou(workspace) > 0.93


@pytest.mark.parametrize(
    "words, said",
    [
        (PROMPTED, "--masks prompted needs a mark on the object"),
        ((*PROMPTED, "--masks.carry", "memory", "--masks.prompt", "001.png", "2", "2", "14", "14"), "SAM 2's"),
        ((*PROMPTED, "--masks.grid", "1"), "--masks.grid is SAM 2's"),
        (("--masks", "prompted", "--masks.grid", "0"), "give 1 or more"),
        (("--masks", "prompted", "--masks.grid", "1", "--masks.carry", "box"), "nothing is carried"),
        ((*PROMPTED, "--masks.sam2-weights", "somewhere"), "--masks.sam2-weights is SAM 2's"),
        (("--masks.grid", "1"), "--masks.grid is for --masks prompted"),
        (("--masks", "given", "--masks.segmenter", "grabcut"), "--masks.segmenter is for --masks prompted"),
        (("--masks", "mix", "--masks.sam2-weights", "x"), "--masks.sam2-weights is for --masks prompted"),
        (("--masks.carry", "hull"), "--masks.carry is for --masks prompted"),
        (("--masks.carry", "box", "--masks.prompt", "001.png", "2", "2", "14", "14"), "of the marked photo alone"),
        (("--masks.prompt", "099.png", "2", "2", "14", "14"), "'099.png'"),
    ],
)
def test_what_cannot_be_prompted_is_one_clear_line(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = workspace_of_ball(tmp_path)
    capsys.readouterr()
    assert run_command(command_of(workspace, *words)) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0], errors


def test_a_repair_takes_the_segmenter_that_was_typed_else_that_of_the_masks(tmp_path: Path) -> None:
    workspace = workspace_of_ball(tmp_path)
    made = MasksConfig(source="prompted", marks=PromptConfig(weights="made/with"), crop=96)
    workspace.masks.mkdir()
    write_json(workspace.masks / "config.json", made)
    prompt = (("004.png", *box_in(4)),)

    def used(**marks: object) -> tuple[str, str]:
        base, config = base_of(workspace, MasksConfig(marks=PromptConfig(prompt=prompt, **marks)))
        assert base == made and config.prompt == prompt
        return config.segmenter, config.weights

    assert used() == ("sam2", "made/with")
    assert used(weights="typed") == ("sam2", "typed")
    assert used(segmenter="grabcut")[0] == "grabcut"
    other = MasksConfig(crop=128, marks=PromptConfig(prompt=prompt))
    assert base_of(workspace, other)[0] == MasksConfig(crop=128)
