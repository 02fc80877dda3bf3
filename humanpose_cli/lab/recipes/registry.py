"""The models that can be trained, by their names on the command line. Importing this module loads none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from humanpose_cli.core.errors import UsageError
from humanpose_cli.reposing.options import MIN_STEPS

if TYPE_CHECKING:
    from humanpose_cli.lab.train.recipe import Recipe, TrainOptions
    from humanpose_cli.lab.train.trainer import TrainPlan, TrainResult


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be trained; the module `lab.recipes.NAME.recipe` holds its recipe and its presets.

    Attributes:
        name: Name on the command line.
        recipe: Name of the recipe's class, which is called with (data, options, seed=).
        presets: Name of the mapping from a preset to (options of the recipe, options of the loop).
        help: A line for `--help`.
        needs_data: If False, the recipe makes its own examples; its data is not a cache, and None is valid.
        use: The command that applies the weights; {run} and {data} stand for the folders.
        min_steps: Training steps, including earlier runs, below which that command refuses weights without `force`.
        several: Whether the recipe takes a list of caches.
        rounds: Whether `lab.recipes.NAME.rounds` trains the result of `make` instead of the common loop.
    """

    name: str
    recipe: str
    presets: str
    help: str
    needs_data: bool = True
    use: str = ""
    min_steps: int = 0
    several: bool = False
    rounds: bool = False

    def preset(self, name: str) -> tuple[Any, TrainOptions]:
        """Return the options of a preset.

        Args:
            name: Name of the preset.

        Raises:
            UsageError: If there is no such preset; the error lists the presets.
        """
        presets: Mapping[str, tuple[Any, TrainOptions]] = getattr(self._module("recipe"), self.presets)
        if name not in presets:
            raise UsageError("preset", "is unknown", expected=", ".join(presets), got=name)
        return presets[name]

    def make(self, data: Any, options: Any, seed: int) -> Recipe[Any]:
        """Make the recipe for a cache.

        Args:
            data: Path of the cache, a list of paths if `several`, None if the recipe needs no data (see `needs_data`).
            options: Options of the recipe.
            seed: Seed of weights and augmentation.
        """
        recipe: Recipe[Any] = getattr(self._module("recipe"), self.recipe)(data, options, seed=seed)
        return recipe

    @property
    def train(self) -> Callable[..., TrainResult]:
        """The function that trains the recipe: `lab.train.trainer.train`, or `train_rounds` with the same signature."""
        return self._trainer("train", "train_rounds")

    @property
    def plan(self) -> Callable[..., TrainPlan]:
        """The function that describes what `train` would do: `lab.train.trainer.plan_training`, or `plan_rounds`."""
        return self._trainer("plan_training", "plan_rounds")

    def _trainer(self, common: str, of_rounds: str) -> Callable[..., Any]:
        module = self._module("rounds") if self.rounds else import_module("humanpose_cli.lab.train.trainer")
        function: Callable[..., Any] = getattr(module, of_rounds if self.rounds else common)
        return function

    def _module(self, name: str) -> ModuleType:
        return import_module(f"humanpose_cli.lab.recipes.{self.name.replace('-', '_')}.{name}")


_ENTRIES = (
    ModelEntry(
        "segmenter",
        "SegmenterRecipe",
        "SEGMENTER_PRESETS",
        "image to body parts",
        use="hpc evaluate segmenter --data {data} --weights {run}",
    ),
    ModelEntry(
        "nbf",
        "NbfRecipe",
        "NBF_PRESETS",
        "body parts to shape and pose",
        use="hpc fit photo.jpg --method nbf --weights {run}",
    ),
    ModelEntry(
        "lifter", "LifterRecipe", "LIFTER_PRESETS", "2-D landmarks to 3-D joints, without a cache", needs_data=False
    ),
    ModelEntry(
        "refiner",
        "RefinerRecipe",
        "REFINER_PRESETS",
        "a photograph and a rendered fit to displacements",
        use="hpc refine photo.jpg.fit.npz --frames photo.jpg --weights {run}",
    ),
    ModelEntry(
        "deform-and-learn",
        "DeformAndLearn",
        "DEFORM_PRESETS",
        "images to bodies, from keypoints and correspondences",
        use="hpc fit photo.jpg --method deform-and-learn --weights {run}",
        several=True,
        rounds=True,
    ),
    ModelEntry(
        "warp3d",
        "Warp3dRecipe",
        "WARP3D_PRESETS",
        "a person in another pose, from pairs or clips",
        use="hpc repose photo.jpg pose.npy --method warp3d --weights {run}",
        min_steps=MIN_STEPS,
    ),
)
MODELS: Mapping[str, ModelEntry] = {entry.name: entry for entry in _ENTRIES}
