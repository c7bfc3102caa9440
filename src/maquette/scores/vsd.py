"""Visible surface discrepancy and the overlap of silhouettes, on rendered distance images.

| symbol | meaning |
|---|---|
| D_g, D_e | distance from the camera's centre to the model in the true and the estimated pose, 0 where it is not |
| D_s | the same of the scene, from a depth sensor, 0 where it did not measure |
| V_g, V_e | pixels where the model is visible |
| delta | tolerance of visibility |
| tau | tolerance of distance, a fraction of the diameter d |

VSD(tau) = (#{V_g and V_e: |D_g - D_e| / d >= tau} + #{V_g xor V_e}) / #{V_g or V_e}; 1 where nothing is visible.
Visibility is BOP'19's: where the sensor did not measure, the model counts as visible.
Source: Hodan et al., BOP Challenge 2020 on 6D Object Localization, section 2.2.
"""

import numpy as np
from jaxtyping import Bool, Float

TAUS = 0.05 * np.arange(1, 11)
DELTA, DELTA_ITODD = 0.015, 0.005
"""Metres, as BOP has it for all other data sets and for ITODD."""


def visible(
    model: Float[np.ndarray, "height width"], scene: Float[np.ndarray, "height width"], delta: float = DELTA
) -> Bool[np.ndarray, "height width"]:
    """Where the model is and nothing measured stands before it."""
    return (model > 0) & ((model - scene <= delta) | (scene == 0))


def vsd(
    estimated: Float[np.ndarray, "height width"],
    true: Float[np.ndarray, "height width"],
    scene: Float[np.ndarray, "height width"],
    diameter: float,
    delta: float = DELTA,
    taus: Float[np.ndarray, "tau"] = TAUS,
) -> Float[np.ndarray, "tau"]:
    """One error per tau, from D_e, D_g and D_s in one unit with the diameter and delta."""
    visible_g = visible(true, scene, delta)
    # What is seen of the true pose is also seen of the estimate that covers it.
    visible_e = visible(estimated, scene, delta) | (visible_g & (estimated > 0))
    both, either = visible_g & visible_e, np.count_nonzero(visible_g | visible_e)
    if either == 0:
        return np.ones(len(taus))
    off = np.abs(true[both] - estimated[both]) / diameter
    beyond = (off[None] >= taus[:, None]).sum(1)
    return (beyond + either - np.count_nonzero(both)) / either


def cus(estimated: Float[np.ndarray, "height width"], true: Float[np.ndarray, "height width"]) -> float:
    """Complement over union of the whole silhouettes: 1 - IoU of D_e > 0 and D_g > 0; 1 where there are none."""
    either = np.count_nonzero((estimated > 0) | (true > 0))
    return 1.0 - np.count_nonzero((estimated > 0) & (true > 0)) / either if either else 1.0
