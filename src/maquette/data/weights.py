"""Weights that somebody else trained: found as a file, in a folder or on the Hugging Face hub; tensors by name."""

import re
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from maquette.data.errors import InputError

FILES = ("model.safetensors", "pytorch_model.bin")
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours (0..1) that networks trained on ImageNet expect to be normalised by."""


def find_weights(name: str, option: str, example: str, otherwise: str) -> Path:
    """A file as given, the one in a folder, or from the hub: its cache first, then the network.

    `option` is what the person types to name the file, `example` a name on the hub, `otherwise` what does without.
    Raises InputError where there are none to be had.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        named = [path / file for file in FILES if (path / file).is_file()]
        found = named or sorted(file for kind in ("*.safetensors", "*.pth", "*.pt") for file in path.glob(kind))
        if not named and len(found) != 1:
            raise InputError(
                f"{path} holds {len(found)} files of weights; expected {' or '.join(FILES)}, or a single "
                f".safetensors or .pth. Name the file with {option}."
            )
        return found[0]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return _from_hub(name, option, otherwise)
    raise InputError(f"{option} {name} is neither a file nor a folder, nor a name like {example}; or {otherwise}.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A file's tensors by name: safetensors, or torch's own format, of which nothing but tensors is unpickled."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read as weights ({reason}). Copy or download it again.") from None
    nested = content.get("teacher", content.get("state_dict", content)) if isinstance(content, dict) else None
    if not isinstance(nested, dict) or not all(isinstance(value, Tensor) for value in nested.values()):
        raise InputError(f"{path} holds no state dict: expected tensors by name, got {type(content).__name__}.")
    return nested


def _from_hub(name: str, option: str, otherwise: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    reason = ""
    for local in (True, False):
        for file in FILES:
            try:
                return Path(hf_hub_download(name, file, local_files_only=local))
            except (LocalEntryNotFoundError, HFValidationError, EntryNotFoundError, OSError) as error:
                reason = str(error)
                # Where there is no network, asking for the next file would wait as long again.
                if not local and not isinstance(error, EntryNotFoundError):
                    break
    raise InputError(
        f"the weights {name} are not in the hub's cache and cannot be fetched "
        f"({shorten(reason, 160, placeholder=' ...')}). Where there is a network, download {FILES[0]} of {name} "
        f"from the Hugging Face hub, then name the file with {option}; or {otherwise}."
    )
