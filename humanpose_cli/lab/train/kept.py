"""The weights that a training keeps, their choice, and the validation data: as values of headers, and as text.

The header of a weights file has, in `training`, the `steps` that its weights were trained for, the number of all steps
(`of`), and

    kept        {"rule": "last"}, {"rule": "best", "criterion": a metric, "value": for these weights}, or, for trainings
                before there was a choice, {"rule": "unrecorded", "criterion": the metric that may have chosen them};
                {"rule": "every"} of weights that `keep_every` keeps
    validation  the data of the metrics; see `Recipe.validation_data`

Files of earlier versions have none of these three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from humanpose_cli.lab.metrics.counts import counted, small_sample
from humanpose_cli.networks.weights import BEST, LAST

Keep = Literal["best", "last"]
KEPT_FILE: Mapping[Keep, str] = {"best": BEST, "last": LAST}
"""Rule → the file of a run's folder that holds the weights to use."""


def kept_text(training: Mapping[str, Any]) -> str:
    """Describe the step of some weights and their choice, from the `training` in their header."""
    step, of, rule = training.get("steps"), training.get("of"), training.get("kept")
    if not isinstance(step, int) or not isinstance(of, int) or not isinstance(rule, Mapping):
        return f"step {step if step is not None else '?'}; how it was chosen is not recorded"
    unit = training.get("unit", "step")
    if rule.get("rule") == "best":
        metric, value = rule.get("criterion"), rule.get("value")
        value_text = f" of {value:.4g}" if isinstance(value, int | float) else ""
        data = validation_text(training.get("validation", {}))
        return f"{unit} {step:,} of {of:,}, chosen by {metric}{value_text} on {data}"
    if rule.get("rule") == "unrecorded":
        end = ", the last" if step == of else ""
        return f"{unit} {step:,} of {of:,}{end}; whether {rule.get('criterion')} chose it is not recorded"
    if rule.get("rule") == "every":
        return f"{unit} {step:,} of {of:,}, kept without a choice"
    return f"{unit} {step:,} of {of:,}, " + ("the last" if step == of else "the last that was validated")


def validation_text(validation: Mapping[str, Any]) -> str:
    """Describe the validation data: number, unit, split and cache."""
    if not validation:
        return "data that the recipe makes"
    count = validation.get("count", "?")
    text = counted(count, validation.get("unit", "examples")) if isinstance(count, int) else f"{count} examples"
    if split := validation.get("split"):
        split = "/".join(filter(None, (validation.get("protocol", ""), split)))
        text += f" held out of {split}" if validation.get("apart") else f" of {split}"
    source = [str(validation["data"])] if validation.get("data") else []
    source += [f"digest {validation['digest'][:16]}"] if validation.get("digest") else []
    return f"{text} ({', '.join(source)})" if source else text


def validation_cautions(validation: Mapping[str, Any]) -> list[str]:
    """Return sentences that say why validation metrics may mean little."""
    cautions = []
    count, unit = validation.get("count"), str(validation.get("unit", "examples"))
    if isinstance(count, int) and (few := small_sample(count, unit)):
        cautions.append(f"validations are on {few}")
    if common_sequences := validation.get("shared_sequences"):
        cautions.append(
            f"{common_sequences:,} sequences are both learned from and validated on: the metrics are too good"
        )
    if left_out := validation.get("left_out"):
        cautions.append(f"left out of training and validation: {left_out}")
    return cautions


def plot_caption(
    description: Mapping[str, Any], log_every: int, batch_size: int, validation: Mapping[str, Any], kept: str
) -> list[str]:
    """Write the sentences below the plot of a training.

    Args:
        description: The recipe's description.
        log_every: The number of steps that a line of the history averages.
        batch_size: The number of examples of a step.
        validation: The recipe's `validation_data`.
        kept: The kept weights' `kept_text`, "" before there are any.
    """
    counts = (f"{description[unit]:,} {unit}" for unit in ("people", "pairs") if isinstance(description.get(unit), int))
    examples = next(counts, "the recipe's examples") + f" of {description.get('data', 'the recipe')}"
    return [
        f"Training losses: means over {log_every:,} steps or fewer, batches of {batch_size} of {examples}.",
        f"Held-out metrics: {validation_text(validation)}.",
        *([f"Kept weights (dashed line): {kept}."] if kept else []),
        *(caution[0].upper() + caution[1:] + "." for caution in validation_cautions(validation)),
    ]
