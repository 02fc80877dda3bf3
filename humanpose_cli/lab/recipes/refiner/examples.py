"""Examples for the displacement network: people of a cache beside imperfect fits of them, and where these err.

A fit is the one that the cache has of the person, as with the setting `imperfect_fits`, or it imitates an
estimator's errors: joint angles that add up along limbs, now and then a limb far off, shape, place, distance. Its
texture comes from other frames of the person, baked under fits that err likewise, as in use; sometimes also from the
photograph itself under the very fit that is wrong, which shows no displacement at all, and sometimes there is none.
Light, noise and holes change the texture and, independently of it, the photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.frame_texture import TextureSamples
from humanpose_cli.avatar.person_view import PersonView, bake_view
from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import model_for
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.augmentation import ColourChange, Example, change_colour
from humanpose_cli.lab.recipes.people import People
from humanpose_cli.lab.synthetic.renderer import imperfect_fit
from humanpose_cli.models.refiner.network import DisplacementOptions, rendering_input
from humanpose_cli.rendering.body_maps import BODY_FILL, BodyRendering, render_bodies
from humanpose_cli.rendering.boxes import NEAR

Array = NDArray[Any]
Texture = NDArray[np.uint8]

_FAR_OFF_ANGLE = 0.45  # radians: standard deviation of the error of a limb that is far off
_HIDDEN_BEHIND = 0.04  # metres behind the visible surface from which a point is hidden; clothes stand off by less
_FAR_OFF = tuple(f"{side}_{joint}" for joint in ("shoulder", "elbow", "hip", "knee") for side in ("left", "right"))


@dataclass(frozen=True)
class ExampleChanges:
    """How examples change; the defaults are those of training. All but the sizes are probabilities.

    Attributes:
        rotation, scale, shift: Of the crop, as in `Augmentation`.
        mirror: Of a mirrored crop.
        fitted: Of the fit that the cache has of a person, where it has one; else one is imitated.
        far_off: Of a limb with a large error in imitated fits.
        frames: Other frames that a texture is made of, at most.
        untextured: Of no texture.
        own_only: Of a texture from the photograph itself under the fit.
        own_too: That the photograph is one of the texture's.
        colour: Width of changes of the photograph's colours.
        light: Width of changes of the texture's colours beside it.
        damage: Of each of blur, noise and compression.
        holes: Of patches that the texture lacks.
    """

    rotation: float = 0.2
    scale: float = 0.15
    shift: float = 0.04
    mirror: float = 0.5
    fitted: float = 0.6
    far_off: float = 0.25
    frames: int = 2
    untextured: float = 0.08
    own_only: float = 0.08
    own_too: float = 0.4
    colour: float = 1.0
    light: float = 1.0
    damage: float = 0.3
    holes: float = 0.3


IN_TRAINING = ExampleChanges()
HELD_OUT = ExampleChanges(
    0, 0, 0, 0, fitted=1, untextured=0, own_only=0, own_too=0, colour=0, light=0, damage=0, holes=0
)
"""Of held-out people: the fit errs, and the texture comes from other frames, but nothing else changes."""


class PersonFits(NamedTuple):
    """One person in T frames: rotations (T, 24, 3, 3), betas (1 or T, S), trans (T, 3) metres, scales (T, 24)."""

    rotations: Tensor
    betas: Tensor
    trans: Tensor
    segment_scales: Tensor | None = None


def imitated_fits(
    random: np.random.Generator, body: Body, examples: Sequence[Example], changes: ExampleChanges
) -> PersonFits:
    """Imitate imperfect fits of one person in some frames, the first of which may have a limb that is far off."""
    people = [example.person for example in examples]
    poses, trans = (np.stack([getattr(p, name) for p in people]).astype(np.float64) for name in ("poses", "trans"))
    betas = np.asarray(people[0].betas, np.float32)
    pelvis = body.rest_pelvis(torch.from_numpy(betas)[None])[0].numpy()
    focal = np.array([example.focal for example in examples])
    poses, betas, trans = imperfect_fit(random, poses, betas, trans, pelvis, focal)
    rotations = axis_angle_to_matrix(torch.from_numpy(poses).unflatten(1, (len(SMPL24), 3)))
    if random.random() < changes.far_off:
        joint = SMPL24.index(str(random.choice(_FAR_OFF)))
        turn = torch.from_numpy(random.normal(0, _FAR_OFF_ANGLE, 3).astype(np.float32))
        rotations[0, joint] = rotations[0, joint] @ axis_angle_to_matrix(turn)
    return PersonFits(rotations, torch.from_numpy(betas)[None], torch.from_numpy(trans), _scales(examples))


def cached_fits(examples: Sequence[Example]) -> PersonFits:
    """Return the fits that the cache has of one person in some frames."""
    columns = [
        np.stack([np.asarray(getattr(example.person, name), np.float32) for example in examples])
        for name in ("fit_poses", "fit_betas", "fit_trans")
    ]
    poses, betas, trans = (torch.from_numpy(column) for column in columns)
    return PersonFits(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, trans)


def true_displacements(
    rendering: BodyRendering, faces: Tensor, vertices: Tensor, cameras: Sequence[Camera]
) -> tuple[Tensor, Tensor]:
    """Compute displacements (N, 2, S, S) in pixels of the crops, and whether (N, 1, S, S) the true body shows the point
    there.

    Args:
        rendering: Of the fits; faces (F, 3) of the body.
        vertices: (N, V, 3) of the true bodies, metres in the crops' camera axes; cameras of the crops.
    """
    # The true position of the surface point at every pixel of the rendering.
    size = rendering.faces.shape[-1]
    raster = Raster(rendering.faces, rendering.barycentrics, rendering.depth[:, 0])
    points = interpolate(raster, faces, vertices)  # (N, S, S, 3)
    view = Camera.stack(cameras).tensors()
    there = Camera(view.focal, view.principal_point).project(points.flatten(1, 2), near=NEAR).unflatten(1, (size, size))
    # Where the photograph shows it, less where the rendering has it.
    centres = torch.arange(size) + 0.5
    here = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
    on_body = rendering.mask.movedim(1, -1)
    displacements = (there - here) * on_body
    # It is visible unless the true body's surface there is nearer to the camera.
    nearest = rasterise(vertices, faces, view.focal, view.principal_point, (size, size), near=NEAR).depth
    column, row = (there[..., axis].floor().long().clamp(0, size - 1) for axis in (0, 1))
    surface = nearest[torch.arange(len(nearest))[:, None, None], row, column]
    inside = ((there >= 0) & (there < size)).all(-1)
    visible = inside & (points[..., 2] < surface + _HIDDEN_BEHIND) & surface.isfinite()
    return displacements.movedim(-1, 1).contiguous(), (visible[..., None] * on_body).bool().movedim(-1, 1)


def mirrored_rendering(rendering: BodyRendering) -> BodyRendering:
    """Mirror a rendering: what the mirror images of the bodies would give, but for the ids of faces."""
    maps = {name: values.flip(-1) for name, values in vars(rendering).items() if name != "barycentrics"}
    side = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    colours = maps["colours"]
    maps["normals"] = maps["normals"] * side
    maps["colours"] = torch.cat((1 - colours[:, :1], colours[:, 1:]), 1) * maps["mask"]
    return replace(rendering, **maps, barycentrics=rendering.barycentrics.flip(-2))


class DrawnFit(NamedTuple):
    """A photograph and the rendering of an imperfect fit in one crop.

    Attributes:
        photo: (S, S, 3) uint8.
        rendering: Of the one body.
        truth: (1, 2, S, S) pixels: where its surface points lie in the photograph.
        visible: (1, 1, S, S) bool: on the fitted body, and the photograph shows the point.
        size: Pixels: longer side of the true body's box.
    """

    photo: NDArray[np.uint8]
    rendering: BodyRendering
    truth: Tensor
    visible: Tensor
    size: float


class RefinerExamples:
    """Makes the example of a person: a dictionary of arrays, of which a batch is collated.

    photo      (3, S, S) uint8
    rendering  (C, S, S) float32, `rendering_input`
    truth      (2, S, S) float32 pixels of the crop
    drawn      (1, S, S) bool: on the fitted body; visible (1, S, S) bool: and visible in the photograph
    size       () float32: longer side of the true body's box, pixels of the crop
    textured   (4, S, S) float32 if `with_textured`: the textured rendering, 0…1, and how far it is known

    Args:
        people: Of a cache, with poses.
        bodies: The models that their parameters belong to, by their names; the first is that of people without a
            name.
        options: Of the network; texels along the texture's sides, by default as many as the crop has pixels.
        with_textured: Add `textured`, for contact sheets.
    """

    def __init__(
        self,
        people: People,
        bodies: Sequence[Body],
        options: DisplacementOptions,
        changes: ExampleChanges = HELD_OUT,
        *,
        texels: int | None = None,
        with_textured: bool = False,
    ) -> None:
        self.people, self.bodies, self.options, self.changes = people, tuple(bodies), options, changes
        self.texels, self.with_textured = texels or max(128, options.crop), with_textured
        self._others = other_frames(people)

    def _body_of(self, example: Example) -> Body:
        person, models = example.person, {body.name: body for body in self.bodies}
        return model_for(models, person.body, person.gender) or self.bodies[0]

    @cached_property
    def _texel_maps(self) -> dict[str, TexelMap]:
        return {body.name: TexelMap(body.uv, body.uv_faces, self.texels) for body in self.bodies}

    def __call__(self, number: int, random: np.random.Generator) -> dict[str, Array]:
        photo, rendering, truth, visible, size = self.drawn_fit(number, random)
        arrays: dict[str, Array] = {
            "photo": np.ascontiguousarray(photo.transpose(2, 0, 1)),
            "rendering": rendering_input(rendering, self.options)[0].numpy(),
            "truth": truth[0].numpy(),
            "drawn": (rendering.mask[0] > 0).numpy(),
            "visible": visible[0].numpy(),
            "size": np.float32(size),
        }
        if self.with_textured:
            arrays["textured"] = torch.cat((rendering.rgb, rendering.textured), 1)[0].numpy()
        return arrays

    @torch.no_grad()
    def drawn_fit(self, number: int, random: np.random.Generator) -> DrawnFit:
        """Draw what the example is made of."""
        frames = [number, *self._chosen_frames(number, random)]
        examples = [self.people.example(frame, ()) for frame in frames]
        example = examples[0]
        body = self._body_of(example)
        if _is_fitted(example) and random.random() < self.changes.fitted:
            examples = [frame for frame in examples if _is_fitted(frame)]
            fits = cached_fits(examples)
        else:
            fits = imitated_fits(random, body, examples, self.changes)
        vertices = _vertices(body, fits)
        crop = self._crop(example, vertices[0], random)
        camera = _camera(example).cropped(crop)
        texture = self._texture(body, examples, vertices, random)
        fit_points = torch.from_numpy(crop.directions(vertices[0].numpy()))
        rendering = render_bodies(body, fit_points[None], [camera], self.options.crop, [texture])
        true = torch.from_numpy(crop.directions(_vertices(body, _truth(example))[0].numpy()))
        displacements, visible = true_displacements(rendering, body.faces, true[None], [camera])
        visible[0] &= _person_at(example, crop, displacements[0])
        photo = _photographed(crop.image(example.image), random, self.changes)
        pixels = camera.project(true, near=NEAR)
        rendering = _lit(rendering, random, self.changes)
        if random.random() < self.changes.mirror:
            rendering, photo = mirrored_rendering(rendering), photo[:, ::-1]
            displacements = displacements.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
            visible = visible.flip(-1)
        return DrawnFit(photo, rendering, displacements, visible, float((pixels.amax(0) - pixels.amin(0)).max()))

    def _chosen_frames(self, number: int, random: np.random.Generator) -> list[int]:
        others = self._others[number]
        count = min(len(others), int(random.integers(1, self.changes.frames + 1)))
        return [int(frame) for frame in random.permutation(others)[:count]]

    def _crop(self, example: Example, vertices: Tensor, random: np.random.Generator) -> Crop:
        a, size = self.changes, self.options.crop
        turn, zoom, right, down = random.uniform(-1, 1, 4)
        pixels = _camera(example).project(vertices, near=NEAR)
        return crop_around_box(
            torch.cat((pixels.amin(0), pixels.amax(0))).double().numpy(),
            size,
            fill=BODY_FILL,
            angle=a.rotation * turn,
            scale=1 + a.scale * zoom,
            shift=(a.shift * size * right, a.shift * size * down),
        )

    def _texture(
        self, body: Body, examples: Sequence[Example], vertices: Tensor, random: np.random.Generator
    ) -> Texture:
        """Bake the texture of the other frames, or what else the changes want; the first example is the
        photograph itself.
        """
        a, draw, texel_map = self.changes, random.random(), self._texel_maps[body.name]
        from_photo = 1 if draw < a.own_only or random.random() < a.own_too else 0
        last = 1 if draw < a.own_only else len(examples)
        samples = TextureSamples(self.texels)
        if draw < 1 - a.untextured:
            for example, points in list(zip(examples, vertices, strict=True))[1 - from_photo : last]:
                size = max(example.size)
                view = PersonView(
                    example.image, _identity_crop(size), _camera(example), np.zeros(example.image.shape[:2], bool)
                )
                mask = None if example.mask is None else example.mask / np.float32(255)
                samples.add(bake_view(view, body, points, mask, texel_map))
        texture = samples.texture(texel_map.covered)
        return _worn(texture, random, a)


def other_frames(people: People) -> list[NDArray[np.int64]]:
    """List for each of the people the numbers of the same person in other frames of the same sequence."""
    cache = people.cache
    sequence = {int(row): name for name in cache.sequences for row in cache.sequence(name)}
    names = people.column("identity") if "identity" in cache.people else np.full(len(people), "")
    tracks: dict[tuple[str, str], list[int]] = {}
    keys: list[tuple[str, str]] = []
    for number, (image, index, name) in enumerate(zip(people.images, people.indices, names, strict=True)):
        keys.append((sequence.get(int(image), f"image {image}"), str(name) or str(index)))
        tracks.setdefault(keys[-1], []).append(number)
    return [np.array([n for n in tracks[key] if n != number], np.int64) for number, key in enumerate(keys)]


def _is_fitted(example: Example) -> bool:
    """Return whether the cache has a fit of the person beside their label; if labels are fits, both are the same."""
    person = example.person
    columns = (person.fit_poses, person.fit_betas, person.fit_trans)
    has_fit = all(column is not None and bool(np.isfinite(column).all()) for column in columns)
    labels = (person.poses, person.betas, person.trans)
    return has_fit and not all(np.array_equal(*pair) for pair in zip(columns, labels, strict=True))  # type: ignore[arg-type]


def _identity_crop(size: int) -> Crop:
    """Return the crop that changes nothing."""
    return Crop(1.0, 0.0, (0.0, 0.0), (size, size))


def _camera(example: Example) -> Camera:
    return Camera(example.focal, example.principal_point, example.size)


def _truth(example: Example) -> PersonFits:
    person = example.person
    poses, betas, trans = (
        torch.from_numpy(np.asarray(values, np.float32)) for values in (person.poses, person.betas, person.trans)
    )
    return PersonFits(axis_angle_to_matrix(poses.view(1, -1, 3)), betas[None], trans[None], _scales([example]))


def _scales(examples: Sequence[Example]) -> Tensor:
    """Return labelled scales (T, 24) of segments."""
    ones = np.ones(len(SMPL24), np.float32)
    return torch.from_numpy(np.stack([ones if (s := e.person.segment_scales) is None else s for e in examples]))


def _vertices(body: Body, people: PersonFits) -> Tensor:
    """Return (T, V, 3) metres, camera axes."""
    vertices = body.pose(people.rotations, people.betas, people.trans, people.segment_scales).vertices
    assert vertices is not None
    return vertices


def _person_at(example: Example, crop: Crop, displacements: Tensor) -> Tensor:
    """Return (1, S, S) bool: whether the photograph shows the person where displacements (2, S, S) lead."""
    size = crop.size[0]
    if example.mask is None:
        return torch.ones(1, size, size, dtype=torch.bool)
    mask = torch.from_numpy(crop.warp(example.mask, cv2.INTER_NEAREST) > 127)
    # Where the photograph shows it, less where the rendering has it.
    centres = torch.arange(size) + 0.5
    x, y = centres + displacements[0], centres[:, None] + displacements[1]
    return mask[y.floor().long().clamp(0, size - 1), x.floor().long().clamp(0, size - 1)][None]


def _colour_change(random: np.random.Generator, width: float) -> ColourChange:
    turn, saturation, contrast, brightness = random.uniform(-1, 1, 4) * width
    return ColourChange(20.0 * turn, 1 + 0.35 * saturation, 1 + 0.35 * contrast, 0.12 * brightness)


def _photographed(image: NDArray[np.uint8], random: np.random.Generator, a: ExampleChanges) -> NDArray[np.uint8]:
    """Give a photograph other colours, and blur, noise and compression as others have."""
    image = change_colour(image, _colour_change(random, a.colour))
    blur, has_noise, compress = random.random(3) < a.damage
    if blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.3)), np.uint8)
    if has_noise:
        image = _noisy(image, random, random.uniform(2, 14))
    if compress:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 90))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return image


def _noisy(image: NDArray[np.uint8], random: np.random.Generator, deviation: float) -> NDArray[np.uint8]:
    noise = random.standard_normal(image.shape, np.float32) * np.float32(deviation)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _worn(texture: Texture, random: np.random.Generator, a: ExampleChanges) -> Texture:
    """Put a texture in other light, blur it, and add noise and holes."""
    colour, alpha = change_colour(texture[..., :3], _colour_change(random, 0.5 * a.light)), texture[..., 3]
    blur, has_noise = random.random(2) < a.damage
    side = len(texture)
    if blur:
        colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), side * random.uniform(0.004, 0.02)), np.uint8)
    if has_noise:
        colour = _noisy(colour, random, random.uniform(2, 20))
    if random.random() < a.holes:
        alpha = alpha.copy()
        for _ in range(int(random.integers(1, 5))):
            centre, axes = (
                random.integers(0, side, 2).tolist(),
                (side * random.uniform(0.03, 0.2, 2)).astype(int).tolist(),
            )
            cv2.ellipse(alpha, centre, axes, random.uniform(0, 180), 0, 360, 0, -1)
    return np.dstack((colour, alpha))


def _lit(rendering: BodyRendering, random: np.random.Generator, a: ExampleChanges) -> BodyRendering:
    """Make the texture brighter on one side, as if baked in light from elsewhere."""
    towards = random.normal(size=3)
    strength = a.light * random.uniform(0, 0.35)
    direction = torch.from_numpy((towards / np.linalg.norm(towards) * strength).astype(np.float32))
    shade = 1 + (rendering.normals * direction[:, None, None]).sum(1, keepdim=True)
    return replace(rendering, rgb=(rendering.rgb * shade).clamp(0, 1))
