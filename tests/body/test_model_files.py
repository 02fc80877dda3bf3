"""Which file a pose prior is, and what is said where it is missing."""

import pytest
from helpers.errors import raises

from humanpose_cli.body.model_files import check_prior, prior_file, prior_identity
from humanpose_cli.core.errors import UnavailableError, UsageError


@pytest.mark.parametrize("spec", ["gmm", "gmm:", "pose:x", "vposer:V02_05", "smpl:x", ""])
def test_other_names_are_refused(spec):
    with raises(UsageError, subject="prior", problem="is not known", expected="none, pose, gmm:FILE"):
        check_prior(spec)
    with raises(UsageError, subject="prior", problem="is not known"):
        prior_file(spec)


def test_names_of_models_are_accepted_and_need_no_file_yet():
    for spec in ("none", "pose", "gmm:/nowhere/gmm_08.pkl"):
        check_prior(spec)


def test_a_prior_counts_by_its_contents(tmp_path):
    for name, content in (("a.pkl", b"1"), ("b.pkl", b"1"), ("c.pkl", b"2")):
        (tmp_path / name).write_bytes(content)
    same, again, other = (prior_identity(f"gmm:{tmp_path / name}") for name in ("a.pkl", "b.pkl", "c.pkl"))
    assert same == again != other
    assert same.startswith("gmm:")
    assert (prior_identity("pose"), prior_file("none")) == ("pose", None)


def test_missing_files_come_with_where_they_are_from(tmp_path):
    with raises(UnavailableError, remedy="smplify.is.tue.mpg.de"):
        prior_file(f"gmm:{tmp_path / 'gmm_08.pkl'}")
