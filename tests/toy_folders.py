"""One small folder of each format, as its programs would write it: the ground of the fuzz."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import trimesh
from scipy.io import savemat

from maquette.data.captures import load_truth, save_truth
from maquette.data.formats import (
    bop,
    bop_models,
    bop_scene,
    bop_targets,
    bop_write,
    camera_json,
    colmap,
    dtu,
    foundationpose,
    given,
    llff,
    nerfpp,
    nerfstudio,
    neus,
    readers,
)
from maquette.data.formats.geometry import quaternion_of
from maquette.data.images import write_image
from maquette.data.records import TruePose, Truth, View
from maquette.geometry.lens import PARAMETERS, Lens
from maquette.geometry.transforms import inverse, rigid
from maquette.poses import boxes
from maquette.recipes import lmo_split
from maquette.scores import official
from toy_formats import LENS, MIDDLE, SIZE, ring, text_of

GL = np.diag([1.0, -1.0, -1.0, 1.0])
K = LENS.pinhole.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]


def make_nerfstudio(folder: Path) -> None:
    lens = Lens("OPENCV", *SIZE, (70.0, 72.0, 31.0, 25.0, 0.05, -0.02, 0.001, 0.002))
    nerfstudio.write(folder / "transforms.json", ring(folder / "images", lens, count=2))


def make_nerfstudio_whole(folder: Path) -> None:
    """All that a transforms.json can name: alpha, what is ignored, depth, OpenCV's axes."""
    photos = []
    (folder / "beside").mkdir()
    for photo in ring(folder / "images", count=2).photos:
        rgba = np.full((SIZE[1], SIZE[0], 4), 90, np.uint8)
        rgba[:20, :, 3] = 0
        write_image(photo.path, rgba)
        write_image(folder / "beside" / f"used_{photo.name}", np.eye(SIZE[1], SIZE[0]) > 0)
        cv2.imwrite(str(folder / "beside" / f"depth_{photo.name}"), np.full((SIZE[1], SIZE[0]), 700, np.uint16))
        ignore = given.MaskFile(folder / "beside" / f"used_{photo.name}", "black")
        depth = given.DepthFile(folder / "beside" / f"depth_{photo.name}", 0.001)
        photos.append(replace(photo, ignore=ignore, depth=depth))
    path = folder / "transforms.json"
    nerfstudio.write(path, given.GivenCapture(tuple(photos), True, ()))
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ GL).tolist()
    path.write_text(json.dumps(content | {"from_na": True}))


def make_neus(folder: Path) -> None:
    capture = ring(folder / "image", count=2)
    views = [(photo.lens, photo.cam_from_world) for photo in capture.photos]
    neus.write_neus(folder / neus.FILE_NAME, views, capture.sphere)


def make_nerfpp(folder: Path) -> None:
    nerfpp.write(folder, ring(folder / "train" / "rgb", count=2))


def make_llff(folder: Path) -> None:
    capture = ring(folder / "images", MIDDLE, count=2)
    views = [(photo.lens, photo.cam_from_world) for photo in capture.photos]
    llff.write(folder / llff.FILE_NAME, views, np.tile([0.5, 2.0], (2, 1)))


def make_foundationpose(folder: Path) -> None:
    photos = ring(folder / "rgb", count=2).photos
    (folder / "mask").mkdir()
    for photo in photos:
        mask = np.zeros((48, 64), bool)
        mask[20:30, 25:40] = True
        write_image(folder / "mask" / photo.name, mask)
    foundationpose.write(
        folder, [foundationpose.ReferenceView(p.path.stem, p.lens, p.cam_from_world) for p in photos]
    )
    _write_depth(folder / "depth_enhanced", [photo.path.stem for photo in photos])


