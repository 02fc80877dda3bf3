"""Examples for the displacement network: people of a cache, imperfect fits of them, and the true displacements.

A fit comes from the cache (setting `imperfect_fits`) or imitates an estimator's errors: joint angles that add up along
limbs, sometimes one limb with a large error, shape, position and distance. The texture comes from other frames of the
person, baked under fits with similar errors or, half of the time, under the true bodies, as the paper's is; sometimes
also from the photograph under the imperfect fit itself, which shows no displacement, and sometimes there is
none. Light, noise and holes change the texture and, independently, the
photograph.
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

_LARGE_ANGLE = 0.45  # radians, standard deviation of a large error of a limb
_HIDDEN_DEPTH = 0.04  # metres behind the visible surface from which a point is hidden; clothes stand off by less
_LIMB_JOINTS = tuple(f"{side}_{joint}" for joint in ("shoulder", "elbow", "hip", "knee") for side in ("left", "right"))


@dataclass(frozen=True)
class ExampleChanges:
    """Random changes of examples, by default for training.

    Attributes:
        rotation: Max rotation of the crop, as in `Augmentation`.
        scale: Max change of scale of the crop.
        shift: Max shift of the crop.
        mirror: Probability of a mirrored crop.
        fitted: Probability of using the cache's fit of a person; else one is imitated.
        far_off: Probability of a limb with a large error in an imitated fit.
        frames: Max number of other frames that a texture is made of.
        min_frames: Min number of these, if the clip has as many.
        true_bodies: Probability of a texture from other frames under the true bodies.
        untextured: Probability of no texture.
        own_only: Probability of a texture from the photograph alone.
        own_too: Probability that the photograph contributes to the texture.
        colour: Size of changes of the photograph's colours.
        light: Size of further changes of the texture's colours.
        damage: Probability of each of blur, noise and compression.
        holes: Probability of holes in the texture.
    """

    rotation: float = 0.2
    scale: float = 0.15
    shift: float = 0.04
    mirror: float = 0.5
    fitted: float = 0.6
    far_off: float = 0.25
    frames: int = 16
    min_frames: int = 4
    true_bodies: float = 0.5
    untextured: float = 0.08
    own_only: float = 0.08
    own_too: float = 0.4
    colour: float = 1.0
    light: float = 1.0
    damage: float = 0.3
    holes: float = 0.3


IN_TRAINING = ExampleChanges()
HELD_OUT = ExampleChanges(
    0, 0, 0, 0, fitted=1, true_bodies=0, untextured=0, own_only=0, own_too=0, colour=0, light=0, damage=0, holes=0
)
"""For held-out people: an imperfect fit and a texture from other frames, without other changes."""


class PersonFits(NamedTuple):
    """Fits of one person in T frames.

    Attributes:
        rotations: (T, 24, 3, 3) float32. Parent-relative rotations.
        betas: (1, S) or (T, S) float32. Shape.
        trans: (T, 3) float32, metres. Translation.
        segment_scales: (T, 24) float32. Scales of the segments; None for 1.
    """

    rotations: Tensor
    betas: Tensor
    trans: Tensor
    segment_scales: Tensor | None = None


def imitated_fits(
    random: np.random.Generator, body: Body, examples: Sequence[Example], changes: ExampleChanges
) -> PersonFits:
    """Imitate imperfect fits of one person in T frames.

    Args:
        random: Source of the random numbers.
        body: The body model.
        examples: The frames. In the first one, a limb may have a large error.
        changes: Probability of that error.
    """
    people = [example.person for example in examples]
    poses, trans = (np.stack([getattr(p, name) for p in people]).astype(np.float64) for name in ("poses", "trans"))
    betas = np.asarray(people[0].betas, np.float32)
    pelvis = body.rest_pelvis(torch.from_numpy(betas)[None])[0].numpy()
    focal = np.array([example.focal for example in examples])
    poses, betas, trans = imperfect_fit(random, poses, betas, trans, pelvis, focal)
    rotations = axis_angle_to_matrix(torch.from_numpy(poses).unflatten(1, (len(SMPL24), 3)))
    if random.random() < changes.far_off:
        joint = SMPL24.index(str(random.choice(_LIMB_JOINTS)))
        turn = torch.from_numpy(random.normal(0, _LARGE_ANGLE, 3).astype(np.float32))
        rotations[0, joint] = rotations[0, joint] @ axis_angle_to_matrix(turn)
    return PersonFits(rotations, torch.from_numpy(betas)[None], torch.from_numpy(trans), _scales(examples))


def cached_fits(examples: Sequence[Example]) -> PersonFits:
    """Return the cache's fits of one person in T frames."""
    columns = [
        np.stack([np.asarray(getattr(example.person, name), np.float32) for example in examples])
        for name in ("fit_poses", "fit_betas", "fit_trans")
    ]
    poses, betas, trans = (torch.from_numpy(column) for column in columns)
    return PersonFits(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, trans)


