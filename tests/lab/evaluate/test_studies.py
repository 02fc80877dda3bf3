"""The table of studies: the papers' figures, and what each variant changes."""

from dataclasses import replace

from humanpose_cli.lab.evaluate.studies import SEGMENTERS, STUDIES, TRUE_PARTS
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import NBF_PRESETS
from humanpose_cli.lab.recipes.refiner.recipe import RefinerTraining


def test_the_papers_figures_are_complete():
    variants = {name: study.variants for name, study in STUDIES.items()}
    variants["segmenters"] = [*SEGMENTERS["paper"], TRUE_PARTS]
    paper = {name: {one.cells[0]: one.paper for one in of if one.paper} for name, of in variants.items()}
    assert len(paper["fit inputs"]) == 8
    assert paper["fit inputs"]["parts 12"] == (27.8, 33.5)
    segmenters = paper["segmenters"]
    assert list(segmenters) == ["VGG", "ResNet", "RefineNet", "GT"]
    # Better segmenters in validation, better fits, for all segmenters of the training (section 4.3).
    for column in list(zip(*segmenters.values(), strict=True))[1:]:
        assert list(column) == sorted(column, reverse=True)
    shares = list(paper["fit supervision"])
    assert shares == sorted(shares, reverse=True)
    assert paper["fit losses"]["2D"][0] == paper["fit supervision"][0][0] == 198.0


def test_variants_change_what_they_name():
    network = NBF_PRESETS["ablation"][0]
    shared = replace(network, losses=LossOptions(1.0, 2.0, 3.0))
    changed = {variant.name: variant.of(shared).losses for variant in STUDIES["fit losses"].variants}
    assert changed["lat + 2D"] == LossOptions(1.0, 0.0, 3.0)
    assert changed["lat + 3D + 2D"] == shared.losses
    shares = {variant.name: variant.of(shared).losses for variant in STUDIES["fit supervision"].variants}
    assert shares["labels 20"] == LossOptions(1.0, 0.0, 3.0, fraction_3d=0.2)
    assert shares["only 20"] == LossOptions(1.0, 0.0, 3.0, fraction_3d=0.2, extra_2d=False)
    assert shares["labels 0"] == changed["2D"] == LossOptions(0.0, 0.0, 3.0)
    inputs = {variant.name: variant.of(network).inputs for variant in STUDIES["fit inputs"].variants}
    assert inputs["joints 14"] == replace(network.inputs, kind="joints", joints=14)
    (twelve,) = (variant for variant in STUDIES["fit inputs"].variants if variant.name == "parts 12")
    assert twelve.of(network) == TRUE_PARTS.of(network) == network  # one training for both tables
    refiner = {one.cells[0]: one.of(RefinerTraining()).network for one in STUDIES["refine inputs"].variants}
    lacking = [[name for name, on in vars(options).items() if on is False] for options in refiner.values()]
    assert lacking == [[], ["texture"], ["depth"], ["normals"], ["colours"]]
