"""What a report says about evaluated weights: their step, its choice, and whether they learned from the data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.files.digests import digest_of
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import SHIPPED_SEGMENTER
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.recipes.people import usual_protocol
from humanpose_cli.lab.train.kept import kept_text
from humanpose_cli.networks.weights import WeightsHeader, read_header, shipped_weights, trainings_of

CAUTION = "caution"
LEFT_OUT = "left out"
CHECKPOINT = "checkpoint"
CHECKPOINTS = "checkpoints"
"""Facts of a report: why its figures are too good, what is not in them, and the step of the weights, or of all."""


def weights_facts(
    path: Path, cache: Cache, images: NDArray[np.integer], segmenter: Path | None = None
) -> dict[str, Any]:
    """Describe weights that are evaluated on images of a cache.

    Args:
        path: File of the weights.
        cache: The cache.
        images: (N,) rows of the images.
        segmenter: Weights of the segmenter in front of the network.

    Returns:
        Lines of a report: model, steps of all trainings and digest; `CHECKPOINT`; and `CAUTION` if the weights were
        learned or chosen on some of these images, or the network learned from the parts of another segmenter.
    """
    files = {"weights": path} if segmenter is None else {"weights": path, "segmenter": segmenter}
    headers = {name: read_header(file) for name, file in files.items()}
    facts = {name: _identity(header, files[name]) for name, header in headers.items()}
    texts = [kept_text(header.training) for header in headers.values()]
    facts[CHECKPOINT] = "; segmenter: ".join(texts)
    cautions = dict.fromkeys(text for header in headers.values() for text in overlaps(header, cache, images))
    learned_from = _mapping(headers["weights"].training.get("recipe")).get("segmenter")
    shipped = shipped_weights(SHIPPED_SEGMENTER)
    if learned_from and segmenter == shipped and path.parent != shipped.parent:
        text = (
            f"body parts are the shipped segmenter's, the network learned from those of {learned_from}: --set segmenter"
        )
        cautions[text] = None
    return {**facts, CAUTION: "; ".join(cautions)} if cautions else facts


def network_facts(fitter: Fitter, cache: Cache, images: NDArray[np.integer]) -> dict[str, Any]:
    """Describe the body network of a fitter.

    Args:
        fitter: The fitter.
        cache: The cache.
        images: (N,) rows of the evaluated images.

    Returns:
        Lines of a report, as of `weights_facts`; nothing if the fitter uses no network.
    """
    files = fitter.network_files
    if not files:
        return {}
    segmenter = files[1] if len(files) > 1 else None
    return {"network": fitter.network_identity, **weights_facts(files[0], cache, images, segmenter)}


def _identity(header: WeightsHeader, path: Path) -> str:
    """Describe the model, the steps of all trainings, and the digest of a file of weights."""
    trainings = trainings_of(header)
    step_counts = [training["steps"] for training in trainings if isinstance(training.get("steps"), int)]
    steps = sum(step_counts) if len(step_counts) == len(trainings) else "?"
    within = f" in {len(trainings)} trainings" if len(trainings) > 1 else ""
    return f"{header.model}, {steps} steps{within}, SHA-256 {digest_of(path)[:16]}"


def overlaps(header: WeightsHeader, cache: Cache, images: NDArray[np.integer]) -> list[str]:
    """Describe which images of a cache weights learned from or were chosen on.

    The header names split and cache. Another cache of the same dataset counts as well: splits are by image.

    Args:
        header: Header of the weights.
        cache: The cache.
        images: (N,) rows of the images.

    Returns:
        Sentences; none if there are no such images.
    """
    training = header.training
    rule, validation, recipe = (_mapping(training.get(name)) for name in ("kept", "validation", "recipe"))
    sources = training.get("caches") or [training]
    if not any(_same_data(_mapping(source), cache) for source in sources):
        return []
    protocol = str(validation.get("protocol") or recipe.get("protocol") or usual_protocol(cache))
    image_rows = np.unique(images)
    sentences = []
    splits = {"train": "the weights learned from"}
    if rule.get("rule") == "best" and validation.get("split", "train") != "train":
        splits[validation["split"]] = "the weights were chosen on"
    for split, what in splits.items():
        if split not in cache.splits.get(protocol, ()):
            continue
        count = len(np.intersect1d(image_rows, cache.rows(protocol, split)))
        if count:
            of = f"{count:,} of the {len(image_rows):,} images evaluated"
            sentences.append(f"{what} {of} ({protocol}/{split}): the figures are too good")
    return sentences


def _same_data(training: Mapping[str, Any], cache: Cache) -> bool:
    """Return whether a training used the same cache, or one of the same dataset."""
    header = cache.header
    if training.get("digest") == header.content_digest:
        return True
    if training.get("data") != header.source or header.source == "images":
        return False
    return header.source != "synthetic" or _seed(training.get("options")) == header.options_values.get("seed")


def _seed(options: Any) -> Any:
    """Read the seed from a cache's options, which are JSON text in the header of weights."""
    try:
        return json.loads(options)["seed"]
    except (TypeError, ValueError, KeyError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def checkpoints_facts(
    headers: Sequence[WeightsHeader], cache: Cache | None = None, images: NDArray[np.integer] | None = None
) -> dict[str, str]:
    """Describe the weights of an ablation's trainings, which were not chosen on held-out data.

    Args:
        headers: Headers of the weights.
        cache: Cache of the evaluation; None for people that every training holds out.
        images: (N,) rows of the evaluated images.

    Returns:
        Lines of a report.
    """
    texts = [kept_text(header.training) for header in headers]
    counts = {text: texts.count(text) for text in dict.fromkeys(texts)}
    each = [f"{text} ({count} trainings)" if count > 1 else text for text, count in counts.items()]
    facts = {CHECKPOINTS: f"{'; '.join(each)}; no held-out data chose them"} if each else {}
    if cache is None or images is None:
        return facts
    cautions = dict.fromkeys(text for header in headers for text in overlaps(header, cache, images))
    return {**facts, CAUTION: "; ".join(cautions)} if cautions else facts