def true_displacements(
    rendering: BodyRendering, faces: Tensor, vertices: Tensor, cameras: Sequence[Camera]
) -> tuple[Tensor, Tensor]:
    """Compute the displacements from a rendering of fits to the true bodies.

    Args:
        rendering: Rendering of the N fits.
        faces: (F, 3) int. Faces of the body.
        vertices: (N, V, 3) float32, metres in the crops' camera axes. Vertices of the true bodies.
        cameras: Cameras of the N crops.

    Returns:
        (N, 2, S, S) float32, pixels of the crops: the displacements, 0 off the body; and (N, 1, S, S) bool: whether
        the point is visible on the true body.
    """
    # The true position of the surface point at every pixel of the rendering.
    size = rendering.faces.shape[-1]
    raster = Raster(rendering.faces, rendering.barycentrics, rendering.depth[:, 0])
    points = interpolate(raster, faces, vertices)  # (N, S, S, 3)
    view = Camera.stack(cameras).tensors()
    pixels = Camera(view.focal, view.principal_point).project(points.flatten(1, 2), near=NEAR)
    pixels = pixels.unflatten(1, (size, size))
    # The displacement is the pixel in the photograph minus the pixel in the rendering.
    centres = torch.arange(size) + 0.5
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
    mask = rendering.mask.movedim(1, -1)
    displacements = (pixels - grid) * mask
    # A point is visible unless the true body's surface at its pixel is nearer to the camera.
    nearest = rasterise(vertices, faces, view.focal, view.principal_point, (size, size), near=NEAR).depth
    column, row = (pixels[..., axis].floor().long().clamp(0, size - 1) for axis in (0, 1))
    surface = nearest[torch.arange(len(nearest))[:, None, None], row, column]
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    visible = inside & (points[..., 2] < surface + _HIDDEN_DEPTH) & surface.isfinite()
    return displacements.movedim(-1, 1).contiguous(), (visible[..., None] * mask).bool().movedim(-1, 1)


def mirrored_rendering(rendering: BodyRendering) -> BodyRendering:
    """Return the rendering of the mirrored bodies, except for the ids of faces."""
    maps = {name: values.flip(-1) for name, values in vars(rendering).items() if name != "barycentrics"}
    side = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    colours = maps["colours"]
    maps["normals"] = maps["normals"] * side
    maps["colours"] = torch.cat((1 - colours[:, :1], colours[:, 1:]), 1) * maps["mask"]
    return replace(rendering, **maps, barycentrics=rendering.barycentrics.flip(-2))


class DrawnFit(NamedTuple):
    """A photograph and the rendering of an imperfect fit in one crop.

    Attributes:
        photo: (S, S, 3) uint8. The photograph.
        rendering: Rendering of one body.
        truth: (1, 2, S, S) float32, pixels. Displacements from the rendering to the photograph.
        visible: (1, 1, S, S) bool. Whether the pixel shows the fitted body and the photograph shows the point.
        size: Pixels. Longer side of the true body's box.
    """

    photo: NDArray[np.uint8]
    rendering: BodyRendering
    truth: Tensor
    visible: Tensor
    size: float