def make_onepose(folder: Path, capture=None, world_from_obj=None) -> None:
    """A raw sequence with its video, poses in ARKit's world, intrinsics that tremble, and the box."""
    capture = ring(folder.parent / f"{folder.name}_photos", count=3) if capture is None else capture
    world_from_obj = rigid(np.eye(3), np.array([0.3, -0.2, 0.5])) if world_from_obj is None else world_from_obj
    folder.mkdir(exist_ok=True)
    video = cv2.VideoWriter(str(folder / "Frames.m4v"), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE)
    rows, frames = ["# time, x, y, z, qw, qx, qy, qz"], ["# time, index, fx, fy, cx, cy"]
    for index, photo in enumerate(capture.photos):
        video.write(cv2.imread(str(photo.path)))
        world_from_cam = world_from_obj @ inverse(photo.cam_from_world) @ GL
        numbers = [0.1 * index, *world_from_cam[:3, 3], *quaternion_of(world_from_cam[:3, :3])]
        rows.append(", ".join(repr(float(v)) for v in numbers))
        tremor = (index - (len(capture.photos) - 1) / 2) * 0.5
        frames.append(f"{0.1 * index},{index},{70.0 + tremor},{72.0 - tremor},{30.5 + tremor},{24.5}")
    video.release()
    box = [*world_from_obj[:3, 3], 0.2, 0.1, 0.2, *quaternion_of(world_from_obj[:3, :3])]
    (folder / "ARposes.txt").write_text("\n".join(rows))
    (folder / "Frames.txt").write_text("\n".join(frames))
    (folder / "Box.txt").write_text(
        "# px, py, pz, ex, ey, ez, qw, qx, qy, qz\n" + ",".join(repr(float(v)) for v in box)
    )


def make_onepose_processed(folder: Path) -> None:
    make_frames(folder, poses="poses")
    (folder / "intrinsics.txt").rename(folder.parent / f"{folder.name}_k.txt")
    (folder / "intrin").mkdir()
    for photo in (folder / "color").iterdir():
        (folder / "intrin" / f"{photo.stem}.txt").write_text(text_of(K))
    np.savetxt(
        folder / "box3d_corners.txt", np.array(np.meshgrid([-0.1, 0.1], [-0.1, 0.1], [-0.1, 0.1])).reshape(3, 8).T
    )


def make_frames(folder: Path, poses: str = "pose", world_from_cam: bool = False) -> None:
    """One pose file a frame: cam_from_world, or its inverse."""
    capture = ring(folder / "color", count=2)
    (folder / poses).mkdir()
    (folder / "intrinsics.txt").write_text(text_of(K))
    for photo in capture.photos:
        pose = inverse(photo.cam_from_world) if world_from_cam else photo.cam_from_world
        (folder / poses / f"{photo.path.stem}.txt").write_text(text_of(pose))
    _write_depth(folder / "depth", [photo.path.stem for photo in capture.photos])


def _write_depth(folder: Path, stems: list[str]) -> None:
    folder.mkdir()
    for stem in stems:
        cv2.imwrite(str(folder / f"{stem}.png"), np.full((SIZE[1], SIZE[0]), 700, np.uint16))


def make_tum(folder: Path) -> None:
    """Three photos and two poses a hundredth of a second beside them; depth of the first."""
    capture = ring(folder / "rgb", count=3)
    (folder / "depth").mkdir()
    cv2.imwrite(str(folder / "depth" / "d.png"), np.full((48, 64), 10000, np.uint16))
    rows = []
    for index, photo in enumerate(capture.photos[:2]):
        pose = inverse(photo.cam_from_world)
        w, x, y, z = quaternion_of(pose[:3, :3])
        rows.append(" ".join(repr(float(v)) for v in (1305031102.0 + index + 0.01, *pose[:3, 3], x, y, z, w)))
    (folder / "groundtruth.txt").write_text("# ground truth\n" + "\n".join(rows))
    (folder / "rgb.txt").write_text("\n".join(f"{1305031102.0 + i} rgb/{i:06d}.png" for i in range(3)))
    (folder / "depth.txt").write_text("1305031102.0 depth/d.png\n")
    camera_json.write_camera(folder / "camera.json", LENS)


def make_record3d(folder: Path) -> None:
    """K of photos twice as large as those on disk."""
    poses = []
    for index, photo in enumerate(ring(folder / "rgb", count=2).photos):
        photo.path.rename(photo.path.with_name(f"{index}.png"))
        pose = inverse(photo.cam_from_world) @ GL
        w, x, y, z = quaternion_of(pose[:3, :3])
        poses.append([float(v) for v in (x, y, z, w, *pose[:3, 3])])
    k = [140.0, 0, 0, 0, 144.0, 0, 61.5, 49.5, 1.0]
    (folder / "metadata.json").write_text(json.dumps({"K": k, "w": 128, "h": 96, "poses": poses}))
    _write_depth(folder / "depth", ["0", "1"])


def make_keyframes(folder: Path) -> None:
    photos = ring(folder / "rgb", count=2).photos
    frames = {p.path.stem: {"world_from_cam": inverse(p.cam_from_world).tolist()} for p in photos}
    camera = {"width": 64, "height": 48, "fx": 70.0, "fy": 72.0, "cx": 30.5, "cy": 24.5}
    sphere = {"centre": [0.1, 0.2, 0.3], "radius": 0.2}
    (folder / "keyframes.json").write_text(json.dumps({"camera": camera, "frames": frames, "sphere": sphere}))
    _write_depth(folder / "depth", [photo.path.stem for photo in photos])


