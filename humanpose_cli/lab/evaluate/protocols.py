"""Protocols of published figures: data, frames, averaging, and joints or images, each after a public evaluator.

Figures of one dataset differ by protocol: EMDB 1 alone is evaluated in three ways. A published row therefore appears
next to ours under its own protocol only, and only if the complete split was evaluated. `--protocol NAME` of `hpc
evaluate fit`, `compare`, `repose` and `refine` chooses a protocol; docs/reference/protocols.md lists them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from math import isnan
from typing import Any, ClassVar, TypeVar

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.schema import Header
from humanpose_cli.lab.evaluate.intervals import Summary
from humanpose_cli.lab.evaluate.movement import RootPath
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.report import Cell, Table
from humanpose_cli.lab.metrics.joints import JointSetName, RootName
from humanpose_cli.lab.metrics.trajectories import Cut

_COARSE_UNITS = ("mm", "deg", "percent", "s2", "s3")  # last words of figures of which one decimal says enough


@dataclass(frozen=True)
class Evaluator:
    """The evaluator that a protocol follows.

    Attributes:
        repository: Public code; an archive or a paper if there is no commit.
        commit: Commit of the repository.
        beside: Parts that the commit lacks, and their source.
    """

    repository: str
    commit: str = ""
    beside: str = ""  # the digests of protocols contain this name

    @property
    def text(self) -> str:
        """Text for reports."""
        text = f"{self.repository}@{self.commit[:8]}" if self.commit else self.repository
        return f"{text}, {self.beside}" if self.beside else text


@dataclass(frozen=True)
class Protocol:
    """How figures of one dataset are measured: as means over everything that counts in the complete split.

    Attributes:
        name: Name of the protocol.
        source: Dataset, such as "3dpw".
        split: Split, such as "3dpw/test".
        evaluator: The evaluator that it follows.
        metrics: Names of the published figures, in the order of `rows`.
        frames: Frames or images that count.
        rows: Method → published figures; None for missing ones.
        rows_source: Source of the published figures.
        every: Step between frames. The cache may have finer steps, but not coarser ones; 0 if it is unknown.
        version: Version of this definition, which changes with what it measures.
    """

    name: str
    source: str
    split: str
    evaluator: Evaluator
    _: KW_ONLY
    metrics: tuple[str, ...]
    frames: str = "All labelled people"
    rows: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    rows_source: str = ""
    every: int = 1
    version: int = 1
    commands: ClassVar[str] = ""
    """Commands that evaluate under such protocols."""

    @property
    def text(self) -> str:
        """Text for reports."""
        return f"{self.name}, version {self.version}, after {self.evaluator.text}"

    @property
    def facts(self) -> Mapping[str, str]:
        """Lines of a report: the protocol, and a digest of its definition and published figures."""
        return {"protocol": self.text, "protocol digest": hashlib.sha256(repr(self).encode()).hexdigest()[:16]}

    @property
    def decides(self) -> Mapping[str, Any]:
        """Fields of `PeopleSelection` that the protocol decides."""
        return {"split": self.split.partition("/")[2]}

    def table(self, summaries: Mapping[str, Mapping[str, Summary]], header: Header, split: str) -> Table:
        """Tabulate our figures, and published rows if the complete split of this protocol was evaluated.

        Args:
            summaries: Name of what was evaluated → figures.
            header: Header of the cache.
            split: "protocol/split" if all of it was evaluated, otherwise "".
        """
        complete = agrees(header, split, self.source, (self.split,), self.every)
        rows: list[list[Cell]] = [[name, *figures] for name, figures in self.rows.items()] if complete else []
        for name, metrics in summaries.items():
            rows.append([name, *(metrics[metric].value if metric in metrics else None for metric in self.metrics)])
        notes = [f"Protocol {self.text}. {self.frames}."]
        if not complete:
            notes.append(f"Not comparable with published figures, which are of all of {self.split} of {self.source}.")
        elif self.rows:
            notes.append(f"Published figures: {self.rows_source}.")
        unknown = {
            metric
            for metrics in summaries.values()
            for metric in self.metrics
            if metric in metrics and isnan(metrics[metric].value)
        }
        if unknown:
            names = ", ".join(metric for metric in self.metrics if metric in unknown)
            notes.append(f"Not known: {names}; figures of vertices need a body of the truth's kind.")
        digits = [0, *(1 if name.rpartition("_")[2] in _COARSE_UNITS else 3 for name in self.metrics)]
        return Table("published", f"{self.split} under {self.name}", ("method", *self.metrics), rows, digits, notes)


@dataclass(frozen=True)
class BodyProtocol(Protocol):
    """A protocol of bodies.

    Attributes:
        joints: See `lab.metrics.joints`.
        root: See `lab.metrics.joints`.
        cut: See `movement_summaries`.
        root_path: See `movement_summaries`.
        closed_up: See `movement_summaries`.
        straight_hands: See `PeopleSelection`.
    """

    joints: JointSetName
    root: RootName
    _: KW_ONLY
    metrics: tuple[str, ...] = ("pa_mpjpe_mm", "mpjpe_mm", "pve_mm")
    cut: Cut = "short last"
    root_path: RootPath = "pelvis"
    closed_up: bool = False
    straight_hands: bool = False
    commands: ClassVar[str] = "fit or compare"

    @property
    def decides(self) -> Mapping[str, Any]:
        """Fields of `PeopleSelection` that the protocol decides."""
        return {"joints": self.joints, "root": self.root, "straight_hands": self.straight_hands, **super().decides}


@dataclass(frozen=True)
class ScaledJointProtocol(Protocol):
    """A protocol of joints at the size of a canonical skeleton."""

    commands: ClassVar[str] = "fit --crops labels"


@dataclass(frozen=True)
class ImageProtocol(Protocol):
    """A protocol of complete reposed images.

    Attributes:
        size: Pixels of a side.
    """

    size: int
    commands: ClassVar[str] = "repose"

    def agreed_size(self, size: int, what: str = "size", remedy: str = "leave size out") -> int:
        """Return the protocol's size.

        Args:
            size: The requested size; 0 for none.
            what: Name of the size, for the message.
            remedy: Remedy, for the message.

        Raises:
            UsageError: If another size is requested.
        """
        if size not in (0, self.size):
            raise UsageError(what, f"is {self.size} in that protocol", got=f"{size} and {self.name}", remedy=remedy)
        return self.size


_SPIN = Evaluator("nkolot/SPIN", "2476c436013055be5cb3905e4e4ecfa86966fac3")
_CAMERAHMR = Evaluator("pixelite1201/CameraHMR", "65d11a0640d23c60f55ec82ae54298e9e7e549e0")
_WHAM = Evaluator("yohanshin/WHAM", "2b54f7797391c94876848b905ed875b154c4a295")
_WHAM_OF_PAPER = Evaluator("yohanshin/WHAM", "d1ade93ae83a91855902fdb8246c129c4b3b8a40")
_HMR2 = Evaluator("shubham-goel/4D-Humans", "6ec79656a23c33237c724742ca2a0ec00b398b53")
_TOKENHMR = Evaluator("saidwivedi/TokenHMR", "198645f7784a27a4df0eac32478b1e7bc3e13574")
_EMDB = Evaluator("eth-ait/emdb", "9a4eab677181a3789bda7ba5c36ab8cff797380c")
_TRAM = Evaluator("yufu-wang/tram", "4861c112f3c148201326680a50c9199650da6088")
_GVHMR = Evaluator("zju3dv/GVHMR", "44fbc1999dd57d2180e882c62c78d356d4c840d0")
_DEFORM = Evaluator("Yoshiyasu and Gamez 2021, whose code is not public")
_WARP3D = Evaluator("MKnoche/warp3d_reposing", "522e783ae36b6202495aded049937eee35f00b50")
_IMPERSONATOR = Evaluator("svip-lab/impersonator", "b041dd415157c1e7f5b46e579a1ad4dffabb2e66")
_PATN = Evaluator("tengteng95/Pose-Transfer", "281ee2d3f9381299220989207dcfb4217298d8f5")

_POSE = ("pa_mpjpe_mm", "mpjpe_mm", "pve_mm")
_WORLD = ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent")
_ACCELERATED = (*_POSE, "accel_trimmed_m_s2")
_TRAJECTORY = (*_WORLD, "jitter_10m_s3", "foot_sliding_mm")
_VALID = "Frames that the owners call valid"
_3DPW = ("3dpw", "3dpw/test")
_EMDB1 = ("emdb", "emdb1/test")
_EMDB2 = ("emdb", "emdb2/test")
_RICH = ("rich", "rich/test")
_SMPLX_AS_SMPL = "Truth and predictions of SMPL-X as SMPL's mesh, by the given matrix"
_MEAN_HANDS = f"{_SMPLX_AS_SMPL}, with fingers in the mean pose"
_FIFTH = "S9 and S11, every 5th frame"
_EMDB_METRICS = (*_POSE, "pa_pve_mm", "mpjae_deg", "pa_mpjae_deg", "jitter_emdb_10m_s3")


def _body(
    name: str,
    data: tuple[str, str],
    evaluator: Evaluator,
    joints: JointSetName,
    root: RootName,
    *published: Any,
    closed_up: bool = False,
    **options: Any,
) -> BodyProtocol:
    """Define a protocol of bodies; `data` is source and split, `published` a method and its paper's figures."""
    if published:
        method, *figures = published
        options |= {"rows": {method: tuple(figures)}, "rows_source": f"{method}'s paper"}
    if closed_up:
        options |= {"frames": f"{_VALID}, closed up", "closed_up": True, "version": 2}
    return BodyProtocol(name, data[0], data[1], evaluator, joints, root, **options)


