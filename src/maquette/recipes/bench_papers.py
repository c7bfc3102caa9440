"""What the papers print, under our keys: to stand beside ours, never to be mixed with it.

NeuSurfEmb: arXiv 2407.12207, without its Chamfer distances, of which we have no figures. DORec: arXiv 2310.11092,
Tables I to VII and X; its Chamfer distance has neither unit nor definition in print, and stands beside ours in
radii of the object sphere (`chamfer_sphere`), the likeliest.
"""

from collections.abc import Mapping

Printed = tuple[tuple[str, Mapping[str, float]], ...]


def _dorec(methods: Mapping[str, tuple[float | None, float | None]]) -> Printed:
    """Rows of (mIoU, Chamfer distance); None where the paper prints none."""
    named = ("mask_iou", "chamfer_sphere")
    return tuple(
        (method, {key: value for key, value in zip(named, pair, strict=True) if value is not None})
        for method, pair in methods.items()
    )


PAPERS: Mapping[str, Printed] = {
    "LM-O": (
        ("NeuSurfEmb, RGB, eight objects, found boxes", {"ar": 0.554}),
        ("NeuSurfEmb, RGB-D, eight objects, found boxes", {"ar_rgbd": 0.666}),
    ),
    "BlendedMVS": _dorec(
        {
            "DORec": (0.872, 0.113),
            "NeuS with SAM's masks": (0.824, 0.187),
            "NeuS with DINO's masks": (0.773, 0.189),
            "NeuS": (0.571, 0.387),
            "SemanticNeRF with DINO's masks": (0.745, 0.188),
            "DINO co-segmentation": (0.772, None),
            "SAM": (0.577, None),
        }
    ),
    "Tanks and Temples": _dorec(
        {
            "DORec": (0.946, 0.054),
            "NeuS with SAM's masks": (0.603, 0.081),
            "NeuS with DINO's masks": (0.838, 0.086),
            "NeuS": (0.558, 0.105),
            "SemanticNeRF with DINO's masks": (0.916, 0.079),
            "DINO co-segmentation": (0.890, None),
            "SAM": (0.603, None),
        }
    ),
    "DTU": _dorec(
        {
            "DORec": (0.971, 0.155),
            "NeuS with SAM's masks": (0.949, 0.191),
            "NeuS with DINO's masks": (0.861, 0.250),
            "NeuS": (0.792, 0.348),
            "SemanticNeRF with DINO's masks": (0.887, 0.349),
            "DINO co-segmentation": (0.900, None),
            "SAM": (0.936, None),
        }
    ),
    "OnePose": _dorec(
        {
            "DORec": (0.961, None),
            "NeuS with SAM's masks": (0.932, None),
            "NeuS with DINO's masks": (0.807, None),
            "NeuS": (0.397, None),
            "SemanticNeRF with DINO's masks": (0.826, None),
            "DFF": (0.862, None),
            "DINO co-segmentation": (0.840, None),
            "SAM": (0.765, None),
        }
    ),
    "YCB-Video": _dorec(
        {
            "DORec": (0.942, 0.155),
            "NeuS with SAM's masks": (0.855, 0.177),
            "NeuS with DINO's masks": (0.623, 0.188),
            "NeuS": (0.492, 0.219),
            "SemanticNeRF with DINO's masks": (0.703, 0.193),
            "DFF": (0.812, None),
            "DINO co-segmentation": (0.672, None),
            "SAM": (0.770, None),
        }
    ),
    "Real captures": (
        *_dorec({"DORec": (0.978, None), "NeuS with SAM's masks": (0.926, None)}),
        ("NeuSurfEmb, objects not occluded, at most", {"ad_recall_10": 0.982}),
    ),
}