def make_bop(folder: Path) -> None:
    views = []
    for index, photo in enumerate(ring(folder / "rgb", count=2).photos):
        seen = np.ones((4, 4), bool)
        info = bop_write.visibility_of(seen, seen, None)
        instance = bop_scene.BopInstance(7, 0, photo.cam_from_world, info, None, None)
        views.append(bop_scene.BopView(index, photo.path, photo.lens, None, photo.cam_from_world, (instance,)))
    bop_write.write_scene(folder, views)


def make_bop_whole(folder: Path) -> None:
    """A dynamic onboarding sequence with masks and depth."""
    scene = folder / "obj_000007"
    scene.mkdir()
    make_bop(scene)
    _write_depth(scene / "depth", ["000000", "000001"])
    (scene / "mask_visib").mkdir()
    for index in range(2):
        write_image(scene / "mask_visib" / f"{index:06d}_000000.png", np.eye(SIZE[1], SIZE[0]) > 0)
    path = scene / "scene_camera.json"
    cameras = {key: camera | {"depth_scale": 0.1} for key, camera in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(cameras))


def make_split(folder: Path) -> None:
    (folder / "split.json").write_text(json.dumps({"5": {"reference": [0, 1], "test": [2, 3]}}))


def make_bop_lists(folder: Path) -> None:
    spin = bop_models.ContinuousSymmetry((0.0, 0.0, 1.0), (0.0, 0.002, 0.0))
    turn = rigid(np.diag([-1.0, -1.0, 1.0]), np.array([0.001, 0.0, 0.0]))
    model = bop_models.BopModel(3, 0.145, (-0.05, -0.04, -0.06), (0.1, 0.08, 0.12), (turn,), (spin,))
    bop_models.write_models(folder, [model])
    bop_targets.write_targets(folder / "targets.json", [bop_targets.BopTarget(2, 3, 10, 1)])
    mask = np.eye(5, dtype=bool)
    found = bop_targets.BopDetection(1, 2, 3, 0.5, (1.0, 2.0, 4.0, 6.0), 0.25, mask)
    bop_targets.write_detections(folder / "detections.json", [found])
    bop.write_results(folder / "results.csv", [bop.BopResult(1, 2, 3, 0.5, turn, 0.1)] * 2)


def read_bop_lists(folder: Path) -> None:
    bop_models.read_models(folder)
    bop_targets.read_targets(folder / "targets.json")
    bop_targets.read_detections(folder / "detections.json", masks=True)
    bop.read_results(folder / "results.csv")


