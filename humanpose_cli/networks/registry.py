"""Which weights there are: shipped with the package, offered by their owners, and the user's own.

Shipped ones were trained by `hpc train` on synthetic people; their headers tell how. Those of others are fetched from
where their owners keep them, only when the user asks, and checked against the digest in this table.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from humanpose_cli.errors import InputError, UnavailableError
from humanpose_cli.io.atomic import ensure_folder, write_bytes
from humanpose_cli.networks.weights_file import digest_of

__all__ = ["BEST", "WEIGHTS", "WeightsEntry", "find_weights", "shipped_weights", "weights_folder"]

BEST = "best.safetensors"
"""What a run's best weights are called."""

_PACKAGE = Path(__file__).parent.parent
_TORCHVISION = "https://download.pytorch.org/models/"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/"
_PATIENCE = 30  # seconds without a byte


@dataclass(frozen=True)
class WeightsEntry:
    """One file of weights.

    name    what commands call it
    about   one line
    file    its name in the folder of downloads; of shipped ones, its place in the package
    digest  SHA-256 in hexadecimal digits; of torchvision's, as many of the first ones as the file's own name tells;
            empty where the owner publishes none
    url     where its owner keeps it; empty for shipped ones
    licence of the weights
    """

    name: str
    about: str
    file: str
    digest: str
    url: str = ""
    licence: str = "Apache-2.0"

    @property
    def shipped(self) -> bool:
        """Whether it came with the package."""
        return not self.url

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return _PACKAGE / self.file if self.shipped else weights_folder() / self.file

    def verify(self) -> None:
        """InputError where the file differs from the table, UnavailableError where there is none."""
        if not self.path.is_file():
            remedy = "reinstall humanpose-cli" if self.shipped else f"hpc weights fetch {self.name}"
            raise UnavailableError(self.name, "is not here", expected=str(self.path), remedy=remedy)
        _check(self, digest_of(self.path), str(self.path))

    def fetch(self) -> Path:
        """Download it, unless it is here and whole; the file appears whole or not at all.

        UnavailableError where the owner's server cannot be reached, InputError where it sends something else.
        """
        if self.path.is_file():
            self.verify()
            return self.path
        if self.shipped:
            raise UnavailableError(self.name, "is missing from the package", remedy="reinstall humanpose-cli")
        try:
            with urllib.request.urlopen(self.url, timeout=_PATIENCE) as answer:
                content = answer.read()
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(
                self.url, f"cannot be fetched ({reason})", remedy=f"download it elsewhere to {self.path}"
            ) from error
        ensure_folder(self.path.parent)
        partial = self.path.with_name(self.path.name + ".unchecked")
        write_bytes(partial, content)
        try:
            _check(self, digest_of(partial), self.url)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
        return self.path


def _check(entry: WeightsEntry, digest: str, where: str) -> None:
    if not digest.startswith(entry.digest):
        remedy = "reinstall humanpose-cli" if entry.shipped else f"remove it, then hpc weights fetch {entry.name}"
        raise InputError(
            where, "is damaged or another file", expected=f"SHA-256 {entry.digest}…", got=digest, remedy=remedy
        )


def _torchvision(name: str, about: str, file: str) -> WeightsEntry:
    digest = file.rsplit("-", 1)[1].removesuffix(".pth")
    return WeightsEntry(name, about, file, digest, _TORCHVISION + file, "BSD-3-Clause; see ImageNet's terms")


_ENTRIES = (
    WeightsEntry(
        "segmenter",
        "a person's picture, and what the detector says, to 12 body parts",
        "networks/data/segmenter.safetensors",
        "71b49353308a2fc6684ba1a2a1d569b2a97fa171119c3d214eda5fd88230780a",
    ),
    WeightsEntry(
        "nbf-proxy",
        "body parts and what the detector says to shape, pose and how sure they are",
        "networks/data/nbf_proxy.safetensors",
        "53be963d0ef557ca931606ff7a7fc6fed94c964005551810b93a6f8378f0be51",
    ),
    WeightsEntry(
        "nbf-parts",
        "12 body parts to shape and pose",
        "networks/data/nbf_parts.safetensors",
        "8fcbc220a2821804def93873797b765f4c751b39fa4a6ffab58367eadb533950",
    ),
    WeightsEntry(
        "warp3d",
        "a person's picture, their pose and another one to the person in that pose, 128 pixels",
        "networks/data/warp3d.safetensors",
        "61e497f1be288b827a8fee0d53e5e1312c95810da9dfe97efc8f4e8aca1d6e35",
    ),
    WeightsEntry(
        "depth-correction",
        "corrects the detector's depth where no body network does",
        "optimisation/data/depth_correction.safetensors",
        "e24bf37697741fc37fe1b7aefd72ea69b476d172f4af6e7d8786ac3e7e9258a0",
    ),
    _torchvision("imagenet-resnet18", "backbone", "resnet18-f37072fd.pth"),
    _torchvision("imagenet-resnet50", "backbone of the paper's body network", "resnet50-0676ba61.pth"),
    _torchvision("imagenet-resnet101", "backbone of the paper's segmenter", "resnet101-63fe2227.pth"),
    _torchvision("imagenet-vgg16", "backbone of a DeepLab; part of LPIPS", "vgg16-397923af.pth"),
    _torchvision("imagenet-vgg19", "perceptual loss of warp3d", "vgg19-dcbb9e9d.pth"),
    _torchvision("imagenet-alexnet", "part of LPIPS", "alexnet-owt-7be5be79.pth"),
    WeightsEntry(
        "lpips-alex", "linear layers of LPIPS", "lpips-v0.1-alex.pth", "", f"{_LPIPS}alex.pth", "BSD-2-Clause"
    ),
    WeightsEntry("lpips-vgg", "linear layers of LPIPS", "lpips-v0.1-vgg.pth", "", f"{_LPIPS}vgg.pth", "BSD-2-Clause"),
)

WEIGHTS: dict[str, WeightsEntry] = {entry.name: entry for entry in _ENTRIES}
"""By name."""


def weights_folder() -> Path:
    """Where downloads are kept: $HPC_WEIGHTS, or the user's cache."""
    if chosen := os.environ.get("HPC_WEIGHTS"):
        return Path(chosen)
    return platformdirs.user_cache_path("humanpose-cli", appauthor=False) / "weights"


def shipped_weights(name: str) -> Path:
    """A shipped file; UnavailableError where the package lacks it."""
    entry = WEIGHTS[name]
    if not entry.path.is_file():
        raise UnavailableError(name, "is missing from the package", remedy="reinstall humanpose-cli")
    return entry.path


def find_weights(given: str | Path) -> Path:
    """The file that a user means by a file, a run's folder or a name of `WEIGHTS`.

    InputError where there is no such file; UnavailableError for weights that are known but not here.
    """
    path = Path(given)
    if path.is_dir():
        if not (path / BEST).is_file():
            remedy = "hpc train writes it at its first validation"
            raise InputError(path, "holds no weights", expected=BEST, remedy=remedy)
        return path / BEST
    if path.is_file():
        return path
    entry = WEIGHTS.get(str(given))
    if entry is None:
        raise InputError(
            given, "is no weights file", expected="a file, a run's folder, or a name that hpc weights list shows"
        )
    if not entry.path.is_file():
        raise UnavailableError(entry.name, "is not here", remedy=f"hpc weights fetch {entry.name}")
    return entry.path
