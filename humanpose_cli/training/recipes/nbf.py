"""`hpc train nbf`: from body parts, joints, pictures or what the detector says to shape and pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from humanpose_cli.bodies.smpl import body_by_name
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.loader import BatchLoader, LoaderOptions, spread_evenly
from humanpose_cli.errors import InputError
from humanpose_cli.fitting.nbf.body_layer import BodyLayer
from humanpose_cli.fitting.nbf.losses import Targets, keeps_3d, nbf_losses
from humanpose_cli.fitting.nbf.nbf import MODEL, NbfConfig, fill_regressor, nbf_config, segmented_input
from humanpose_cli.fitting.nbf.parameters import BodyParameters
from humanpose_cli.fitting.nbf.regressor import Regressor
from humanpose_cli.fitting.nbf.segmenter import Segmenter, load_backbone
from humanpose_cli.metrics.bodies import BodyErrors
from humanpose_cli.training.recipe import Phase, Recipe
from humanpose_cli.training.recipes.nbf_examples import BodyExamples, Memory, mean_parameters, needed_labels
from humanpose_cli.training.recipes.nbf_judging import crop_errors
from humanpose_cli.training.recipes.nbf_options import NbfTraining
from humanpose_cli.training.recipes.nbf_sheet import body_sheet
from humanpose_cli.training.recipes.people import People, check_batch, in_sight, split_people, spread_out

__all__ = ["NbfRecipe"]

_SHEET = 6


class _Model(nn.Module):
    """The regressor, and the segmenter if it learns too."""

    regressor: Regressor
    segmenter: nn.Module | None

    def __init__(self, regressor: Regressor, segmenter: nn.Module | None) -> None:
        super().__init__()
        self.regressor, self.segmenter = regressor, segmenter


class NbfRecipe(Recipe[Mapping[str, Tensor]]):
    """The losses of section 3.3; judged by the Procrustes-aligned error of held-out people's joints."""

    name, criterion = MODEL, "pa_mpjpe_mm"
    model: _Model

    def __init__(
        self, data: Path | str, options: NbfTraining | None = None, *, seed: int = 0, memory: Memory | None = None
    ) -> None:
        self.memory: Memory = {} if memory is None else memory
        options = options or NbfTraining()
        self.frozen = self._segmenter(options)
        if self.frozen is not None:
            options = replace(options, crop=self.frozen.options.crop)
        self.options = options
        torch.manual_seed(seed)
        rig = body_by_name(options.body)
        self.layer = BodyLayer(rig)
        self.people, self.held_out = self._split(data, rig.name.partition("-")[0])
        regressor = Regressor(options.inputs, options.regressor)
        if options.backbone and regressor.backbone is not None:
            load_backbone(regressor.backbone, Path(options.backbone))
        means = mean_parameters(self.people, options.body, options.inputs)
        if means is None:  # nobody's pose is known: an upright person who faces the camera
            upright = torch.diag(torch.tensor([1.0, -1.0, -1.0])).repeat(len(SMPL24), 1, 1)
            means = {"betas": torch.zeros(10), "rotations": upright}
        if options.start:
            fill_regressor(regressor, Path(options.start))
        regressor.set_mean(means["betas"], means["rotations"])
        learned = None
        if options.finetune and self.frozen is not None:
            learned, self.frozen = self.frozen.network.requires_grad_(True), None
        self.model = _Model(regressor, learned)

    def phases(self) -> Sequence[Phase]:
        o = self.options
        return [Phase("fit", list(self.model.parameters()), o.learning_rate, (o.beta1, 0.999), o.weight_decay)]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        people = self.people
        if not self.options.losses.extra_2d:
            people = self._only_3d(people)
        check_batch(people, options.batch_size * options.world_size)
        return BatchLoader(range(len(people)), self._examples(people, augmented=True), options)

    def losses(self, phase: str, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        found = self.predict(batch)
        return nbf_losses(found, Targets.of_batch(batch), self._layer_on(found.betas), self.options.losses)

    def predict(self, batch: Mapping[str, Tensor]) -> BodyParameters:
        """What the network says about a batch on its device."""
        if "picture" not in batch:
            return self.model.regressor(batch)
        if self.model.segmenter is not None:
            probabilities = self.model.segmenter(batch["picture"]).float().softmax(1)
        else:
            assert self.frozen is not None
            self.frozen.network.to(batch["picture"].device)
            with torch.no_grad():
                probabilities = self.frozen.probabilities(batch["picture"]).float()
        return self.model.regressor({**batch, "image": segmented_input(probabilities, self.options.inputs)})

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """mpjpe_mm, pa_mpjpe_mm and its median, pve_mm, err_quat_rad, pckh."""
        errors = self.errors(batch_size)
        return {
            "pa_mpjpe_mm": 1000 * float(errors.pa_mpjpe.mean()),
            "pa_mpjpe_median_mm": 1000 * float(np.median(errors.pa_mpjpe)),
            "mpjpe_mm": 1000 * float(errors.mpjpe.mean()),
            "pve_mm": 1000 * float(errors.pve.mean()),
            "err_quat_rad": float(errors.rotation.mean()),
            "pckh": float(errors.pckh.mean()),
        }

    def errors(self, batch_size: int) -> BodyErrors:
        """Errors of each held-out person, without changes at random; the model in evaluation mode."""
        return crop_errors(self.predict, self._held_out_batches(batch_size), self.layer, next(self.model.parameters()))

    @torch.no_grad()
    def picture(self) -> NDArray[np.uint8]:
        """Up to six held-out people: input, true body, predicted body."""
        numbers = self.held_out_numbers()[:_SHEET]
        make = self._examples(self.held_out, augmented=False)
        device = next(self.model.parameters()).device
        panels = []
        for number in numbers:
            batch = {k: torch.as_tensor(v)[None].to(device) for k, v in make(number, np.random.default_rng(0)).items()}
            found = self.predict(batch)
            layer = self._layer_on(found.betas)
            true = layer(batch["betas"], batch["rotations"], "vertices").points[0]
            told = layer(found.betas, found.rotations, "vertices").points[0]
            random = np.random.default_rng(0)
            evidence = make.evidence(make.view(number, random, picture=True), random, 0.0)
            panels.append(body_sheet(evidence, batch, self.options.inputs, true.cpu(), told.cpu(), self.layer))
        half = (len(panels) + 1) // 2
        columns = [np.concatenate(panels[:half], 0), np.concatenate(panels[half:] or panels[:half], 0)]
        height = min(len(column) for column in columns)
        return np.concatenate([column[:height] for column in columns], 1)

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        o = self.options
        tensors = {f"regressor.{name}": value for name, value in self.model.regressor.state_dict().items()}
        segmenter = None
        if self.model.segmenter is not None:
            segmenter = self._learned
            tensors |= {f"segmenter.{name}": value for name, value in self.model.segmenter.state_dict().items()}
        body = body_by_name(o.body).name.partition("-")[0]
        return tensors, nbf_config(NbfConfig(o.inputs, o.regressor, o.crop, body, segmenter))

    def describe(self) -> Mapping[str, Any]:
        return {**self.people.describe(), "recipe": self.options.plain()}

    def _segmenter(self, options: NbfTraining) -> Segmenter | None:
        if options.source != "segmenter":
            return None
        found = Segmenter.load(Path(options.segmenter), parts=options.inputs.parts)
        self._learned = found.options
        return found

    def _split(self, data: Path | str, body: str) -> tuple[People, People]:
        o = self.options
        segmented = o.source == "segmenter"
        needs = needed_labels(o.inputs, o.losses, segmented=segmented, framing=o.framing)
        train, held = split_people(data, needs, protocol=o.protocol)
        train, held = spread_out(in_sight(train, o.seen), o.people), in_sight(held, o.seen)
        judged = (
            held.taken(np.isfinite(held.column("poses")).all(1))
            if "poses" in held.cache.people
            else held.taken(np.zeros(len(held), bool))
        )
        if not len(judged):
            raise InputError(
                train.cache.path, "has nobody held out whose body is known", expected="poses to judge the network by"
            )
        named = set(np.unique(train.column("body")).tolist()) - {""}
        if named and body not in named:
            raise InputError(train.cache.path, "has parameters of another body", expected=body, got=", ".join(named))
        return train, judged

    def _only_3d(self, people: People) -> People:
        """Those who keep their 3-D labels, repeated, so that an epoch has as many steps as with everybody."""
        kept = np.flatnonzero([keeps_3d(int(row), self.options.losses) for row in people.rows])
        if not len(kept):
            raise InputError(people.cache.path, "keeps no 3-D labels", remedy="a larger losses.fraction_3d")
        return people.taken(np.resize(kept, len(people)))

    def _examples(self, people: People, *, augmented: bool) -> BodyExamples:
        o = self.options
        more: dict[str, Any] = {}
        if augmented:
            more = {"augmentation": o.augmentation, "variants": o.variants, "memory": self.memory}
            more |= {"unrendered": o.unrendered, "unrendered_poses": o.unrendered_poses}
            if self.frozen is not None and o.variants:
                more["look"] = self._look
        return BodyExamples(
            people,
            o.inputs,
            o.losses,
            crop=o.crop,
            body=o.body,
            framing=o.framing,
            segmenter=self._learned if o.source == "segmenter" else None,
            **more,
        )

    @torch.no_grad()
    def _look(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the regressor sees of one person, through the segmenter."""
        assert self.frozen is not None
        place = next(self.frozen.network.parameters()).device
        probabilities = self.frozen.probabilities(torch.from_numpy(seen)[None].to(place)).float()
        return np.asarray(segmented_input(probabilities, self.options.inputs)[0].cpu().numpy(), np.float32)

    def held_out_numbers(self) -> list[int]:
        """Which of `held_out` are looked at, in the order of `errors`."""
        return spread_evenly(len(self.held_out), self.options.validation)

    def _held_out_batches(self, batch_size: int) -> BatchLoader:
        numbers = self.held_out_numbers()
        loading = LoaderOptions(min(batch_size, len(numbers)), shuffle=False, drop_last=False)
        return BatchLoader(numbers, self._examples(self.held_out, augmented=False), loading)

    def _layer_on(self, like: Tensor) -> BodyLayer:
        if self.layer.root.device != like.device:
            self.layer = self.layer.to(like.device)
        return self.layer