@dataclass(eq=False)
class RefinerExamples:
    """Makes the example of a person: a dictionary of arrays.

    photo      (3, S, S) uint8
    rendering  (C, S, S) float32, see `rendering_input`
    truth      (2, S, S) float32, pixels of the crop
    drawn      (1, S, S) bool, on the fitted body
    visible    (1, S, S) bool, on the fitted body and visible in the photograph
    size       () float32, pixels of the crop, longer side of the true body's box
    textured   (4, S, S) float32, 0 … 1, if `with_textured`: the textured rendering and its mask

    Args:
        people: People of a cache with poses.
        bodies: The models that their parameters belong to; the first one is for people without a model's name.
        options: Options of the network.
        changes: Random changes.
        texels: Texels along the sides of the texture; 0 for as many as the crop has pixels.
        with_textured: Add `textured`, for contact sheets.
    """

    people: People
    bodies: Sequence[Body]
    options: DisplacementOptions
    changes: ExampleChanges = HELD_OUT
    texels: int = 0
    with_textured: bool = False

    def __post_init__(self) -> None:
        self.texels = self.texels or max(128, self.options.crop)
        self._other_frames = other_frames(self.people)

    def _body_of(self, example: Example) -> Body:
        models = {body.name: body for body in self.bodies}
        return model_for(models, example.person.body, example.person.gender) or self.bodies[0]

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
        """Draw the photograph, the rendering and the truth of an example.

        Args:
            number: Index of the person.
            random: Source of the random numbers.
        """
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
        true_vertices = _vertices(body, _truth(examples))
        texture = self._texture(body, examples, vertices, true_vertices, random)
        fit_points = torch.from_numpy(crop.directions(vertices[0].numpy()))
        rendering = render_bodies(body, fit_points[None], [camera], self.options.crop, [texture])
        true_points = torch.from_numpy(crop.directions(true_vertices[0].numpy()))
        displacements, visible = true_displacements(rendering, body.faces, true_points[None], [camera])
        visible[0] &= _shows_person(example, crop, displacements[0])
        photo = _change_photo(crop.image(example.image), random, self.changes)
        pixels = camera.project(true_points, near=NEAR)
        rendering = _change_light(rendering, random, self.changes)
        if random.random() < self.changes.mirror:
            rendering, photo = mirrored_rendering(rendering), photo[:, ::-1]
            displacements = displacements.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
            visible = visible.flip(-1)
        return DrawnFit(photo, rendering, displacements, visible, float((pixels.amax(0) - pixels.amin(0)).max()))

    def _chosen_frames(self, number: int, random: np.random.Generator) -> list[int]:
        frames = self._other_frames[number]
        count = min(len(frames), int(random.integers(self.changes.min_frames, self.changes.frames + 1)))
        return [int(frame) for frame in random.permutation(frames)[:count]]

    def _crop(self, example: Example, vertices: Tensor, random: np.random.Generator) -> Crop:
        changes = self.changes
        size = self.options.crop
        turn, zoom, shift_x, shift_y = random.uniform(-1, 1, 4)
        pixels = _camera(example).project(vertices, near=NEAR)
        return crop_around_box(
            torch.cat((pixels.amin(0), pixels.amax(0))).double().numpy(),
            size,
            fill=BODY_FILL,
            angle=changes.rotation * turn,
            scale=1 + changes.scale * zoom,
            shift=(changes.shift * size * shift_x, changes.shift * size * shift_y),
        )

    def _texture(
        self,
        body: Body,
        examples: Sequence[Example],
        vertices: Tensor,
        true_vertices: Tensor,
        random: np.random.Generator,
    ) -> Texture:
        """Bake the texture from the frames that the changes select; the first example is the photograph."""
        changes = self.changes
        draw = random.random()
        texel_map = self._texel_maps[body.name]
        first = 0 if draw < changes.own_only or random.random() < changes.own_too else 1
        last = 1 if draw < changes.own_only else len(examples)
        if last > 1 and random.random() < changes.true_bodies:
            first, vertices = 1, true_vertices  # with the photograph itself, the displacement would be given
        samples = TextureSamples(self.texels)
        if draw < 1 - changes.untextured:
            for example, points in list(zip(examples, vertices, strict=True))[first:last]:
                size = max(example.size)
                crop = Crop(1.0, 0.0, (0.0, 0.0), (size, size))  # the complete image
                view = PersonView(example.image, crop, _camera(example), np.zeros(example.image.shape[:2], bool))
                mask = None if example.mask is None else example.mask / np.float32(255)
                samples.add(bake_view(view, body, points, mask, texel_map))
        return _change_texture(samples.texture(texel_map.covered), random, changes)


