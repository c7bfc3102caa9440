"""Where training starts: at random, from the trunk that the package ships, from a ResNet18 that learnt ImageNet, or
from another trained estimator.

Two layouts of a ResNet18 are read: torchvision's and timm's (`layer1.0.conv1.weight`), and that of Hugging Face's
model classes (`resnet.encoder.stages.0.layers.0.layer.0.convolution.weight`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from maquette.data.checkpoints import load_tensors
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record
from maquette.data.progress import say
from maquette.data.weights import IMAGENET_DEVIATION, IMAGENET_MEAN, find_weights, read_tensors
from maquette.estimator.model import EstimatorRecord, own_weights
from maquette.estimator.networks import MASKS, MEAN, OUTPUTS, SPREAD, CorrespondenceNet
from maquette.estimator.trunk import fits_trunk, load_trunk

IMAGENET = "timm/resnet18.tv_in1k"
RESNET_WIDTH = 64
START_NAMES = ("auto", "random", "trunk", "imagenet")
_RENAMED = (
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.convolution\.", "stem."),
    (r"^embedder\.embedder\.normalization\.", "stem_norm."),
    (r"^encoder\.stages\.0\.", "down1."),
    (r"^encoder\.stages\.1\.", "down2."),
    (r"^encoder\.stages\.2\.", "down3."),
    (r"^encoder\.stages\.3\.", "down4."),
    (r"\.layers\.(\d)\.layer\.0\.convolution\.", r".\1.conv1."),
    (r"\.layers\.(\d)\.layer\.0\.normalization\.", r".\1.norm1."),
    (r"\.layers\.(\d)\.layer\.1\.convolution\.", r".\1.conv2."),
    (r"\.layers\.(\d)\.layer\.1\.normalization\.", r".\1.norm2."),
    (r"\.layers\.(\d)\.shortcut\.convolution\.", r".\1.skip.0."),
    (r"\.layers\.(\d)\.shortcut\.normalization\.", r".\1.skip.1."),
    (r"^conv1\.", "stem."),
    (r"^bn1\.", "stem_norm."),
    (r"^layer(\d)\.", r"down\1."),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.downsample\.", ".skip."),
)


def start_networks(
    network: CorrespondenceNet, keys: Sequence[nn.Module], records: Sequence[EstimatorRecord], start: str
) -> str:
    """Give untrained networks the weights that `start` names; what they are, in words.

    Raises InputError where what is asked for is not to be had, or is of another shape.
    """
    width = network.stem.out_channels
    if start == "trunk" or (start == "auto" and fits_trunk(network)):
        load_trunk(network, len(records))
        return "trunk"
    if start == "random" or (start == "auto" and width != RESNET_WIDTH):
        return "random"
    folder = _estimator_folder(start)
    if folder is not None:
        return _continue(network, keys, records, folder)
    if width != RESNET_WIDTH:
        raise InputError(
            f"the estimator's --start {start}: a ResNet18 has {RESNET_WIDTH} channels in its first level and this "
            f"network {width}; add --shape.width {RESNET_WIDTH}, or start from another estimator"
        )
    try:
        path = find_resnet(IMAGENET if start in ("auto", "imagenet") else start)
    except InputError as error:
        if start != "auto":
            raise
        say(f"estimator: starts at random ({error})")
        return "random"
    load_encoder(network, read_resnet(path))
    return "ImageNet" if start in ("auto", "imagenet") else start


def start_inputs(start: str, own: Path) -> dict[str, Path]:
    """The files that `start` names, as a stage's inputs. `own`: the estimator that this training replaces, which is
    another one afterwards and so says nothing of what it went on from."""
    folder = _estimator_folder(start)
    if folder is None:
        path = Path(start).expanduser()
        return {"start": path} if path.exists() and start not in START_NAMES else {}
    return {} if folder.resolve() == own.resolve() else {"start": folder / "networks.safetensors"}


def load_encoder(network: CorrespondenceNet, encoder: dict[str, Tensor]) -> None:
    """Take a ResNet18's weights (our names) for the encoder.

    Their colours are (c - mean) / deviation with ImageNet's figures and ours are not: the first layer's weights and
    its normalisation's running mean take up the difference, exactly but for the photo's border.
    """
    encoder = dict(encoder)
    deviation, mean = torch.tensor(IMAGENET_DEVIATION), torch.tensor(IMAGENET_MEAN)
    weight = encoder["stem.weight"]
    shift = (weight.sum((2, 3)) * ((MEAN - mean) / deviation)).sum(1)
    encoder["stem.weight"] = weight * (SPREAD / deviation)[:, None, None]
    encoder["stem_norm.running_mean"] = encoder["stem_norm.running_mean"] - shift
    state = network.state_dict()
    wanted = {name for name in state if name.startswith(("stem", "down"))}
    wrong = {n for n in wanted ^ set(encoder) if not n.endswith("num_batches_tracked")}
    wrong |= {n for n in wanted & set(encoder) if state[n].shape != encoder[n].shape}
    if wrong:
        raise InputError(
            f"these are not a ResNet18's weights: {len(wrong)} tensors are missing, unknown or of another shape "
            f"({', '.join(sorted(wrong)[:4])}). Those of {IMAGENET} on the Hugging Face hub are."
        )
    network.load_state_dict(state | encoder)


def read_resnet(path: Path) -> dict[str, Tensor]:
    """A file's tensors under our names, the classifier left out. Raises InputError where it is no ResNet18."""
    found = under_our_names(read_tensors(path))
    if "stem.weight" not in found or "stem_norm.running_mean" not in found:
        raise InputError(f"{path} is no ResNet18: it has no first layer under a name known here")
    return found


