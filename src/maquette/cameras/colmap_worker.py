"""COLMAP in a process of its own: `python -m maquette.cameras.colmap_worker REQUEST.json`.

Nothing but pycolmap, numpy and the standard library is imported here: in one process with Pillow it corrupts
memory, and its crashes, threads and memory stay outside ours. The request is the JSON of `cameras.sfm.Request`.
Progress goes to stdout, one JSON object a line; the model is written as COLMAP's binary files. The process ends
with its parent: it watches its standard input.
"""

import json
import os
import shutil
import sys
import threading
from pathlib import Path

CHUNK_PHOTOS = 4
CHUNK_PAIRS = 128
LOOK_FEATURES = 512
PHOTOS_FOR_PRINCIPAL_POINT = 12
# Where the second model lies, beside the first.
ADJUSTED = "adjusted"
# How far points may miss their features in one round of adjustment after the other, in pixels.
ROUNDS = (12.0, 4.0, 4.0)


def main() -> int:
    """Features, matches, then mapping or, where poses are given, triangulation."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import pycolmap

    request = json.loads(Path(sys.argv[1]).read_text())
    pycolmap.logging.minloglevel = int(pycolmap.logging.WARNING.value)
    pycolmap.set_random_seed(request["seed"])
    _features(pycolmap, request)
    _matches(pycolmap, request)
    output = Path(request["output"])
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    if request["poses"] is None:
        _map(pycolmap, request, output)
    else:
        _triangulate(pycolmap, request, output)
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _tell(step: str, done: int, total: int) -> None:
    print(json.dumps({"step": step, "done": done, "total": total}), flush=True)


def _features(pycolmap, request: dict) -> None:
    """SIFT of every photo that has none in the database yet; one COLMAP camera per entry of `cameras`."""
    path = Path(request["database"])
    with pycolmap.Database.open(path) as database:
        if database.num_cameras() == 0:
            for camera_idx, given in enumerate(request["cameras"]):
                camera = pycolmap.Camera(
                    camera_id=camera_idx + 1,
                    model=given["model"],
                    width=given["width"],
                    height=given["height"],
                    params=given["params"],
                    has_prior_focal_length=given["focal_known"],
                )
                database.write_camera(camera, use_camera_id=True)
    options = pycolmap.FeatureExtractionOptions(
        max_image_size=request["max_dimension"], use_gpu=False, num_threads=request["threads"]
    )
    options.sift.max_num_features = request["max_features"]
    options.sift.first_octave = request["first_octave"]
    total, done = len(request["photos"]), 0
    for camera_idx in range(len(request["cameras"])):
        names = [photo["name"] for photo in request["photos"] if photo["camera"] == camera_idx]
        reader = pycolmap.ImageReaderOptions(existing_camera_id=camera_idx + 1)
        if request["masks"] is not None:
            reader.mask_path = request["masks"]
        for start in range(0, len(names), CHUNK_PHOTOS):
            chunk = names[start : start + CHUNK_PHOTOS]
            pycolmap.extract_features(
                path,
                request["images"],
                image_names=chunk,
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=options,
                device=pycolmap.Device.cpu,
            )
            done += len(chunk)
            _tell("features", done, total)


def _matches(pycolmap, request: dict) -> None:
    """Matches, geometrically verified, of the pairs asked for; pairs already in the database are skipped."""
    names = [photo["name"] for photo in request["photos"]]
    matching = pycolmap.FeatureMatchingOptions(use_gpu=False, num_threads=request["threads"])
    matching.max_num_matches = request["max_features"]
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = request["seed"]
    listed = Path(request["database"]).with_name("pairs.txt")
    pairs = _pairs_by_look(pycolmap, request) if request["pairs"] is None else request["pairs"]
    for start in range(0, len(pairs), CHUNK_PAIRS):
        chunk = pairs[start : start + CHUNK_PAIRS]
        listed.write_text("".join(f"{names[a]} {names[b]}\n" for a, b in chunk))
        pycolmap.match_image_pairs(
            request["database"],
            matching_options=matching,
            pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed),
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )
        _tell("matches", start + len(chunk), len(pairs))


def _pairs_by_look(pycolmap, request: dict) -> tuple[tuple[int, int], ...]:
    """Pairs of photos that share features, by the largest of each."""
    from maquette.cameras.pairs import largest, pairs_by_look

    descriptors = []
    with pycolmap.Database.open(request["database"]) as database:
        for photo in request["photos"]:
            image_id = database.read_image_with_name(photo["name"]).image_id
            axes = database.read_keypoints(image_id)[:, 2:6].reshape(-1, 2, 2)
            scales = abs(axes[:, 0, 0] * axes[:, 1, 1] - axes[:, 0, 1] * axes[:, 1, 0])
            descriptors.append(database.read_descriptors(image_id).data[largest(scales, LOOK_FEATURES)])
    return pairs_by_look(descriptors, request["partners"], request["neighbours"])


def _options(pycolmap, request: dict):
    options = pycolmap.IncrementalPipelineOptions(
        min_model_size=3,
        max_num_models=4,
        num_threads=request["threads"],
        random_seed=request["seed"],
        extract_colors=False,
    )
    options.triangulation.random_seed = request["seed"]
    options.mapper.random_seed = request["seed"]
    if request["fixed"]:
        options.ba_refine_focal_length = False
        options.ba_refine_extra_params = False
        options.mapper.abs_pose_refine_focal_length = False
        options.mapper.abs_pose_refine_extra_params = False
    return options


def _map(pycolmap, request: dict, output: Path) -> None:
    """Incremental SfM; the model with most photos is written, none where nothing was built."""
    total, registered = len(request["photos"]), [2]

    def next_photo() -> None:
        registered[0] += 1
        _tell("mapping", min(registered[0], total), total)

    scratch = output / "models"
    scratch.mkdir()
    models = pycolmap.incremental_mapping(
        request["database"], request["images"], scratch, _options(pycolmap, request), next_image_callback=next_photo
    )
    if models:
        best = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
        if not request["fixed"] and best.num_reg_images() >= PHOTOS_FOR_PRINCIPAL_POINT:
            _refine_principal_point(pycolmap, best, request["threads"])
        best.write_binary(output)


def _refine_principal_point(pycolmap, model, threads: int) -> None:
    """A last adjustment in which the principal point is free too: safe once many photos agree."""
    options = pycolmap.BundleAdjustmentOptions(refine_principal_point=True, print_summary=False)
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.solver_options.max_num_iterations = 15
    options.ceres.solver_options.function_tolerance = 1e-4
    options.ceres.solver_options.num_threads = threads
    pycolmap.bundle_adjustment(model, options)


def _triangulate(pycolmap, request: dict, output: Path) -> None:
    """Points from given poses, which stay as they are; beside them, where asked for, poses that fit the photos."""
    _tell("triangulation", 0, 1)
    model = _triangulated(pycolmap, request, request["poses"], output)
    model.write_binary(output)
    limit = request["adjust_above"]
    if limit is None or (model.num_points3D() > 0 and model.compute_mean_reprojection_error() <= limit):
        return
    folder = output / ADJUSTED
    folder.mkdir()
    poses = request["poses"]
    for done, most in enumerate(ROUNDS):
        model = _triangulated(pycolmap, request, poses, folder, most)
        if model.num_points3D() == 0:
            shutil.rmtree(folder)
            return
        _adjust(pycolmap, model, request["threads"])
        by_name = {image.name: image for image in model.images.values()}
        poses = [by_name[photo["name"]].cam_from_world().matrix() for photo in request["photos"]]
        _tell("adjusting", done + 1, len(ROUNDS))
    _triangulated(pycolmap, request, poses, folder).write_binary(folder)


def _adjust(pycolmap, model, threads: int) -> None:
    """Bundle adjustment of poses and points; cameras keep their parameters."""
    options = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=False, refine_principal_point=False, refine_extra_params=False, print_summary=False
    )
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.solver_options.max_num_iterations = 50
    options.ceres.solver_options.num_threads = threads
    pycolmap.bundle_adjustment(model, options)


def _triangulated(pycolmap, request: dict, poses, folder: Path, most: float | None = None):
    """Points from poses that stay as they are; `most`: pixels by which they may miss their features."""
    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(request["database"]) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        for camera in database.read_all_cameras():
            model.add_camera_with_trivial_rig(camera)
    for photo, pose in zip(request["photos"], poses, strict=True):
        image = pycolmap.Image(name=photo["name"], image_id=ids[photo["name"]], camera_id=photo["camera"] + 1)
        cam_from_world = pycolmap.Rigid3d([row[:4] for row in pose[:3]])
        model.add_image_with_trivial_frame(image, cam_from_world)
    options = _options(pycolmap, request)
    if most is not None:
        options.mapper.filter_max_reproj_error = most
        options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = most
    return pycolmap.triangulate_points(model, request["database"], request["images"], folder, True, options)


if __name__ == "__main__":
    sys.exit(main())
