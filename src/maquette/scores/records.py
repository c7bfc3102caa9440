"""What `scores` is asked and what it writes: figures under fixed names, their grounds, each photo's own."""

from dataclasses import dataclass
from pathlib import Path

FIGURES = (
    "mask_iou",
    "mask_iou_min",
    "mean_fg_bg_iou",
    "boundary_f",
    "psnr",
    "psnr_object",
    "ssim",
    "ssim_object",
    "chamfer_diameter",
    "chamfer_diameter_all",
    "chamfer_diameter_unseen",
    "chamfer_diameter_icp",
    "chamfer_world",
    "accuracy_diameter",
    "completeness_diameter",
    "accuracy_world",
    "completeness_world",
    "chamfer_forward_mm",
    "chamfer_total_mm",
    "fscore_1pct",
    "normal_consistency",
    "ar",
    "ar_vsd_no_sensor",
    "ar_mssd",
    "ar_mspd",
    "add_recall_10",
    "adds_recall_10",
    "ad_recall_10",
    "add_auc",
    "adds_auc",
    "ad_auc",
    "proj_recall_5px",
    "cus_recall_50",
    "recall_5deg_5pct",
    "median_rotation_deg",
    "median_translation_diameter",
    "confidence_error",
    "count",
)
"""In this order; `seconds_<stage>` follow. A figure whose truth is unknown is left out."""


@dataclass(frozen=True)
class ScoresConfig:
    """What to score, and against what."""

    name: str = "default"
    """The scores are written to scores/NAME.json and NAME.md."""
    poses: str | None = None
    """Which poses/NAME to score; by default `default`, where there is one."""
    truth: Path | None = None
    """A workspace whose cameras are the truth, paired by file name."""
    photos: tuple[Path, str] | None = None
    """FILE GROUP: score the poses of these photos only; FILE holds {"frames": {GROUP: [numbers or names]}}."""
    diameter: float | None = None
    """The object's real diameter in metres, where the truth has no mesh."""
    diameter_unscaled: float | None = None
    """The same in the unit of the cameras of --truth, where nobody knows metres: fractions of it can be scored."""
    metric_from: Path | None = None
    """Cameras in metres (keyframes.json, a COLMAP model, a metric workspace) of photos that the truth knows:
    they give the truth its scale."""
    ball: bool = False
    """The object is a ball: tell the sphere that fits its surface best, and how far the surface is off it."""
    points: int = 100_000
    """Points drawn on each surface."""
    seed: int = 0


@dataclass(frozen=True)
class PhotoScore:
    """One rendered photo; None where its truth is unknown."""

    photo: str
    mask_iou: float | None
    mean_fg_bg_iou: float | None
    boundary_f: float | None
    psnr: float | None
    psnr_object: float | None
    ssim: float | None
    ssim_object: float | None


@dataclass(frozen=True)
class TargetScore:
    """One photo's pose; None where nothing was estimated, or where no length is known in metres."""

    photo: str
    estimated: bool
    add_diameter: float | None = None
    adds_diameter: float | None = None
    rotation_deg: float | None = None
    translation_diameter: float | None = None


@dataclass(frozen=True)
class Scores:
    """scores/NAME.json: `figures` lie at the top of the file, beside `notes`, `photos` and `targets`."""

    figures: dict[str, float | int]
    notes: tuple[str, ...]
    photos: tuple[PhotoScore, ...] = ()
    targets: tuple[TargetScore, ...] = ()

    def plain(self) -> dict[str, object]:
        """As it is written: fractions, figures in their order."""
        rest = {"notes": self.notes, "photos": self.photos, "targets": self.targets}
        return {**self.figures, **rest}