def make_boxes(folder: Path) -> None:
    """The three forms of --boxes."""
    detection = {"scene_id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 20.5, 30], "score": 0.5}
    coco = {"images": [{"id": 1, "file_name": "rgb/0007.jpg"}], "annotations": [detection | {"image_id": 1}]}
    corners = {"boxes": {"0007.jpg": [1, 2, 21, 32], "8": [[0, 0, 5, 5], [1, 1, 6, 6]]}, "source": "a person"}
    for name, content in {"corners": corners, "detections": [detection] * 2, "coco": coco}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def read_box_files(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read, _ = boxes.read_boxes(path, ["0007.jpg", "0008.jpg"], category=2, scene=1)
        for x0, y0, x1, y1 in (box for listed in read.values() for box in listed):
            assert np.isfinite([x0, y0]).all() and x0 < x1 < 1e7 and y0 < y1 < 1e7


def make_official(folder: Path) -> None:
    old = {"bop19_average_recall": 0.5, "bop19_average_recall_vsd": 0.4, "bop19_average_time_per_image": -1.0}
    (folder / "scores_bop19.json").write_text(json.dumps(old))
    (folder / "scores_bop24.json").write_text(json.dumps({"bop24_mAP": 0.6, "bop24_average_time_per_image": 2.5}))


def read_official(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        figures = official.read_official(path)
        seconds = figures.pop("seconds_per_photo", 0.0)
        assert np.isfinite(seconds) and seconds >= 0 and all(0 <= figure <= 1 for figure in figures.values())


def make_dtu(root: Path, points: np.ndarray | None = None) -> None:
    """DTU's own truth of scan 5: everything within 100 mm observed, the table below."""
    points = np.random.default_rng(0).uniform(-1, 1, (9, 3)) if points is None else points
    (root / "Points" / "stl").mkdir(parents=True)
    (root / "ObsMask").mkdir()
    trimesh.PointCloud(points).export(root / "Points" / "stl" / "stl005_total.ply")
    seen = {"ObsMask": np.ones((21, 21, 21), np.uint8), "BB": [[-100.0] * 3, [100.0] * 3], "Res": 10.0}
    savemat(root / "ObsMask" / "ObsMask5_10.mat", seen, do_compression=True)
    savemat(root / "ObsMask" / "Plane5.mat", {"P": np.array([[0.0], [0], [1], [50]])})


def read_dtu(folder: Path) -> None:
    files = dtu.find_dtu(folder, "scan5")
    assert files is not None
    truth = dtu.read_dtu(files)
    assert np.isfinite(truth.stl).all() and np.isfinite(truth.plane).all() and truth.voxel > 0


def make_truth(folder: Path) -> None:
    photos = ring(folder / "photos", count=2).photos
    views = tuple(View(p.name, LENS.pinhole, p.cam_from_world) for p in photos)
    test = TruePose("t.png", LENS.pinhole, photos[0].cam_from_world, (1.0, 2.0, 30.0, 40.0), 0.75)
    turn, axis = rigid(np.diag([-1.0, -1.0, 1.0]), np.zeros(3)), ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    save_truth(folder, Truth(True, views, np.eye(4), "mesh.ply", 0.2, (test,), (turn,), (axis,)))


def read_truth(folder: Path) -> None:
    truth = load_truth(folder)
    if truth is None:
        return
    assert truth.diameter is None or truth.diameter > 0
    for one in (*truth.views, *truth.tests):
        assert min(one.camera.width, one.camera.height) > 0 and np.isfinite(one.camera.matrix).all()
    for pose in [*(v.cam_from_world for v in truth.views), *(t.cam_from_obj for t in truth.tests)]:
        assert np.isfinite(inverse(pose)).all()


def make_colmap(folder: Path, form: str = "bin") -> None:
    capture = ring(folder / "images", count=2)
    rng = np.random.default_rng(0)
    values = {"f": 70.0, "cx": 32.0, "cy": 24.0, "k1": 0.05}
    lens = Lens("SIMPLE_RADIAL", *SIZE, tuple(values[name] for name in PARAMETERS["SIMPLE_RADIAL"]))
    ids = np.arange(3)
    images = {
        index: colmap.ColmapImage(photo.name, 1, photo.cam_from_world, rng.uniform(0, 40, (3, 2)), ids)
        for index, photo in enumerate(capture.photos, 1)
    }
    points = colmap.ColmapPoints(ids, rng.normal(size=(3, 3)), np.full((3, 3), 9, np.uint8), np.ones(3))
    colmap.write_model(folder / "sparse" / "0", colmap.ColmapModel({1: lens}, images, points), form)


def make_colmap_text(folder: Path) -> None:
    make_colmap(folder, "txt")


Make = Callable[[Path], None]
Read = Callable[[Path], object]
FOLDERS: dict[str, tuple[Make, Read]] = {
    "nerfstudio": (make_nerfstudio, readers.read_capture),
    "nerfstudio whole": (make_nerfstudio_whole, readers.read_capture),
    "neus": (make_neus, readers.read_capture),
    "nerfpp": (make_nerfpp, readers.read_capture),
    "llff": (make_llff, readers.read_capture),
    "foundationpose": (make_foundationpose, readers.read_capture),
    "onepose raw": (make_onepose, readers.read_capture),
    "onepose processed": (make_onepose_processed, readers.read_capture),
    "frames": (make_frames, readers.read_capture),
    "tum": (make_tum, readers.read_capture),
    "record3d": (make_record3d, readers.read_capture),
    "keyframes": (make_keyframes, readers.read_capture),
    "bop": (make_bop, readers.read_capture),
    "bop whole": (make_bop_whole, readers.read_capture),
    "split of lm-o": (make_split, lmo_split.read_split),
    "bop lists": (make_bop_lists, read_bop_lists),
    "colmap binary": (make_colmap, readers.read_capture),
    "colmap text": (make_colmap_text, readers.read_capture),
    "boxes": (make_boxes, read_box_files),
    "official scores": (make_official, read_official),
    "truth of dtu": (make_dtu, read_dtu),
}
RECORDS: dict[str, tuple[Make, Read]] = {"truth.json": (make_truth, read_truth)}
"""Our own records that people write too."""
