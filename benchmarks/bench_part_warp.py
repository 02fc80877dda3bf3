"""Warping a person's ten parts in a feature volume, against ten grid_samples and a running maximum in torch.

Two people of height 218 in an image of 256, each carried from one pose of the library to another; 64 channels, 32 ×
64 × 64 voxels, forwards and with the gradient to the volume. Torch gets the volume in the layout that its grid_sample
expects, and its masks are made beforehand, outside of the measured time, where ours are part of it. Forwards, both
sides keep what a gradient would need. Values and gradients are compared before anything is timed.

    python benchmarks/bench_part_warp.py [--device cuda] [--threads N] [--repeats N]
"""

from __future__ import annotations

import argparse

import torch
from side_by_side import Work, compare
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.body.warping_parts import WarpingParts, warping_parts
from humanpose_cli.engine.warping.op import capsule_masks, warp_parts

BATCH, CHANNELS, SIZE = 2, 64, (32, 64, 64)
IMAGE, HEIGHT = 256, 218  # pixels
VOXEL = (4.0, 4.0, 8.0)  # pixels along x, y, z
AGAINST = "ten grid_samples and a running maximum in torch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="torch takes seconds a time on a CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = options.device
    parts = people(device)
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn((BATCH, CHANNELS, *SIZE), generator=generator).to(device).requires_grad_()
    volume = plain.detach().contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    upstream = torch.randn(plain.shape, generator=generator).to(device)
    upstream_last = upstream.contiguous(memory_format=torch.channels_last_3d)
    masks = capsule_masks(parts.capsules, parts.part_of_capsule, 10, SIZE, voxel_size=VOXEL)

    def ours() -> Tensor:
        arguments = (parts.capsules, parts.part_of_capsule, parts.target_to_source)
        return warp_parts(volume, *arguments, voxel_size=VOXEL, backend="kernel")

    def theirs() -> Tensor:
        return grid_samples(plain, masks, parts.target_to_source)

    reached = check(ours, theirs, (volume, plain), upstream)
    output_bytes, read = 4 * plain.numel(), 4 * CHANNELS * reached
    common = {"against": AGAINST, "device": device, "repeats": options.repeats, "memory_reach": 8.0}
    on_cpu = device == "cpu"
    name = f"part warp, {BATCH} × {CHANNELS} × {'×'.join(map(str, SIZE))}, {reached} voxels reached"
    flops = 16 * CHANNELS * reached
    compare(name, ours, theirs, reach=70.0 if on_cpu else 10.0, work=Work(output_bytes + read, flops), **common)
    compare(
        f"{name}, forwards and backwards",
        lambda: torch.autograd.grad(ours(), volume, upstream_last),
        lambda: torch.autograd.grad(theirs(), plain, upstream),
        reach=150.0 if on_cpu else 10.0,
        work=Work(2 * output_bytes + 2 * read, 2 * flops),
        **common,
    )


def people(device: str) -> WarpingParts:
    """Return two poses of the pose library and the joints of two target poses."""
    library, body = pose_library(), default_body()
    rows = torch.randint(len(library), (2 * BATCH,), generator=torch.Generator().manual_seed(0))
    rotations = library.rotations(rows).clone()
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]  # to camera axes
    betas = torch.zeros(1, body.shape_count)
    posed = body.pose(rotations, betas, vertices=False)
    joints = body.pose_landmarks("reposing19", posed, betas)
    middle = (joints.amin(1) + joints.amax(1)) / 2
    rest = body.rest(betas).vertices[..., 1]
    joints = (joints - middle[:, None]) * (HEIGHT / float(rest.max() - rest.min())) + IMAGE / 2
    joints = joints.to(device)
    return warping_parts(joints[:BATCH], joints[BATCH:]).in_voxels(VOXEL)


def grid_samples(volume: Tensor, masks: Tensor, target_to_source: Tensor) -> Tensor:
    """The same from torch's own operations: maxᵢ grid_sample(Mᵢ ⊙ V)."""
    depth, height, width = volume.shape[2:]
    size = torch.tensor([width, height, depth], dtype=volume.dtype, device=volume.device)
    # Voxel coordinates v are (g + 1) size / 2 in those of the grid.
    linear = target_to_source[..., :3] * size / size[:, None]
    offset = (target_to_source @ torch.cat((size / 2, size.new_ones(1)))) * 2 / size - 1
    thetas = torch.cat((linear, offset[..., None]), -1)
    warped = None
    for part in range(masks.shape[1]):
        grid = torch.nn.functional.affine_grid(thetas[:, part], list(volume.shape), align_corners=False)
        moved = torch.nn.functional.grid_sample(volume * masks[:, part, None], grid, align_corners=False)
        warped = moved if warped is None else torch.maximum(warped, moved)
    return warped


def check(ours, theirs, volumes: tuple[Tensor, Tensor], upstream: Tensor) -> int:
    """Stops unless both sides give the same values and gradients; else how many voxels a part reaches.

    A maximum between numbers that rounding brings near one another may go to either part, and its gradient with it.
    """
    outputs = ours(), theirs()
    gradients = [torch.autograd.grad(o, v, upstream)[0] for o, v in zip(outputs, volumes, strict=True)]
    torch.testing.assert_close(*(o.detach() for o in outputs), rtol=0, atol=1e-4)
    flipped = int(((gradients[0] - gradients[1]).abs() > 1e-3).sum())
    if flipped > 1e-4 * upstream.numel():
        raise SystemExit(f"the two disagree about {flipped} of {upstream.numel()} numbers of the gradient")
    return int((outputs[0].detach() != 0).any(1).sum())


if __name__ == "__main__":
    main()
