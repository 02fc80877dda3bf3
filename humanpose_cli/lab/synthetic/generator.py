"""Synthetic people as a source of samples: identity, clothes, activity and camera from one seed.

Every group of images (one image, a pair, a clip) has its own random numbers, so that any process can make any group.
Splits share no identity, no clothes and no activity: each has separate identities, and complete activities of the
motion library and key poses are held out for validation and test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.device import resolve_device
from humanpose_cli.lab.cache.label_maps import labels_of
from humanpose_cli.lab.cache.samples import SPLITS, Group, Sample, SourceInfo
from humanpose_cli.lab.synthetic.backgrounds import ImageFolder
from humanpose_cli.lab.synthetic.camera_paths import WALKS
from humanpose_cli.lab.synthetic.dressing import dress_identity
from humanpose_cli.lab.synthetic.hands import sample_hands, with_hands
from humanpose_cli.lab.synthetic.mesh import DressedMesh
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.synthetic.people import sample_confusing_outfit, sample_identity, sample_outfit
from humanpose_cli.lab.synthetic.poses import (
    BLOCK,
    Performance,
    Pose,
    PoseBank,
    activities,
    held_pose,
    sample_motion,
    with_legs_together,
)
from humanpose_cli.lab.synthetic.renderer import (
    RenderedScene,
    SceneRenderer,
    encode_scene_image,
    encode_scene_maps,
    people_of_frame,
)
from humanpose_cli.lab.synthetic.scene import Actor, SceneDescription, SceneOptions, sample_scene

if TYPE_CHECKING:
    from humanpose_cli.lab.synthetic.fits import ClipFitter

PROTOCOL = "synthetic"
GROUPS_PER_IDENTITY = 6
OUTFITS_PER_IDENTITY = 2
_NEIGHBOURS = 64  # consecutive groups that share the same further people, whose meshes are cached
_EXTRAS = 8  # number of these people
_HELD_CLIPS = 0.25  # share of clips with a held pose, since the library has no sitting and lying
_MOVING_PAIRS = 0.5  # share of pairs that are two frames of one motion
_PAIR_RATE = 0.6  # frames per second of these motions
# What confuses garment labels, apart from clothes → its share of the scenes with garment labels.
_CONFUSING = {"legs together": 0.3, "sitting": 0.15, "cut at the thigh": 0.25, "crowd": 0.2}
_MIN_VISIBLE = 0.012  # share of the pixels that show the first person; otherwise the scene is drawn again
_TRIES = 6
_QUALITY = (86, 98)  # of the stored JPEG; lower quality is part of a scene's damage


@lru_cache(maxsize=8)
def activities_of(split: str) -> frozenset[str]:
    """Return the activities of a split; held-out activities alternate between validation and test."""
    if split == "train":
        return frozenset(name for names in activities("train").values() for name in names)
    held_out = [name for names in activities("held_out").values() for name in sorted(names)]
    return frozenset(held_out[SPLITS.index(split) - 1 :: 2])


class SyntheticSource:
    """`Source` of synthetic people of the default body.

    Args:
        options: Options.
        device: Device that poses and rasterises people. "auto" is the CPU, so that images do not depend on the machine:
            a GPU's images differ in rounding.
    """

    def __init__(self, options: SyntheticOptions | None = None, device: str = "auto") -> None:
        self.options = options or SyntheticOptions()
        self.device = "cpu" if device == "auto" else resolve_device(device)

    def __reduce__(self) -> tuple[type, tuple[SyntheticOptions, str]]:
        return type(self), (self.options, self.device)

    @property
    def info(self) -> SourceInfo:
        """Name and options of the source."""
        options = asdict(self.options)
        if self.options.backgrounds is not None:
            assert self._images is not None
            options["backgrounds"] = f"{self.options.backgrounds.name}: {self._images.summary}"
        for name in ("camera", "aspect", "garments"):
            if options[name] == getattr(SyntheticOptions, name):
                del options[name]  # caches of earlier versions do not have these options
        return SourceInfo("synthetic", options)

    def groups(self) -> Sequence[Group]:
        """Return a group for each image, pair or clip."""
        size, groups = self.options.group_size, []
        for number in range(-(-self.options.count // size)):
            split = self.split_of(number)
            pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}
            if size > 1:
                step = self._random("pairs", number).integers(1, size, size)
                pairs[PROTOCOL, split] = [(i, int((i + s) % size)) for i, s in enumerate(step)]
            groups.append(Group(f"{split}/{number:07d}", size, pairs, number))
        return groups

    def split_of(self, number: int) -> str:
        """Return the split of a group, which its identity decides."""
        draw = self._random("split", number // GROUPS_PER_IDENTITY).random()
        if draw < self.options.test:
            return "test"
        return "validation" if draw < self.options.test + self.options.validation else "train"

    def read(self, group: Group) -> Iterator[Sample]:
        """Make the images of a group, with fits of their people if the options ask for them."""
        samples = self._samples(group)
        yield from self._fitter(group.key, list(samples)) if self.options.imperfect_fits else samples

    def _samples(self, group: Group) -> Iterator[Sample]:
        number: int = group.key
        split = self.split_of(number)
        random = self._random("scene", number)
        actors, names = self._cast(random, number, split)
        scene, renderer, rendered = self._stage(random, number, actors)
        for frame in range(len(scene)):
            image = rendered.pop(frame) if frame in rendered else renderer.render(frame)
            camera = scene.camera_at(frame)
            people, indices = people_of_frame(_body("cpu"), scene, names, frame, image)
            yield Sample(
                name=group.name if group.count == 1 else f"{group.name}/{frame:04d}",
                image=encode_scene_image(image.image, int(random.integers(*_QUALITY))),
                size=camera.view.size,
                focal=float(camera.view.focal),
                principal_point=(float(camera.view.principal_point[0]), float(camera.view.principal_point[1])),
                people=people,
                maps=encode_scene_maps(image, indices),
                sequence="" if group.count == 1 else group.name,
                frame=frame,
                splits={PROTOCOL: split},
                frame_rate=self.options.frame_rate if self.options.structure == "clips" else None,
                world_to_camera=camera.from_y_down if scene.path else None,
            )

    def _stage(
        self, random: np.random.Generator, number: int, actors: Sequence[Actor]
    ) -> tuple[SceneDescription, SceneRenderer, dict[int, RenderedScene]]:
        """Draw a scene that shows its first person; also returns its renderer and the frames rendered so far."""
        # People may leave clips, of which only the first frame is checked.
        frames = 2 if self.options.structure == "pairs" else 1
        hands = [sample_hands(self._random(f"hands-{role}", number)) for role in range(len(actors))]
        for _ in range(_TRIES):
            options = self._scene_options(number, len(actors))
            scene = sample_scene(random, _body("cpu"), actors, options, images=self._images)
            people = (with_hands(_body("cpu"), *each) for each in zip(scene.people, hands, strict=True))
            scene = replace(scene, people=tuple(people))
            labels, garments = labels_of(_body("cpu")), self.options.garments
            renderer = SceneRenderer(_body(self.device), scene, labels, self.device, garments=garments)
            rendered = {frame: renderer.render(frame) for frame in range(frames)}
            min_visible = min(int(image.visible[0]) for image in rendered.values())
            height, width = self.options.image_size
            if min_visible >= _MIN_VISIBLE * height * width:
                break
        return scene, renderer, rendered

    def _cast(self, random: np.random.Generator, number: int, split: str) -> tuple[list[Actor], list[tuple[str, str]]]:
        """Choose the people of a scene, the subject first, and their (identity, clothing)."""
        outfits = GROUPS_PER_IDENTITY if self.options.garments else OUTFITS_PER_IDENTITY
        person, outfit = number // GROUPS_PER_IDENTITY, number % outfits
        cast = [(f"{split}-{person:06d}", outfit)]
        if extras := self._companions(random, number):
            numbers = random.choice(_EXTRAS, extras, replace=False)
            cast += [(f"{split}-extra-{number // _NEIGHBOURS:05d}-{extra}", 0) for extra in numbers]
        actors, names = [], []
        for role, (identity, wearing) in enumerate(cast):
            betas, mesh = self._dressed(identity, wearing)
            actors.append(Actor(mesh, betas, self._performance(random, number, split, role)))
            names.append((identity, f"{identity}-{wearing}"))
        return actors, names

    def _is_confusing(self, content: str, number: int) -> bool:
        """Draw whether a group has content of the table `_CONFUSING`."""
        return self.options.garments and bool(self._random(content, number).random() < _CONFUSING[content])

    def _companions(self, random: np.random.Generator, number: int) -> int:
        """Draw the number of people in addition to the first one."""
        if self._is_confusing("crowd", number):
            return int(random.integers(2, 5))
        if self.options.crowd:
            return int(random.integers(2, self.options.crowd))
        return 1 + int(random.random() < 0.3) if random.random() < self.options.companions else 0

    @cached_property
    def _dressed(self) -> Callable[[str, int], tuple[torch.Tensor, DressedMesh]]:
        """`_dress_identity` with a cache, since neighbouring groups show the same people."""
        return lru_cache(maxsize=2 * _EXTRAS + 4)(self._dress_identity)

    def _dress_identity(self, name: str, wearing: int) -> tuple[torch.Tensor, DressedMesh]:
        """Return the betas of an identity, and its mesh in outfit number `wearing`."""
        identity = sample_identity(self._random("identity", _number_of(name)), name)
        outfit_name = f"{name}-{wearing}"
        sample = sample_confusing_outfit if self.options.garments else sample_outfit
        outfit = sample(self._random("outfit", _number_of(outfit_name)), outfit_name)
        mesh = dress_identity(_body("cpu"), identity, outfit, texture_size=self.options.texture_size)
        return torch.from_numpy(np.asarray(identity.betas, np.float32)), mesh

    def _performance(self, random: np.random.Generator, number: int, split: str, role: int) -> Performance:
        o = self.options
        if o.structure == "single":
            seats = activities_of(split).intersection(activities(_pose_split(split)).get("chair", ()))
            sits = bool(seats) and self._is_confusing("sitting", number)
            held = self._pose(random, number, split, role, family="chair" if sits else "")
            if not sits and self._is_confusing("legs together", number):
                held = with_legs_together(_body("cpu"), held, random)
            return held_pose(held)
        rate = o.frame_rate
        if o.structure == "pairs":
            if random.random() >= _MOVING_PAIRS:
                # A chair would be in both images, even if the person sits in only one of them.
                return held_pose(*(self._pose(random, number, split, 2 * role + k, chairs=False) for k in range(2)))
            rate = _PAIR_RATE
        pose = None
        travels = o.camera != "still" and role == 0
        if o.structure == "clips" and not travels and random.random() < _HELD_CLIPS:
            pose = self._pose(random, number, split, role)
        while True:
            motion = sample_motion(random, o.group_size, rate, split=_pose_split(split), pose=pose, travels=travels)
            if motion.activities[0] in activities_of(split):
                return motion

    def _pose(
        self, random: np.random.Generator, number: int, split: str, role: int, *, chairs: bool = True, family: str = ""
    ) -> Pose:
        """Return a pose of the split (and family); consecutive groups take consecutive allowed poses, none twice."""
        # Groups start in the same block of the bank, since blocks are drawn as a whole.
        bank = self._banks[_pose_split(split)]
        names = activities_of(split)
        first = number // BLOCK * BLOCK
        skipped = number % BLOCK if role == 0 else int(random.integers(BLOCK))
        if family:
            skipped %= 4  # a block has few poses of a family
        for k in range(64 * BLOCK):
            block, row = divmod(k, BLOCK)
            pose = bank.pose(first + block * 4096 * BLOCK + row)
            if pose.activity in names and (chairs or pose.family != "chair") and family in ("", pose.family):
                if not skipped:
                    return pose
                skipped -= 1
        raise AssertionError("every split has activities")

    def _scene_options(self, number: int, people: int) -> SceneOptions:
        """Return the options of a group's scene; clips and pairs show complete people more often than single images."""
        o = self.options
        options = SceneOptions(
            o.image_size,
            in_front=o.in_front,
            picture_share=o.picture_share,
            damage=o.damage,
            framed=o.crowd or 1,
            path={"still": None, "turn": "turning", "walk": WALKS[number % len(WALKS)]}[o.camera],
            frame_rate=o.frame_rate,
        )
        if self._is_confusing("cut at the thigh", number):
            return replace(options, camera=replace(options.camera, cut=1.0, enlarged=(1.25, 1.6)))
        if self._is_confusing("crowd", number):
            options = replace(options, framed=people)
        if o.structure == "single" and not o.garments:
            return options
        return replace(options, in_front=o.in_front / 2, camera=replace(options.camera, cut=0.08))

    def _random(self, purpose: str, number: int) -> np.random.Generator:
        """Return random numbers that depend on seed, purpose and number."""
        return np.random.default_rng((self.options.seed, _number_of(purpose), number))

    @cached_property
    def _banks(self) -> dict[str, PoseBank]:
        return {split: PoseBank(self.options.seed, split) for split in ("train", "held_out")}

    @cached_property
    def _fitter(self) -> ClipFitter:
        from humanpose_cli.lab.synthetic.fits import ClipFitter  # imports the detector and the refiner

        return ClipFitter()

    @cached_property
    def _images(self) -> ImageFolder | None:
        return None if self.options.backgrounds is None else ImageFolder(self.options.backgrounds)


@cache
def _body(device: str) -> Body:
    """Return the body of all sources of a process, since clothes are cached for each body object."""
    return default_body().to(device)


def _number_of(name: str) -> int:
    """Hash a name to a number, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def _pose_split(split: str) -> str:
    return "train" if split == "train" else "held_out"
