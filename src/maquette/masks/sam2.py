"""SAM 2 through `transformers`: a box or clicks in one photo, and a memory that follows the object through others.

Weights come by a name on the hub (`facebook/sam2.1-hiera-tiny`) or from a local folder, in safetensors. The
preprocessing is ours: photos are stretched to a square, normalised with ImageNet's mean and deviation.

Deviates from the reference: its processors count pixels from whole numbers and add one half after scaling to
the square; our pixels have their centres at one half and are scaled as they are.
"""

from typing import TypeVar, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from transformers import PreTrainedModel, Sam2Model, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.utils import logging

from maquette.data.errors import InputError
from maquette.masks.imagenet import as_tensor, normalised
from maquette.masks.prompts import Click, Mark

OBJECT = 1
Model = TypeVar("Model", bound=PreTrainedModel)


class Sam2Segmenter:
    """One photo, one mark, one mask."""

    def __init__(self, model: Sam2Model) -> None:
        self._model = model.eval()
        self._side = _side_of(model)

    def segment(
        self, pixels: UInt8[np.ndarray, "height width 3"], mark: Mark
    ) -> tuple[Bool[np.ndarray, "height width"], float]:
        """The mask and the model's own estimate of its IoU. A lone click is answered by the best of three masks."""
        height, width = pixels.shape[:2]
        lone = mark.box is None and len(mark.clicks) == 1
        square = torch.tensor([self._side / width, self._side / height])
        inputs: dict[str, Tensor] = {}
        if mark.clicks:
            points = torch.tensor([[click.x, click.y] for click in mark.clicks]) * square - 0.5
            inputs["input_points"] = points[None, None]
            inputs["input_labels"] = torch.tensor([[[int(click.inside) for click in mark.clicks]]])
        if mark.box is not None:
            corners = torch.tensor(mark.box).reshape(2, 2) * square - 0.5
            inputs["input_boxes"] = corners.reshape(1, 1, 4)
        with torch.inference_mode():
            inputs["pixel_values"] = to_square(pixels, self._side)
            here = {name: value.to(self._model.device) for name, value in inputs.items()}
            answer = self._model(**here, multimask_output=lone)
        best = int(answer.iou_scores[0, 0].argmax())
        logits = answer.pred_masks[0, 0, best].float().cpu()
        return to_photo(logits, width, height), float(answer.iou_scores[0, 0, best])

    def segment_grid(
        self, pixels: UInt8[np.ndarray, "height width 3"], side: int
    ) -> tuple[Bool[np.ndarray, "height width"], float]:
        """Without a prompt: the mask of the highest score over side x side clicks; side 1 clicks the centre.

        This is DORec's baseline "SAM" (points_per_side = 1). Deviates: it does not say which of a click's
        masks it takes; this is the one that the model trusts most.
        """
        height, width = pixels.shape[:2]
        places = [((i + 0.5) / side * width, (j + 0.5) / side * height) for j in range(side) for i in range(side)]
        answers = [self.segment(pixels, Mark(None, (Click(x, y),))) for x, y in places]
        return max(answers, key=lambda answer: answer[1])


