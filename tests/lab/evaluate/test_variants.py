"""The table of variants: the papers' figures, and what each variant changes."""

from dataclasses import replace

from humanpose_cli.lab.evaluate.variants import VARIANTS
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NBF_PRESETS


def test_the_papers_figures_are_complete():
    paper = {name: {one.cells[0]: one.paper for one in variants if one.paper} for name, variants in VARIANTS.items()}
    assert len(paper["inputs"]) == 8
    assert paper["inputs"]["parts 12"] == (27.8, 33.5)
    segmenters = paper["segmenters paper"] | paper["true parts"]
    assert list(segmenters) == ["VGG", "ResNet", "RefineNet", "GT"]
    # Better segmenters in validation, better fits, for all segmenters of the training (section 4.3).
    for column in list(zip(*segmenters.values(), strict=True))[1:]:
        assert list(column) == sorted(column, reverse=True)
    shares = list(paper["supervision"])
    assert shares == sorted(shares, reverse=True)
    assert paper["losses"]["2D"][0] == paper["supervision"][0][0] == 198.0


def test_variants_change_what_they_name():
    network = NBF_PRESETS["ablation"][0]
    shared = replace(network, losses=LossOptions(1.0, 2.0, 3.0))
    changed = {variant.name: variant.of(shared).losses for variant in VARIANTS["losses"]}
    assert changed["lat + 2D"] == LossOptions(1.0, 0.0, 3.0)
    assert changed["lat + 3D + 2D"] == shared.losses
    shares = {variant.name: variant.of(shared).losses for variant in VARIANTS["supervision"]}
    assert shares["labels 20"] == LossOptions(1.0, 0.0, 3.0, fraction_3d=0.2)
    assert shares["only 20"] == LossOptions(1.0, 0.0, 3.0, fraction_3d=0.2, extra_2d=False)
    assert shares["labels 0"] == changed["2D"] == LossOptions(0.0, 0.0, 3.0)
    inputs = {variant.name: variant.of(network).inputs for variant in VARIANTS["inputs"]}
    assert inputs["joints 14"] == replace(network.inputs, kind="joints", joints=14)
    (twelve,) = (variant for variant in VARIANTS["inputs"] if variant.name == "parts 12")
    assert twelve.of(network) == VARIANTS["true parts"][0].of(network) == network  # one training for both tables