_BODIES = (
    _body("3dpw-spin", _3DPW, _SPIN, "h36m14", "pelvis", metrics=_POSE[:2]),
    _body("3dpw-camerahmr", _3DPW, _CAMERAHMR, "h36m14", "pelvis", "CameraHMR", 38.5, 62.1, 72.9),
    _body("3dpw-wham", _3DPW, _WHAM, "h36m14", "hips", metrics=_ACCELERATED, closed_up=True),
    _body("3dpw-hmr2", _3DPW, _HMR2, "hmr14", "pelvis", metrics=_POSE[:2]),
    _body("3dpw-tokenhmr", _3DPW, _TOKENHMR, "hmr14", "pelvis", "TokenHMR", 44.8, 70.9, 84.3),
    _body("emdb1-emdb", _EMDB1, _EMDB, "smpl24", "hips", metrics=_EMDB_METRICS, frames=_VALID),
    _body("emdb1-wham", _EMDB1, _WHAM, "smpl24", "hips", metrics=_ACCELERATED, closed_up=True),
    _body("emdb1-wham-paper", _EMDB1, _WHAM_OF_PAPER, "smpl24-mesh", "hips", metrics=_ACCELERATED, closed_up=True),
    _body("emdb1-tram", _EMDB1, _TRAM, "smpl24", "hips", metrics=_ACCELERATED, closed_up=True),
    _body(
        "emdb1-camerahmr", _EMDB1, _CAMERAHMR, "smpl24-neutral", "hips", "CameraHMR", 43.7, 73.0, 85.4, frames=_VALID
    ),
    _body("emdb1-gvhmr", _EMDB1, _GVHMR, "smpl24-neutral", "hips", metrics=(*_POSE, "accel_m_s2"), closed_up=True),
    _body("emdb2-wham", _EMDB2, _WHAM, "smpl24", "hips", metrics=_TRAJECTORY, root_path="translation", closed_up=True),
    _body("emdb2-gvhmr", _EMDB2, _GVHMR, "smpl24-neutral", "hips", metrics=_TRAJECTORY, closed_up=True),
    _body(
        "emdb2-tram", _EMDB2, _TRAM, "smpl24", "hips", metrics=(*_WORLD, "erve_mm"), cut="joined last", closed_up=True
    ),
    _body("rich-camerahmr", _RICH, _CAMERAHMR, "smpl24-neutral", "hips", frames=_SMPLX_AS_SMPL, straight_hands=True),
    _body("rich-wham", _RICH, _WHAM, "smpl24-neutral", "hips", metrics=_ACCELERATED, frames=_MEAN_HANDS, version=2),
    _body(
        "rich-gvhmr",
        _RICH,
        _GVHMR,
        "smpl24-neutral",
        "hips",
        metrics=(*_POSE, "accel_m_s2"),
        frames=_MEAN_HANDS,
        version=2,
    ),
    _body("h36m-p1-spin", ("h36m", "p1/test"), _SPIN, "mocap14", "pelvis", metrics=_POSE[:2], frames=_FIFTH, every=5),
    _body("h36m-p2-spin", ("h36m", "p2/test"), _SPIN, "mocap14", "pelvis", metrics=_POSE[:2], frames=_FIFTH, every=5),
)
_SCALED = (
    ScaledJointProtocol(
        "h36m-deform-and-learn",
        "h36m",
        "deform-and-learn/test",
        _DEFORM,
        metrics=("mpjpe_mm",),
        frames="S9 and S11; bones scaled to add up to the resting body's; the paper does not say which frames",
        rows={
            "HMR, Kanazawa et al. (full 3-D supervision)": (87.97,),
            "HoloPose, Güler and Kokkinos (full 3-D supervision)": (60.27,),
            "Sun et al. (full 3-D supervision)": (49.6,),
            "Rhodin et al. (some 3-D supervision)": (131.7,),
            "HMR (unpaired), Kanazawa et al. (external 3-D data)": (106.84,),
            "Kudo et al. (no 3-D training data)": (173.2,),
            "Yoshiyasu and Gamez, Mosh (no 3-D training data)": (96.99,),
            "Yoshiyasu and Gamez, DensePose (no 3-D training data)": (115.3,),
        },
        rows_source="Table 1 of deform-and-learn",
        every=0,
    ),
)
_SIMILAR = ("ssim_uniform", "lpips")
_SIGNED = ("ssim_signed", "lpips")
_IMAGES = (
    ImageProtocol(
        "iper-random-pairs",
        "iper",
        "random-pairs/test",
        replace(_WARP3D, beside="pairs and LPIPS after the paper's appendix B"),
        256,
        metrics=_SIMILAR,
        frames="10,000 pairs, clothes drawn first",
        rows={"Knoche et al.": (0.883, 0.081)},
        rows_source="Table 2 of Knoche et al. 2020",
    ),
    ImageProtocol(
        "iper-three-frames",
        "iper",
        "three-frames/test",
        replace(_IMPERSONATOR, beside="frames after the paper's appendix B"),
        256,
        metrics=_SIGNED,
        frames="Three frames of each video with all of it; SSIM of images from −1 to 1, as Liu et al. take it",
        version=2,
        rows={
            "PG2, Ma et al.": (0.854, 0.135),
            "SHUP, Balakrishnan et al.": (0.823, 0.099),
            "DSC, Siarohin et al.": (0.829, 0.129),
            "LWB, Liu et al.": (0.840, 0.087),
            "Knoche et al.": (0.863, 0.077),
        },
        rows_source="Table 2 of Knoche et al. 2020 and its footnote",
    ),
    ImageProtocol(
        "iper-owners",
        "iper",
        "three-frames/test",
        _IMPERSONATOR,
        256,
        metrics=_SIGNED,
        frames="Self-imitation: the owners' source frames with the frames of iPER_protocol.json",
        version=2,
    ),
    ImageProtocol(
        "deepfashion-patn",
        "deepfashion",
        "patn/test",
        _PATN,
        256,
        metrics=("ssim_patn",),
        frames="8,570 pairs; the columns beyond the middle 176 are white in both images",
    ),
    ImageProtocol(
        "deepfashion-warp3d",
        "deepfashion",
        "warp3d/test",
        replace(_WARP3D, beside="LPIPS after the paper"),
        256,
        metrics=_SIMILAR,
        frames="Pairs of the authors' 2,061 test clothes, clothes drawn first",
    ),
)
PROTOCOLS: Mapping[str, Protocol] = {each.name: each for each in (*_BODIES, *_SCALED, *_IMAGES)}
"""Name → protocol."""