def other_frames(people: People) -> list[NDArray[np.int64]]:
    """Return for each person the indices of the same person in other frames of the sequence."""
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
    """Return whether the cache has a fit of the person that differs from the label."""
    person = example.person
    columns = (person.fit_poses, person.fit_betas, person.fit_trans)
    has_fit = all(column is not None and bool(np.isfinite(column).all()) for column in columns)
    labels = (person.poses, person.betas, person.trans)
    return has_fit and not all(np.array_equal(*pair) for pair in zip(columns, labels, strict=True))  # type: ignore[arg-type]


def _camera(example: Example) -> Camera:
    return Camera(example.focal, example.principal_point, example.size)


def _truth(examples: Sequence[Example]) -> PersonFits:
    people = [example.person for example in examples]
    poses, betas, trans = (
        torch.from_numpy(np.stack([np.asarray(getattr(person, name), np.float32) for person in people]))
        for name in ("poses", "betas", "trans")
    )
    return PersonFits(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, trans, _scales(examples))


def _scales(examples: Sequence[Example]) -> Tensor:
    """Return the labelled scales (T, 24) of the segments."""
    ones = np.ones(len(SMPL24), np.float32)
    return torch.from_numpy(np.stack([ones if (s := e.person.segment_scales) is None else s for e in examples]))


def _vertices(body: Body, people: PersonFits) -> Tensor:
    """Return the vertices (T, V, 3) in metres, camera axes."""
    return body.pose(people.rotations, people.betas, people.trans, people.segment_scales).surface


def _shows_person(example: Example, crop: Crop, displacements: Tensor) -> Tensor:
    """Return (1, S, S) whether the photograph shows the person at the pixels moved by displacements (2, S, S)."""
    size = crop.size[0]
    if example.mask is None:
        return torch.ones(1, size, size, dtype=torch.bool)
    mask = torch.from_numpy(crop.warp(example.mask, cv2.INTER_NEAREST) > 127)
    centres = torch.arange(size) + 0.5
    x = centres + displacements[0]
    y = centres[:, None] + displacements[1]
    return mask[y.floor().long().clamp(0, size - 1), x.floor().long().clamp(0, size - 1)][None]


def _colour_change(random: np.random.Generator, width: float) -> ColourChange:
    turn, saturation, contrast, brightness = random.uniform(-1, 1, 4) * width
    return ColourChange(20.0 * turn, 1 + 0.35 * saturation, 1 + 0.35 * contrast, 0.12 * brightness)


def _change_photo(image: NDArray[np.uint8], random: np.random.Generator, changes: ExampleChanges) -> NDArray[np.uint8]:
    """Change the colours of a photograph, and add blur, noise and compression."""
    image = change_colour(image, _colour_change(random, changes.colour))
    blur, has_noise, compress = random.random(3) < changes.damage
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


def _change_texture(texture: Texture, random: np.random.Generator, changes: ExampleChanges) -> Texture:
    """Change the colours of a texture, blur it, and add noise and holes."""
    colour = change_colour(texture[..., :3], _colour_change(random, 0.5 * changes.light))
    alpha = texture[..., 3]
    blur, has_noise = random.random(2) < changes.damage
    side = len(texture)
    if blur:
        colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), side * random.uniform(0.004, 0.02)), np.uint8)
    if has_noise:
        colour = _noisy(colour, random, random.uniform(2, 20))
    if random.random() < changes.holes:
        alpha = alpha.copy()
        for _ in range(int(random.integers(1, 5))):
            centre = random.integers(0, side, 2).tolist()
            axes = (side * random.uniform(0.03, 0.2, 2)).astype(int).tolist()
            cv2.ellipse(alpha, centre, axes, random.uniform(0, 180), 0, 360, 0, -1)
    return np.dstack((colour, alpha))


def _change_light(rendering: BodyRendering, random: np.random.Generator, changes: ExampleChanges) -> BodyRendering:
    """Make the texture brighter on one side, as if it had been baked in other light."""
    direction = random.normal(size=3)
    strength = changes.light * random.uniform(0, 0.35)
    light = torch.from_numpy((direction / np.linalg.norm(direction) * strength).astype(np.float32))
    shade = 1 + (rendering.normals * light[:, None, None]).sum(1, keepdim=True)
    return replace(rendering, rgb=(rendering.rgb * shade).clamp(0, 1))
