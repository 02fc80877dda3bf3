"""Light and colours of meshes: the kernels against the reference, within a grey level of 255."""

from __future__ import annotations

import pytest
import torch
from helpers.errors import raises
from helpers.raster_cases import sphere

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine import launching
from humanpose_cli.engine.drawing import launches as drawing_launches
from humanpose_cli.engine.drawing.op import Lighting, MeshPaint, light_vertices, paint, yuv420
from humanpose_cli.engine.rasterising import launches as rasterising_launches
from humanpose_cli.engine.rasterising.op import draw_samples, merge_meshes

SIZE = (180, 240)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def drawn(backend: str, target: torch.Tensor, device: torch.device | str = "cpu", samples: int = 4, **options):
    """Draw two ellipsoids that pass through each other, a lit and hatched one and one with colours of samples."""
    near = sphere(3, size=SIZE, focal=270.0, device=device)
    meshes = merge_meshes(
        [near.vertices, near.vertices + torch.tensor([0.4, 0.1, 0.2], device=device)], [near.faces] * 2
    )
    image = draw_samples(
        meshes.vertices, meshes.faces, near.focal, near.principal_point, SIZE, samples=samples, backend=backend
    )
    light = light_vertices(near.vertices[0], near.faces, Lighting(), backend=backend)
    hatched = near.vertices[0, :, 1] > 0
    paints = [MeshPaint(light, (0.3, 0.6, 0.9), hatched), MeshPaint(0.5 + light, None)]
    colours = random(samples, *SIZE, 3).to(device)
    target = target.to(device)
    paint(image, meshes, paints, target, colours, stripe=5, **options)
    return target.cpu(), image


def photo() -> torch.Tensor:
    return (256 * random(*SIZE, 3, seed=1)).to(torch.uint8)


@pytest.mark.parametrize("samples", [1, 4])
def test_images_are_the_references_within_a_grey_level(device, samples):
    options = {"opacity": 0.7, "phase": 7, "samples": samples}
    (found, _), (expected, image) = (drawn(b, photo(), device, **options) for b in ("kernel", "reference"))
    assert (found.int() - expected.int()).abs().max() <= 1
    assert (found != expected).float().mean() < 0.01
    shown = (image.raster.face >= 0).any(0).cpu()
    assert torch.equal(found[~shown], photo()[~shown])
    assert (found[shown] != photo()[shown]).float().mean() > 0.9
    assert 0.2 < shown.float().mean() < 0.8


def test_layers_are_the_references_and_hold_the_share_of_samples(device):
    empty = torch.zeros(*SIZE, 4, dtype=torch.uint8)
    (found, image), (expected, _) = (drawn(b, empty.clone(), device) for b in ("kernel", "reference"))
    assert (found.int() - expected.int()).abs().max() <= 1
    shown = 255 * (image.raster.face >= 0).float().mean(0).cpu()
    alpha = found[..., 3].float()
    gaps = alpha < shown - 1
    assert 0.05 < gaps.float().mean() < 0.4
    torch.testing.assert_close(alpha[~gaps], shown[~gaps], rtol=0, atol=0.51)


def test_threads_change_no_bit(two_threads):
    split, _ = drawn("kernel", photo())
    torch.set_num_threads(1)
    assert torch.equal(drawn("kernel", photo())[0], split)


def test_one_pixel_a_thread(monkeypatch):
    """The launches of CUDA, on the CPU."""
    expected, _ = drawn("kernel", photo())
    monkeypatch.setattr(rasterising_launches, "on_cpu", lambda device: False)
    for module in (rasterising_launches, drawing_launches):
        monkeypatch.setattr(
            module, "launch", lambda k, n, a, device, cost=0: launching.launch(k, n, a, torch.device("cpu"), 0)
        )
    assert torch.equal(drawn("kernel", photo())[0], expected)


def test_light_is_the_references_also_at_vertices_without_faces(device):
    ball = sphere(4, device=device)
    vertices = torch.cat((ball.vertices[0], torch.ones(3, 3, device=device)))
    for light in (Lighting(), Lighting((1, 0, 0), ambient=0.2, wrap=0.0, rim=0.4)):
        found, expected = (light_vertices(vertices, ball.faces, light, backend=b) for b in ("kernel", "reference"))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert found[:-3].std() > 0.1


def test_yuv_is_bt_709s_in_the_range_of_video():
    image = torch.cat((photo(), 255 * (photo() // 128)))  # colours of all kinds, and those at the ends
    found, expected = (yuv420(image, backend=b) for b in ("kernel", "reference"))
    assert torch.equal(found, expected)
    red, green, blue = image.double().movedim(-1, 0) / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = [224 * (colour - luma) / (2 * (1 - share)) for colour, share in ((blue, 0.0722), (red, 0.2126))]
    of_squares = torch.nn.functional.avg_pool2d(torch.stack(chroma), 2)
    planes = torch.cat((16 + 219 * luma.flatten(), 128 + of_squares.flatten())).view(-1, image.shape[1])
    torch.testing.assert_close(found.double(), planes, rtol=0, atol=0.52)


def test_targets_and_lights_of_other_shapes_are_refused():
    with raises(UsageError, subject="target"):
        drawn("kernel", photo()[1:])
    with raises(UsageError, subject="image"):
        yuv420(photo()[1:])
    ball = sphere(1)
    meshes = merge_meshes([ball.vertices], [ball.faces])
    image = draw_samples(meshes.vertices, meshes.faces, ball.focal, ball.principal_point, SIZE)
    with raises(UsageError, subject="light"):
        paint(image, meshes, [MeshPaint(torch.ones(3), (1, 1, 1))], photo())
    with raises(UsageError, subject="faces"):
        light_vertices(ball.vertices[0][:5], ball.faces, Lighting())
