"""The default body and its labels, made once for all tests of a process."""

import functools

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.lab.cache.label_maps import BodyLabels


@functools.cache
def body() -> Body:
    return default_body()


@functools.cache
def labels() -> BodyLabels:
    return BodyLabels(body())