SCENES: Mapping[str, Mapping[str, Mapping[str, tuple[float, ...]]]] = {
    "BlendedMVS": {
        "mask_iou": {
            "DORec": (0.784, 0.879, 0.964, 0.862),
            "NeuS with SAM's masks": (0.875, 0.869, 0.683, 0.867),
            "NeuS with DINO's masks": (0.643, 0.720, 0.879, 0.849),
            "NeuS": (0.772, 0.523, 0.475, 0.512),
            "SemanticNeRF with DINO's masks": (0.643, 0.720, 0.879, 0.738),
            "DINO co-segmentation": (0.595, 0.830, 0.843, 0.819),
            "SAM": (0.614, 0.570, 0.437, 0.686),
        },
        "chamfer_sphere": {
            "DORec": (0.068, 0.090, 0.170, 0.125),
            "NeuS with SAM's masks": (0.072, 0.117, 0.451, 0.108),
            "NeuS with DINO's masks": (0.140, 0.122, 0.339, 0.156),
            "NeuS": (0.073, 0.161, 1.075, 0.240),
            "SemanticNeRF with DINO's masks": (0.093, 0.129, 0.336, 0.192),
        },
    },
    "OnePose": {
        "mask_iou": {
            "DORec": (0.979, 0.958, 0.947),
            "NeuS with SAM's masks": (0.955, 0.945, 0.896),
            "NeuS with DINO's masks": (0.783, 0.801, 0.838),
            "NeuS": (0.354, 0.293, 0.543),
            "SemanticNeRF with DINO's masks": (0.912, 0.665, 0.900),
            "DFF": (0.869, 0.823, 0.894),
            "DINO co-segmentation": (0.911, 0.724, 0.886),
            "SAM": (0.612, 0.796, 0.888),
        },
    },
    "YCB-Video": {
        "mask_iou": {
            "DORec": (0.955, 0.926, 0.920, 0.920, 0.930, 0.961),
            "NeuS with SAM's masks": (0.952, 0.489, 0.911, 0.927, 0.935, 0.917),
            "NeuS with DINO's masks": (0.591, 0.451, 0.567, 0.596, 0.858, 0.673),
            "NeuS": (0.353, 0.551, 0.500, 0.576, 0.408, 0.561),
            "SemanticNeRF with DINO's masks": (0.662, 0.746, 0.749, 0.533, 0.806, 0.723),
            "DFF": (0.707, 0.938, 0.774, 0.682, 0.895, 0.878),
            "DINO co-segmentation": (0.605, 0.702, 0.741, 0.525, 0.763, 0.695),
            "SAM": (0.743, 0.843, 0.821, 0.769, 0.599, 0.845),
        },
        "chamfer_sphere": {
            "DORec": (0.111, 0.086, 0.037, 0.298, 0.064, 0.336),
            "NeuS with SAM's masks": (0.135, 0.131, 0.041, 0.334, 0.063, 0.355),
            "NeuS with DINO's masks": (0.153, 0.170, 0.082, 0.302, 0.057, 0.352),
            "NeuS": (0.120, 0.098, 0.059, 0.326, 0.085, 0.623),
            "SemanticNeRF with DINO's masks": (0.133, 0.114, 0.036, 0.319, 0.069, 0.489),
        },
    },
    "Real captures": {"mask_iou": {"DORec": (0.972, 0.984), "NeuS with SAM's masks": (0.903, 0.948)}},
}
"""Tables II, VII and X scene by scene, in DORec's numbering, which it does not tie to names (OnePose: the order of
Table VIII)."""

NOTES: Mapping[str, str] = {
    "BlendedMVS": "DORec prints the same mIoU of SemanticNeRF and of NeuS with DINO's masks for scenes 1 to 3.",
    "YCB-Video": "DORec prints a mean mIoU of 0.942, and a mean Chamfer distance of 0.188 of NeuS with DINO's "
    "masks; what it prints by scene has the means 0.935 and 0.186.",
    "Real captures": "NeuSurfEmb's objects are its own, other ones than DORec's.",
}

ABLATIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "strategy": (
        "Table III, mIoU of two scenes",
        {"s0": "0.562 / 0.642", "s1": "0.763 / 0.705", "s2": "0.967 / 0.319", "s3": "0.966 / 0.958"},
    ),
    "sphere": (
        "Table IV, mIoU and Chamfer distance",
        {
            "as located": "0.920, 0.227",
            "scale 0.9": "0.924, 0.244",
            "scale 1.2": "0.920, 0.206",
            "offset 5 %": "0.918, 0.230",
            "offset 10 %": "0.922, 0.239",
        },
    ),
    "foreground": (
        "Table V, mIoU of BlendedMVS, mean",
        {"with L_fg": "0.872", "without L_fg": "0.813"},
    ),
    "noise": (
        "Table VI, mIoU",
        {
            "no noise": "0.947",
            "masks 5 %": "0.946",
            "masks 10 %": "0.942",
            "labels 5 %": "0.951",
            "labels 10 %": "0.954",
        },
    ),
}