_P = TypeVar("_P", bound=Protocol)


def apply_protocol(selection: PeopleSelection, kind: type[_P]) -> tuple[PeopleSelection, _P | None]:
    """Return the selection that a protocol evaluates, if `selection.protocol` names one.

    Args:
        selection: The selection.
        kind: Class of protocols that the evaluation takes.

    Returns:
        The changed selection and the protocol; the given selection and None without a protocol.

    Raises:
        UsageError: If the protocol is of another kind, or its decisions are chosen as well.
    """
    protocol = PROTOCOLS.get(selection.protocol)
    if protocol is None:
        return selection, None
    if not isinstance(protocol, kind):
        remedy = f"hpc evaluate {protocol.commands} takes it"
        raise UsageError("protocol", "is not of this evaluation", got=protocol.name, remedy=remedy)
    for name, value in protocol.decides.items():
        if getattr(selection, name) not in (None, "", value):
            got = f"{getattr(selection, name)} and {protocol.name}"
            raise UsageError(name, f"is {value} in that protocol", got=got, remedy=f"leave {name} out")
    return replace(selection, protocol=protocol.split.partition("/")[0], **protocol.decides), protocol


def agrees(header: Header, split: str, source: str, splits: Sequence[str], every: int = 1) -> bool:
    """Return whether data are a complete split of a source, with every frame of a paper.

    Args:
        header: Header of the cache.
        split: Evaluated "protocol/split"; "" if only a part was evaluated.
        source: The paper's dataset.
        splits: The paper's splits.
        every: Step between the paper's frames; 0 if it does not say.
    """
    options: Mapping[str, Any] = header.options_values
    steps = options.get("every", 1)
    partial = options.get("allow_missing", False)
    return header.source == source and split in splits and every % max(steps, 1) == 0 and not partial