def under_our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ResNet18's tensors in float32, without its classifier."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if not name.startswith(("fc.", "classifier.")):
            found[name] = tensor if tensor.dtype == torch.int64 else tensor.float()
    return found


def find_resnet(name: str) -> Path:
    """A ResNet18's file: as given, in the folder given, or from the hub."""
    return find_weights(name, "the estimator's --start", IMAGENET, "--start random")


def _estimator_folder(start: str) -> Path | None:
    """The folder with networks.safetensors that `start` names: a workspace, or an estimator."""
    for folder in (Path(start).expanduser() / "estimator", Path(start).expanduser()):
        if (folder / "networks.safetensors").is_file():
            return folder
    return None


def _continue(
    network: CorrespondenceNet, keys: Sequence[nn.Module], records: Sequence[EstimatorRecord], folder: Path
) -> str:
    """Take a trained estimator's weights: for objects it knows all of them, for new ones the shared ones."""
    weights, _ = load_tensors(folder / "networks.safetensors")
    before = [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
    known = [read_record(p / "estimator.json", EstimatorRecord) for p in before if (p / "estimator.json").exists()]
    state, taken = network.state_dict(), 0
    trunk = {k.removeprefix("network."): v for k, v in weights.items() if k.startswith("network.")}
    for name in state:
        if not name.startswith("head.") and (name not in trunk or trunk[name].shape != state[name].shape):
            raise InputError(
                f"the estimator's --start {folder}: its network has another shape than this one ({name}); use its "
                "--shape.width and --shape.decoder"
            )
    state |= {name: value for name, value in trunk.items() if not name.startswith("head.")}
    for idx, record in enumerate(records):
        same = next((old for old in known if _same_surface(old, record)), None)
        donor = same or (known[0] if known else None)
        if donor is None:
            continue
        head, of_keys = own_weights(weights, donor.shared)
        rows = OUTPUTS if same is not None else MASKS
        for name in ("head.weight", "head.bias"):
            state[name][idx * OUTPUTS : idx * OUTPUTS + rows] = head[name][:rows]
        if same is not None:
            keys[idx].load_state_dict(of_keys)
            taken += 1
    network.load_state_dict(state)
    return f"{folder}, which knows {taken} of {len(records)} object{'s' if len(records) > 1 else ''}"


def _same_surface(a: EstimatorRecord, b: EstimatorRecord) -> bool:
    """The same mesh, by its measures; and the same kind of keys."""
    ours, theirs = [(*r.centre, r.radius, r.diameter) for r in (a, b)]
    alike = all(abs(x - y) <= 1e-6 * a.radius for x, y in zip(ours, theirs, strict=True))
    sizes = [(r.shape.keys, r.shape.key_width, r.shape.key_levels) for r in (a, b)]
    return alike and sizes[0] == sizes[1]
