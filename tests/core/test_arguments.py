"""Arguments that functions declare once: what `help`, notebooks and callers see of them."""

from __future__ import annotations

import inspect
import re

import jedi
import pytest

import humanpose_cli as hp
from humanpose_cli.core.arguments import given

FUNCTIONS = (hp.fit, hp.refine, hp.repose, hp.Fitter, hp.Refiner, hp.Reposer)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_argument_is_in_the_signature_and_explained(function):
    parameters = inspect.signature(function).parameters
    assert {"device", "mask"} <= set(parameters)
    assert "arguments" not in parameters
    section = inspect.getdoc(function).split("Args:")[1].split("\n\n")[0]
    explained_names = re.findall(r"^    (\w+): ", section, re.MULTILINE)
    assert sorted(explained_names) == sorted(parameters)


def test_signatures_stay_readable():
    parameters = inspect.signature(hp.fit).parameters
    assert str(parameters["focal"]) == "focal: 'float | None' = None"
    for function in (hp.fit, hp.Fitter):
        people = inspect.signature(function).parameters["people"]
        assert str(people) == "people: \"Literal['all', 'largest']\" = 'all'"  # for `help`


@pytest.mark.parametrize(
    "call", ["hp.fit('a.jpg', ", "hp.Fitter(", "hp.refine('a.npz', ", "hp.repose('a.jpg', 'b.npy', "]
)
def test_notebooks_complete_the_arguments_and_show_their_texts(call):
    notebook = jedi.Interpreter(call, [{"hp": hp}])
    assert {"device=", "threads=", "mask="} <= {completion.name for completion in notebook.complete()}
    (signature,) = notebook.get_signatures()
    assert "device: 'str'='auto'" in signature.to_string().replace(" = ", "=")
    assert "    device: Device to compute on" in signature.docstring()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_an_unknown_argument_is_refused_with_the_nearest_name(function):
    positional = ["a.jpg"] * (2 if function is hp.repose else 0 if isinstance(function, type) else 1)
    with pytest.raises(TypeError, match=rf"^{function.__name__}\(\).*'thraeds'. Did you mean 'threads'\?$"):
        function(*positional, thraeds=1)


def test_arguments_that_are_none_are_not_given():
    assert given(hp.Fitter, {"people": None, "focal": 900.0, "hands": False}) == {"focal": 900.0, "hands": False}