class Sam2Memory:
    """Photos one after the other; the object is found in each by what was remembered of it in those before.

    The memory is bounded: the conditioned photos, the last `num_maskmem` - 1 photos' masks and the last
    `max_object_pointers_in_encoder` - 1 object pointers (6 and 15 in the published models). What is older is
    dropped, and so is every photo as soon as it has been answered.
    """

    def __init__(self, model: Sam2VideoModel) -> None:
        self._model = model.eval()
        self._side = _side_of(model)
        self._kept = max(model.config.num_maskmem, model.config.max_object_pointers_in_encoder)
        device = model.device
        self._session = Sam2VideoInferenceSession(
            video_height=self._side,
            video_width=self._side,
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        self._object = self._session.obj_id_to_idx(OBJECT)
        self._next = 0

    def condition(
        self, pixels: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]
    ) -> None:
        """Remember a photo whose mask is known; it is never forgotten."""
        square = cv2.resize(mask.astype(np.float32), (self._side, self._side), interpolation=cv2.INTER_AREA)
        target = torch.from_numpy(square >= 0.5).float()[None, None]
        self._session.add_mask_inputs(self._object, self._next, target)
        self._session.obj_with_new_inputs = [OBJECT]
        self._forward(pixels)

    def follow(self, pixels: UInt8[np.ndarray, "height width 3"]) -> tuple[Bool[np.ndarray, "height width"], float]:
        """The object's mask in the next photo, and the probability that it is in sight."""
        height, width = pixels.shape[:2]
        logits, seen = self._forward(pixels)
        return to_photo(logits, width, height), seen

    @property
    def remembered(self) -> int:
        """Photos that the memory holds anything of."""
        outputs = self._session.output_dict_per_obj[self._object]
        return len(outputs["cond_frame_outputs"]) + len(outputs["non_cond_frame_outputs"])

    def _forward(self, pixels: UInt8[np.ndarray, "height width 3"]) -> tuple[Float[Tensor, "side side"], float]:
        index, session = self._next, self._session
        with torch.inference_mode():
            answer = self._model(
                inference_session=session,
                frame=to_square(pixels, self._side).to(self._model.device),
                frame_idx=index,
            )
        self._next += 1
        self._forget(index)
        assert answer.pred_masks is not None and answer.object_score_logits is not None
        return answer.pred_masks[0, 0].float().cpu(), float(answer.object_score_logits.flatten()[0].sigmoid())

    def _forget(self, index: int) -> None:
        session = self._session
        assert session.processed_frames is not None
        session.processed_frames.pop(index)
        session.mask_inputs_per_obj[self._object].pop(index, None)
        outputs = session.output_dict_per_obj[self._object]
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
            if index in outputs[kind]:
                outputs[kind][index].pop("high_res_masks", None)
        outputs["non_cond_frame_outputs"].pop(index - self._kept, None)
        session.frames_tracked_per_obj[self._object].pop(index - self._kept, None)


def load_segmenter(weights: str, device: torch.device) -> Sam2Segmenter:
    """SAM 2 for photos. Raises InputError where the weights are not to be had."""
    return Sam2Segmenter(_load(Sam2Model, weights, device))


def load_memory(weights: str, device: torch.device) -> Sam2Memory:
    """SAM 2 with its memory, empty. Raises InputError where the weights are not to be had."""
    return Sam2Memory(_load(Sam2VideoModel, weights, device))


def to_square(pixels: UInt8[np.ndarray, "height width 3"], side: int) -> Float[Tensor, "1 3 side side"]:
    """A photo as the model sees it: stretched to a square without aliasing, normalised."""
    image = as_tensor(pixels, torch.device("cpu"))
    return normalised(F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False))


def to_photo(logits: Float[Tensor, "side side"], width: int, height: int) -> Bool[np.ndarray, "height width"]:
    """The model's mask, at a quarter of the square's resolution, at the photo's own."""
    return (F.interpolate(logits[None, None], (height, width), mode="bilinear")[0, 0] > 0).numpy()


def _side_of(model: PreTrainedModel) -> int:
    return int(model.config.to_dict()["prompt_encoder_config"]["image_size"])


def _load(kind: type[Model], weights: str, device: torch.device) -> Model:
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        loaded = kind.from_pretrained(weights, output_loading_info=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"the SAM 2 weights {weights} cannot be had: {reason} Without a network, copy them from a machine "
            "that has one (config.json and model.safetensors) and give the folder as --masks.sam2-weights; without "
            "weights, --masks.segmenter grabcut needs none."
        ) from None
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
    model, info = cast(tuple[Model, dict[str, list[str]]], loaded)
    if info["missing_keys"]:
        raise InputError(
            f"{weights} does not hold a SAM 2 model: {len(info['missing_keys'])} tensors are missing, for instance "
            f"{sorted(info['missing_keys'])[0]}."
        )
    torch.nn.Module.to(model, device)
    return model
