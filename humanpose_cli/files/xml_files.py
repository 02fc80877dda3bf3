"""XML files, parsed in the reader process: expat recurses for entities, and trees may have any depth."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.reader_process import read_isolated
from humanpose_cli.files.sniffing import read_bytes

MAX_CALIBRATION = 64 << 20
"""Bytes of a file, far more than a calibration has."""


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file to its root. Raises InputError for damage, document types and more than 64 MiB."""
    content = read_bytes(path, MAX_CALIBRATION)
    return _element(read_isolated(path, load_xml, content, problem="is no readable XML"))


def load_xml(content: bytes) -> Any:
    """Parse bytes in the reader process to the root as tag, attributes, text and children."""
    if b"<!DOCTYPE" in content.replace(b"\0", b""):  # also of UTF-16
        raise InputError("XML", "has a document type", expected="plain XML", remedy="export or download it again")
    return _plain(ElementTree.fromstring(content))


def _plain(element: ElementTree.Element) -> list[Any]:
    return [element.tag, element.attrib, element.text, [_plain(child) for child in element]]


def _element(plain: list[Any]) -> ElementTree.Element:
    tag, attributes, text, children = plain
    element = ElementTree.Element(tag, attributes)
    element.text = text
    element.extend(map(_element, children))
    return element
