"""Scenes: the same bytes anywhere, people where their labels say, light, shadows and what hides what."""

import copy
import hashlib
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.cached_body import body, labels
from helpers.fresh_process import run_fresh
from helpers.synthetic_people import actor, bank, naked

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.cache.label_maps import RENDERED_MAPS, LabelledMesh, render_label_maps
from humanpose_cli.lab.cache.samples import LABEL_MAPS
from humanpose_cli.lab.synthetic import scene as solids
from humanpose_cli.lab.synthetic.backgrounds import Background
from humanpose_cli.lab.synthetic.cameras import CameraOptions, Degradation, Light, SceneCamera, SceneLighting
from humanpose_cli.lab.synthetic.mesh import pose_dressed
from humanpose_cli.lab.synthetic.poses import held_pose, sample_motion
from humanpose_cli.lab.synthetic.renderer import SceneRenderer
from humanpose_cli.lab.synthetic.scene import Actor, Prop, SceneDescription, SceneOptions, sample_scene

SMALL = SceneOptions(size=(96, 128))


def draw_scene(seed: int, *actors: Actor, options: SceneOptions = SMALL) -> SceneDescription:
    return sample_scene(np.random.default_rng(seed), body(), actors or (actor(seed),), options)


def digest(seeds: range) -> str:
    total = hashlib.sha256()
    for seed in seeds:
        scene = draw_scene(seed, actor(seed), actor(seed + 50)) if seed % 2 else draw_scene(seed)
        image = SceneRenderer(body(), scene, labels()).render()
        for values in (image.image, *image.maps.values()):
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


@pytest.mark.extensive
def test_bytes_depend_on_no_number_of_threads_and_no_process():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = digest(range(2))
        torch.set_num_threads(4)
        four = digest(range(2))
    finally:
        torch.set_num_threads(threads)
    assert one == four
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import digest; print(digest(range(2)))"
    assert run_fresh(code).stdout.strip() == one


def test_labels_describe_the_image():
    scene = pickle.loads(pickle.dumps(draw_scene(5, actor(1), actor(2))))
    rendered_scene = SceneRenderer(body(), scene, labels()).render()
    assert rendered_scene.image.shape == (96, 128, 3)
    assert rendered_scene.image.dtype == np.uint8
    assert tuple(rendered_scene.maps) == RENDERED_MAPS
    for name, values in rendered_scene.maps.items():
        assert values.dtype == LABEL_MAPS[name].dtype
        np.testing.assert_array_equal(np.any(values.reshape(96, 128, -1), -1), rendered_scene.maps["persons"] > 0)
    assert rendered_scene.visible.tolist() == [int((rendered_scene.maps["persons"] == k).sum()) for k in (1, 2)]
    assert len(pickle.dumps(rendered_scene.visible)) > 0
    meshes = [
        LabelledMesh(pose_dressed(body(), p.mesh, p.rotations, p.trans)[0], body().faces, labels())
        for p in scene.people
    ]
    view = scene.camera.view
    things = [
        (torch.from_numpy(scene.camera.to_camera(p.solid.vertices).astype(np.float32)), torch.from_numpy(p.solid.faces))
        for p in scene.props
    ]
    for name, values in render_label_maps(meshes, view, occluders=things).items():
        np.testing.assert_array_equal(values, rendered_scene.maps[name])


@pytest.mark.slow
def test_people_are_where_their_parameters_say():
    for seed in range(6):
        scene = draw_scene(seed, options=replace(SMALL, camera=CameraOptions(cut=0), in_front=0, cards=0))
        person = scene.people[0]
        with torch.no_grad():
            pose = body().pose(person.rotations, person.betas[None], person.trans)
        assert pose.vertices is not None
        # The floor of the world is under the lowest vertex.
        world = (pose.vertices[0].numpy() - scene.camera.translation) @ scene.camera.rotation
        assert abs(world[:, 1].min()) < 2e-3
        maps = SceneRenderer(body(), scene, labels()).render().maps
        pixels = scene.camera.view.project(pose.joints[0]).numpy()
        inside = ((pixels >= 0) & (pixels < (128, 96))).all(1)
        assert inside[: SMPL24.index("left_hand")].mean() > 0.8
        column, row = pixels[inside].astype(int).T
        assert (maps["persons"][row, column] > 0).mean() > 0.7


