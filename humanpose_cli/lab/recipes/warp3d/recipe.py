"""`hpc train warp3d`: reposing by warping 3-D features (Knoche, Sárándi, Leibe 2020, section 3.2).

    L = λ_perc L_perc(Î_G, I_T) + λ_adv L_adv,   λ_perc = 3, λ_adv = 1

L_adv is the non-saturating GAN loss. Generator and discriminator alternate, one step each, with Adam (2e-4, betas 0.5
and 0.999), smoothed labels and weight decay (the authors' code). Two further losses, off by default, speed up short
trainings: the binary cross entropy of the soft mask, and the perceptual distance within the person's pixels, which are
few, so that their colours and limbs are otherwise learned late.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, softplus

from humanpose_cli.body.warping_parts import WarpingParts
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import Options, option
from humanpose_cli.lab.cache.augmentation import NO_AUGMENTATION, WARP3D_AUGMENTATION, Augmentation
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.drawing import draw_keypoints
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, spread_evenly
from humanpose_cli.lab.metrics.images import mask_iou, ssim, ssim_foreground
from humanpose_cli.lab.recipes.people import (
    data_facts,
    listed_splits,
    training_protocol,
    validation_facts,
    validation_split,
)
from humanpose_cli.lab.recipes.warp3d.discriminator import Discriminator, initialise
from humanpose_cli.lab.recipes.warp3d.pairs import PairCrops, Pairs, collated_pairs, drawn_pairs, listed_pairs
from humanpose_cli.lab.recipes.warp3d.perceptual import distance_within, perceptual_loss, total_distance
from humanpose_cli.lab.train.recipe import Phase, Recipe, TrainOptions, check_batch, held_out_batches, moved
from humanpose_cli.models.warp3d.config import PRESETS, DiscriminatorConfig, GeneratorConfig
from humanpose_cli.models.warp3d.generator import (
    MODEL,
    Generated,
    Generator,
    read_generator,
    to_bytes,
    to_network,
)
from humanpose_cli.models.warp3d.layers import LiftingEncoder
from humanpose_cli.networks.weights import fill, find_weights, trainings_of
from humanpose_cli.rendering.overlay import person_colour

_PERCEPTUAL_WEIGHT = 3.0  # λ_perc
_BETAS = (0.5, 0.999)  # of Adam, for both sides
_HELD_OUT_GROUPS = 10  # one group in ten of the split "train" is held out if the protocol has no split for validation
# The authors' code, for generators with `authors_details`.
_DEPTH_JITTER = 0.5  # pixels, max displacement in depth of all the target's joints in training
_LABEL_SMOOTHING = 0.25  # twice the difference between 1 and the label of true images in the discriminator's loss
_WEIGHT_DECAY = 1e-4  # weight of half the squared weights of E2D's convolutions and of the discriminator's but the last
_SHEET_PAIRS = 8  # pairs of the contact sheet
_SHEET_GAP = 2  # pixels between its cells


@dataclass(frozen=True)
class Warp3dTraining(Options):
    """Options of reposing's training. The switches of the ablation are the generator's `warping` and `pose`."""

    generator: GeneratorConfig = option(PRESETS["paper"].generator, "Its shape.")
    discriminator: DiscriminatorConfig = option(PRESETS["paper"].discriminator, "Its shape.")
    adversarial_weight: float = option(
        1.0, "Weight λ of the adversarial loss; 0 trains without a discriminator.", minimum=0
    )
    adversarial_after: int = option(
        0, "Steps that the generator trains alone before the discriminator joins (0 in the paper).", minimum=0
    )
    mask_weight: float = option(0.0, "Weight λ of the mask's loss.", minimum=0)
    person_weight: float = option(0.0, "Weight λ of the person's loss.", minimum=0)
    perceptual: str = option(
        "auto",
        "Network of the perceptual loss: a file, a name, pixels, or auto (the paper's imagenet-vgg19 if available).",
    )
    augmentation: Augmentation = option(WARP3D_AUGMENTATION, "Augmentation of both images of a pair alike.")
    learning_rate: float = option(2e-4, "Learning rate of Adam, for generator and discriminator.", above=0)
    start: str = option(
        "",
        "Initial weights of a generator of the same shape and `colour_stride`; what `colour_stride` adds may be "
        "missing.",
        unset="random weights",
    )
    protocol: str = option(
        "",
        "Protocol of the cache.",
        unset="the first that lists training pairs, else the usual one",
    )
    validation: int = option(128, "Maximum number of pairs in a validation.", minimum=1)


def _training(name: str) -> Warp3dTraining:
    """Return the default settings for a preset of shapes."""
    return Warp3dTraining(PRESETS[name].generator, PRESETS[name].discriminator)


WARP3D_PRESETS: dict[str, tuple[Warp3dTraining, TrainOptions]] = {
    "paper": (
        replace(_training("paper"), perceptual="imagenet-vgg19"),
        TrainOptions(steps=150_000, batch_size=2, decay=0.0, keep="last", precision="full"),
    ),
    "medium": (_training("medium"), TrainOptions(epochs=40, batch_size=8, decay=0.0, average=0.999)),
    "small": (
        replace(
            _training("small"),
            perceptual="segmenter",
            adversarial_weight=0.05,
            adversarial_after=6_667,
            mask_weight=0.4,
            person_weight=2.0,
            learning_rate=5e-4,
        ),
        TrainOptions(steps=20_000, batch_size=8, decay=0.9, clip=5.0, average=0.998),
    ),
    "tiny": (
        replace(_training("tiny"), perceptual="pixels", adversarial_weight=0.0, mask_weight=0.2, learning_rate=1e-3),
        TrainOptions(
            epochs=1,
            batch_size=8,
            decay=0.9,
            clip=5.0,
            average=0.995,
            validate_every=500,
            log_every=20,
        ),
    ),
}
"""`paper`: section 3.2. `tiny`: ablations of about eight minutes on two cores."""


class Warp3dRecipe(Recipe[Mapping[str, Tensor]]):
    """Generator and discriminator on pairs of a cache, evaluated by the perceptual loss on held-out pairs.

    Args:
        data: Path of the cache.
        options: Options of the training.
        seed: Seed of the weights.
    """

    name, criterion = MODEL, "perceptual"

    def __init__(self, data: Path | str, options: Warp3dTraining | None = None, *, seed: int = 0) -> None:
        self.options = options or Warp3dTraining()
        self.perceptual = perceptual_loss(self.options.perceptual)
        torch.manual_seed(seed)
        self.cache = open_cache(data)
        self.pairs, self.held_out, from_test = _split_pairs(self.cache, self.options)
        train, held_out = (pairs.images(range(len(pairs))) for pairs in (self.pairs, self.held_out))
        protocol = _protocol(self.cache, self.options)
        count = min(len(self.held_out), self.options.validation)
        self.validation_data = validation_facts(self.cache, protocol, train, held_out, count, "pairs")
        if from_test:
            self.validation_data |= {"split": "test", "apart": False}
        if left_out := self.pairs.left_out(self.held_out):
            self.validation_data["left_out"] = left_out
        self.generator = Generator(self.options.generator)
        if self.options.generator.authors_details:
            initialise(self.generator, *_resnet(self.generator.lifting))
        self._began_with: list[dict[str, Any]] = []
        if self.options.start:
            path = find_weights(self.options.start)
            tensors, header = read_generator(path)
            self._began_with = trainings_of(header)
            new = {n: v for n, v in self.generator.state_dict().items() if n.startswith("decoder.carried.")}
            fill(self.generator, {**new, **tensors}, path)
        self.discriminator: Discriminator | None = None
        self.model = nn.ModuleDict({"generator": self.generator})
        if self.options.adversarial_weight:
            self.discriminator = Discriminator(self.options.discriminator, self.options.generator)
            if self.options.generator.authors_details:
                initialise(self.discriminator, *_resnet(self.discriminator))
            self.model["discriminator"] = self.discriminator
        self._collate = partial(collated_pairs, config=self.options.generator)
        self._made: list[Generated] = []  # of the parts of a step, for the discriminator
        self._joined = not self.options.adversarial_after  # whether the discriminator takes part
        self._copies: Mapping[str, float] = {}

    def phases(self) -> Sequence[Phase]:
        o = self.options
        sides: list[tuple[str, nn.Module]] = [("generator", self.generator)]
        if self.discriminator is not None:
            sides.append(("discriminator", self.discriminator))
        return [Phase(name, list(module.parameters()), o.learning_rate, _BETAS) for name, module in sides]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        check_batch(self.cache.path, len(self.pairs), options, "pairs")
        o = self.options
        jitter = _DEPTH_JITTER if o.generator.authors_details else 0.0
        make = PairCrops(self.pairs, o.generator.size, o.augmentation, depth_jitter=jitter)
        return BatchLoader(range(len(self.pairs)), make, options, self._collate)

    def graph_key(self, step: int) -> Hashable:
        self._joined = step >= self.options.adversarial_after
        return self._joined

    def losses(self, phase: str, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Compute the losses of a phase.

        In the first `adversarial_after` steps the generator has no adversarial loss and the discriminator no loss.

        Args:
            phase: "generator" or "discriminator".
            batch: A batch of `collated_pairs`.

        Returns:
            loss, and the generator's terms by name, or the discriminator's mean logits `true` and `made`.
        """
        source, true = to_network(batch["input"]), to_network(batch["target"])
        if phase == "generator":
            drawing = self._drawn(batch)
            if self.discriminator is not None:
                self._made.append(drawing)
            return self._generator_losses(drawing, source, true, batch)
        assert self.discriminator is not None
        if not self._joined:
            self._made.clear()
            return None
        self.discriminator.requires_grad_(True)
        drawing = self._made.pop(0)
        true_logits = self.discriminator(source, true, drawing.heatmaps)
        made_logits = self.discriminator(source, drawing.image.detach(), drawing.heatmaps)
        authors = self.options.generator.authors_details
        # The cross entropy of a label of 1 − s / 2 is softplus(−x) + s x / 2.
        smoothing = _LABEL_SMOOTHING if authors else 0.0
        loss = (softplus(-true_logits) + smoothing / 2 * true_logits).mean() + softplus(made_logits).mean()
        if authors:
            loss = loss + _WEIGHT_DECAY * _half_squares(_resnet(self.discriminator))
        return {"loss": loss, "true": true_logits.mean(), "made": made_logits.mean()}

    def _generator_losses(
        self, drawing: Generated, source: Tensor, true: Tensor, batch: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        o = self.options
        maps = self.perceptual.to(true.device).maps(drawing.image, true)
        terms = {"perceptual": total_distance(maps)}
        loss = _PERCEPTUAL_WEIGHT * terms["perceptual"]
        if self.discriminator is not None and self._joined:
            # The generator's step needs no gradients of the discriminator's weights.
            self.discriminator.requires_grad_(False)
            terms["adversarial"] = softplus(-self.discriminator(source, drawing.image, drawing.heatmaps)).mean()
            loss = loss + o.adversarial_weight * terms["adversarial"]
        if o.mask_weight:
            terms["mask"] = _mask_loss(drawing.mask, batch)
            loss = loss + o.mask_weight * terms["mask"]
        if o.person_weight:
            terms["person"] = _person_loss(maps, batch)
            loss = loss + o.person_weight * terms["person"]
        if o.generator.authors_details:
            loss = loss + _WEIGHT_DECAY * _half_squares(_resnet(self.generator.lifting))
        return {"loss": loss, **terms}

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return the errors on held-out pairs.

        Returns:
            perceptual; l1 of images of 0 … 1; ssim; within the true person's mask ssim_fg, l1_fg and mask_iou; and
            copy_NAME of the unchanged input.
        """
        metrics: list[dict[str, Tensor]] = []
        copies: list[dict[str, Tensor]] = []
        for batch in self._held_out_batches(batch_size):
            drawing = self._generated(batch)
            batch = moved(batch, drawing.image.device)
            metrics.append(self._metrics(drawing.image, batch, drawing.mask))
            if not self._copies:
                copies.append(self._metrics(to_network(batch["input"]), batch, batch["source_mask"][:, None]))
        self._copies = self._copies or {f"copy_{name}": value for name, value in _means(copies).items()}
        return {**_means(metrics), **self._copies}

    def image(self) -> NDArray[np.uint8]:
        """Draw up to eight held-out pairs.

        Returns:
            (B · (S + 2), 6 · (S + 2), 3) uint8: input, target pose on the predicted background, prediction, truth,
            predicted mask, predicted background.
        """
        batch = next(iter(self._held_out_batches(_SHEET_PAIRS)))
        drawing = self._generated(batch)
        images, backgrounds = (to_bytes(pixels).cpu().numpy() for pixels in (drawing.image, drawing.background))
        masks = (255 * drawing.mask[:, 0].float()).round().byte().cpu().numpy()
        rows = []
        for i, (image, background) in enumerate(zip(images, backgrounds, strict=True)):
            pose_panel = np.ascontiguousarray(background // 2 + 96)
            draw_keypoints(pose_panel, batch["target_joints"][i, :, :2].cpu().numpy(), REPOSING19, person_colour(0))
            source, truth = (np.asarray(batch[name][i].cpu()) for name in ("input", "target"))
            cells = (source, pose_panel, image, truth, np.repeat(masks[i][..., None], 3, -1), background)
            padding = ((0, _SHEET_GAP), (0, _SHEET_GAP), (0, 0))
            rows.append(np.concatenate([np.pad(cell, padding, constant_values=255) for cell in cells], 1))
        return np.concatenate(rows, 0)

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.generator.state_dict(), asdict(self.generator.config)

    def describe(self) -> Mapping[str, Any]:
        return {
            **data_facts(self.cache),
            "pairs": len(self.pairs),
            "perceptual": self.perceptual.describe(),
            "recipe": asdict(self.options),
            **({"began_with": self._began_with} if self._began_with else {}),
        }

    def _held_out_batches(self, batch_size: int) -> BatchLoader:
        size, numbers = self.options.generator.size, spread_evenly(len(self.held_out), self.options.validation)
        return held_out_batches(PairCrops(self.held_out, size, NO_AUGMENTATION), numbers, batch_size, self._collate)

    @torch.no_grad()
    def _generated(self, batch: Mapping[str, Tensor]) -> Generated:
        return self._drawn(moved(batch, self.device))

    def _drawn(self, batch: Mapping[str, Tensor]) -> Generated:
        joints = batch["source_joints"], batch["target_joints"]
        parts = WarpingParts(batch["capsules"], batch["target_to_source"])
        silhouette = None
        if self.options.generator.short_cuts:
            has_mask = batch["masks_known"][:, None, None, None] > 0
            silhouette = torch.where(has_mask, batch["source_mask"][:, None], torch.nan)
        return self.generator(to_network(batch["input"]), *joints, parts, silhouette)

    @torch.no_grad()
    def _metrics(self, image: Tensor, batch: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """Return metrics (B,) of each pair, NaN if they need an unknown mask."""
        true, true_mask = to_network(batch["target"]), batch["target_mask"][:, None]
        has_mask = (batch["masks_known"] > 0) & (true_mask.sum((1, 2, 3)) > 0)
        a, b = image.float() / 2 + 0.5, true / 2 + 0.5
        errors = (a - b).abs().mean(1, keepdim=True)
        inside = (errors * true_mask).sum((1, 2, 3)) / true_mask.sum((1, 2, 3))
        by_mask = {"ssim_fg": ssim_foreground(a, b, true_mask), "l1_fg": inside, "mask_iou": mask_iou(mask, true_mask)}
        maps = self.perceptual.to(true.device).maps(image, true)
        return {
            "perceptual": distance_within(maps, torch.ones_like(true_mask[:, 0])),
            "l1": errors.mean((1, 2, 3)),
            "ssim": ssim(a, b),
            **{name: torch.where(has_mask, values, float("nan")) for name, values in by_mask.items()},
        }


def _split_pairs(cache: Cache, options: Warp3dTraining) -> tuple[Pairs, Pairs, bool]:
    """Select the training pairs and the pairs of validations, and whether these are from the split "test"."""
    protocol = _protocol(cache, options)
    train = pairs_of(cache, protocol, "train")
    if validation_split(cache, protocol) == "validation":
        return train, pairs_of(cache, protocol, "validation"), False
    if options.generator.authors_details and "test" in cache.splits.get(protocol, ()):
        # The authors train on all groups and keep the last step, so that validations use the split "test".
        return train, pairs_of(cache, protocol, "test"), True
    train, held_out = train.groups_held_out(_HELD_OUT_GROUPS)
    if not len(train):
        raise InputError(cache.path, "has too few pairs to hold some out", expected="two groups of images or more")
    return train, held_out, False


def _protocol(cache: Cache, options: Warp3dTraining) -> str:
    """Return the chosen protocol, or the first one with training pairs, training images, or else the usual one."""
    # A protocol without training pairs can list pairs to evaluate on.
    pairs = cache.pair_splits
    names = [name for name in pairs if "train" in pairs[name]]
    names += [name for name in pairs if "train" in cache.splits.get(name, ())]
    return training_protocol(cache, options.protocol or next(iter(names), ""))


def pairs_of(cache: Cache, protocol: str, split: str) -> Pairs:
    """Return the pairs of a split: as listed, or drawn if groups have more than two images or no pair is listed.

    Args:
        cache: The cache.
        protocol: Protocol of the cache.
        split: Split of the protocol.

    Raises:
        InputError: If there are no pairs.
    """
    is_listed = split in cache.pair_splits.get(protocol, ())
    rows = cache.rows(protocol, split) if split in cache.splits.get(protocol, ()) else None
    if rows is None and not is_listed:
        raise InputError(
            cache.path, f"has no pairs of {protocol or 'a protocol'}/{split}", expected=listed_splits(cache)
        )
    starts = np.sort([group.start for group in cache.groups.values()])
    large = rows is not None and np.bincount(np.searchsorted(starts, rows, side="right")).max(initial=0) > 2
    if rows is not None and (large or not is_listed):
        pairs = drawn_pairs(cache, rows)
    else:
        pairs = listed_pairs(cache, protocol, split)
    if not len(pairs):
        raise InputError(
            cache.path,
            f"has no pair of images of one person in {protocol}/{split}",
            remedy="make it with pairs or clips: hpc preprocess synthetic --pairs, or of a source that has them",
        )
    return pairs


def _resnet(network: nn.Module) -> list[nn.Module]:
    """Return the layers of the authors' ResNet, which have weight decay and He's initialisation."""
    names = ("stem", "stages") if isinstance(network, LiftingEncoder) else ("images", "pose", "blocks")
    return [network.get_submodule(name) for name in names]


def _half_squares(modules: Sequence[nn.Module]) -> Tensor:
    """Return half the sum of the squared weights of all convolutions."""
    weights = [weight for module in modules for weight in module.parameters() if weight.ndim == 4]
    return torch.stack([weight.float().square().sum() for weight in weights]).sum() / 2


def _mask_loss(mask: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the mean cross entropy over the pairs with a known true mask."""
    with torch.autocast(mask.device.type, enabled=False):
        has_mask = batch["masks_known"]
        probability = mask[:, 0].float().clamp(1e-5, 1 - 1e-5)
        entropy = binary_cross_entropy(probability, batch["target_mask"], reduction="none")
        return (entropy.mean((1, 2)) * has_mask).sum() / has_mask.sum().clamp_min(1)


def _person_loss(maps: Sequence[Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Return the mean perceptual distance within the true person's pixels over the pairs that show a person."""
    mask = batch["target_mask"] * batch["masks_known"][:, None, None]
    return distance_within(maps, mask).sum() / mask.flatten(1).any(1).sum().clamp_min(1)


def _means(values: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the means over the finite values of all batches, without metrics that have none."""
    columns = {name: torch.cat([batch[name].cpu() for batch in values]) for name in (values[0] if values else {})}
    means = {name: float(pairs.nanmean()) for name, pairs in columns.items()}
    return {name: value for name, value in means.items() if np.isfinite(value)}
