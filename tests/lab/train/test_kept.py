"""What headers and reports say of the weights that a training keeps."""

from __future__ import annotations

from humanpose_cli.lab.train.kept import kept_text, plot_caption, validation_cautions, validation_text

VALIDATION = {
    "count": 1280,
    "unit": "people",
    "data": "up3d",
    "digest": "0123456789abcdef0123",
    "protocol": "nbf",
    "split": "validation",
    "apart": False,
}
UNRECORDED = {"rule": "unrecorded", "criterion": "pa_mpjpe_mm"}
BEST = {"rule": "best", "criterion": "pa_mpjpe_mm", "value": 81.23456}


def test_the_step_and_how_it_was_chosen() -> None:
    last = {"steps": 12, "of": 4000, "kept": {"rule": "last"}}
    assert kept_text(last) == "step 12 of 4,000, the last that was validated"
    unrecorded = "step 12 of 4,000; whether pa_mpjpe_mm chose it is not recorded"
    assert kept_text({**last, "kept": UNRECORDED}) == unrecorded
    best = kept_text({**last, "kept": BEST, "validation": VALIDATION})
    assert best.startswith("step 12 of 4,000, chosen by pa_mpjpe_mm of 81.23 on 1,280 people of nbf/validation")


def test_what_validations_measure_on() -> None:
    held_out = {**VALIDATION, "split": "train", "apart": True}
    assert validation_text(held_out) == "1,280 people held out of nbf/train (up3d, digest 0123456789abcdef)"
    assert validation_text({"count": 3, "unit": "poses", "data": "motions"}) == "3 poses (motions)"
    assert validation_text({"count": 1, "unit": "people", "split": "test"}) == "1 person of test"


def test_few_people_and_shared_sequences_are_reported() -> None:
    assert validation_cautions(VALIDATION) == []
    assert validation_cautions({}) == []
    assert validation_cautions({**VALIDATION, "count": 10}) == []
    assert validation_cautions({**VALIDATION, "count": 9, "shared_sequences": 2}) == [
        "validations are on 9 people: these figures mean little",
        "2 sequences are both learned from and validated on: the metrics are too good",
    ]


def test_a_plot_states_what_was_measured_on_which_data() -> None:
    described = {"people": 2500, "data": "up3d"}
    assert plot_caption(described, 50, 32, {"count": 1, "unit": "people"}, "step 5 of 9, the last") == [
        "Training losses: means over 50 steps or fewer, batches of 32 of 2,500 people of up3d.",
        "Held-out metrics: 1 person.",
        "Kept weights (dashed line): step 5 of 9, the last.",
        "Validations are on 1 person: these figures mean little.",
    ]
    made = plot_caption({}, 50, 32, {}, "")
    assert made[0].endswith("the recipe's examples of the recipe.")
    assert len(made) == 2  # no weights are kept yet