def walking() -> SceneDescription:
    walker = Actor(naked(torch.zeros(10)), torch.zeros(10), sample_motion(np.random.default_rng(0), 3, 8.0))
    return draw_scene(4, walker, options=replace(SMALL, damage=0.0))


@pytest.mark.slow
def test_frames_of_a_clip_share_all_but_the_pose():
    scene = walking()
    renderer = SceneRenderer(body(), scene, labels())
    frames = [renderer.render(t) for t in range(len(scene))]
    empty = np.all([frame.maps["persons"] == 0 for frame in frames], 0)
    assert empty.any()
    assert not np.array_equal(frames[0].image, frames[2].image)
    repeated = renderer.render(0)
    np.testing.assert_array_equal(repeated.image, frames[0].image)
    pair = draw_scene(6, actor(3, frames=2))
    facing = [turn[:, 2] for turn in pair.people[0].rotations[:, 0]]
    assert not torch.allclose(facing[0], facing[1], atol=0.05)


def assert_alike(renderer: SceneRenderer) -> None:
    expected = SceneRenderer(body(), renderer.scene, labels())
    for frame in range(len(renderer.scene)):
        made, truth = renderer.render(frame), expected.render(frame)
        assert np.abs(made.image.astype(int) - truth.image).mean() < 0.05
        assert all((made.maps[name] != truth.maps[name]).mean() < 0.002 for name in ("persons", "parts"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_draws_what_the_cpu_draws():
    for scene in (walking(), draw_scene(1, actor(1), actor(51))):
        assert_alike(SceneRenderer(copy.deepcopy(body()).to("cuda"), scene, labels(), "cuda:0"))


@pytest.mark.extensive
@pytest.mark.parametrize("kind", ["room", "street", "studio"])
def test_no_person_walks_through_walls(kind):
    runner = Actor(naked(torch.zeros(10)), torch.zeros(10), sample_motion(np.random.default_rng(8), 4, 1.5))
    for seed in range(2):
        scene = replace(draw_scene(seed, runner), background=Background(kind, seed))
        renderer = SceneRenderer(body(), scene, labels())
        for frame in range(len(scene)):
            maps = renderer.render(frame).maps
            on_wall = (maps["persons"] > 0) & (renderer.backdrop.surface == 2)
            assert (maps["depth"][on_wall] / 1000 < renderer.backdrop.depth[on_wall]).all()


# A stage of one's own: a studio seen from the front, a light from above and one side.


def stage(sun: tuple[float, float, float], props: tuple[Prop, ...] = (), turn: bool = False) -> SceneDescription:
    """The body stands 4 m before a level camera 1 m above the floor."""
    camera = SceneCamera(
        Camera(110.0, (64.0, 64.0), (128, 128)),
        np.diag([1.0, -1.0, -1.0]).astype(np.float32),
        np.array([0, 1.0, 4.0], np.float32),
    )
    direction = np.asarray(sun) / np.linalg.norm(sun)
    lighting = SceneLighting(
        (0.3, 0.3, 0.3), np.zeros((3, 3), np.float32), Light(tuple(direction.tolist()), (0.8, 0.8, 0.8)), penumbra=0.01
    )
    standing = held_pose(bank().pose(0))
    standing = replace(standing, rotations=torch.eye(3).repeat(1, 24, 1, 1))
    scene = draw_scene(0, Actor(naked(torch.zeros(10)), torch.zeros(10), standing))
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    rotations[:, 0] = torch.from_numpy(camera.rotation)
    with torch.no_grad():
        low = body().pose(torch.eye(3).repeat(1, 24, 1, 1), torch.zeros(1, 10)).vertices[0, :, 1].min()
    pelvis = torch.tensor([[0.0, 1.0 + float(low), 4.0]])
    person = replace(scene.people[0], rotations=rotations, trans=pelvis)
    return SceneDescription(camera, lighting, Background("studio", 7), props, (person,), Degradation(), 0)


def floor_shadow(scene: SceneDescription) -> np.ndarray:
    """How much darker each pixel of the background is than without people."""
    renderer = SceneRenderer(body(), scene, labels())
    rendered_scene = renderer.render()
    darkening = renderer.backdrop.image.astype(float).mean(-1) - rendered_scene.image.mean(-1)
    return np.where(rendered_scene.maps["persons"] == 0, darkening, 0.0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_shadows_fall_away_from_the_sun(side):
    dark = floor_shadow(stage((side, 1.2, 0.6)))
    columns = np.arange(128) + 0.5 - 64
    weight = np.maximum(dark[66:], 0) * (dark[66:] > 6)
    assert weight.sum() > 500
    assert (weight * columns).sum() / weight.sum() * side < -5


def test_people_are_brighter_on_the_sunny_side():
    rendered_scene = SceneRenderer(body(), stage((1.0, 0.3, 0.3)), labels()).render()
    chest = rendered_scene.maps["parts"] == 1 + SMPL24.index("spine3")
    to_the_right = rendered_scene.maps["normals"][..., 0].astype(float)
    brightness = rendered_scene.image.mean(-1)
    assert np.corrcoef(to_the_right[chest], brightness[chest])[0, 1] > 0.8


def test_things_hide_what_is_behind_them_and_cast_shadows():
    board = solids.move_solid(solids.box((0.4, 0.4, 0.02)), np.array([0.0, 1.2, 0.6]))
    prop = Prop(board, ("plaster", 0), 1.0, (1.0, 1.0, 1.0))
    plain, with_prop = stage((0.0, 1.0, 0.6)), stage((0.0, 1.0, 0.6), (prop,))
    bare, after = (SceneRenderer(body(), scene, labels()).render() for scene in (plain, with_prop))
    lens = with_prop.camera
    corners = lens.view.project(torch.from_numpy(lens.to_camera(board.vertices).astype(np.float32))).numpy()
    x0, y0, x1, y1 = (*np.ceil(corners.min(0)).astype(int), *np.floor(corners.max(0)).astype(int))
    middle = np.zeros((128, 128), bool)
    middle[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = True
    assert bare.maps["persons"][middle].any()
    assert not after.maps["persons"][middle].any()
    outside = ~middle
    outside[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = False
    np.testing.assert_array_equal(bare.maps["persons"][outside], after.maps["persons"][outside])
    both = (after.maps["persons"] > 0) & outside
    assert (bare.image[both].mean(-1) - after.image[both].mean(-1)).max() > 15
    behind = Prop(solids.move_solid(board, np.array([0.0, 0.0, -2.0])), prop.tile, 1.0, prop.tint)
    rendered_scene = SceneRenderer(body(), stage((0.0, 1.0, 0.6), (behind,)), labels()).render()
    for name, values in bare.maps.items():
        np.testing.assert_array_equal(rendered_scene.maps[name], values)


def test_edges_are_smooth_and_colours_not_moved():
    """The image's silhouette lies where the label's does: to a small part of a pixel on average."""
    scene = stage((0.0, 0.2, 1.0))
    bright = replace(scene.people[0], mesh=naked(torch.zeros(10), grey=255))
    scene = replace(scene, people=(bright,), lighting=replace(scene.lighting, ambient=(3.0, 3.0, 3.0)))
    renderer = SceneRenderer(body(), scene, labels())
    renderer.backdrop = replace(renderer.backdrop, image=np.zeros_like(renderer.backdrop.image))
    rendered_scene = renderer.render()
    cover, label = rendered_scene.image[..., 0] / 255.0, rendered_scene.maps["persons"] > 0
    assert ((cover > 0.1) & (cover < 0.9)).sum() > 100
    grid = np.stack(np.meshgrid(np.arange(128), np.arange(128)), -1)
    offset = (grid * cover[..., None]).sum((0, 1)) / cover.sum() - (grid * label[..., None]).sum((0, 1)) / label.sum()
    assert np.abs(offset).max() < 0.15
    assert abs(cover.sum() / label.sum() - 1) < 0.02
