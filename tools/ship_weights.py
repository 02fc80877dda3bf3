"""Copies a run's best weights into the package, and prints their entry of the registry.

    python tools/ship_weights.py runs/segmenter segmenter --most 5
    python tools/ship_weights.py runs/nbf nbf-parts --most 4 --figures report/report.json
    python tools/ship_weights.py old.safetensors lifter --most 5 --of 24000 --kept unrecorded

The header keeps everything the run wrote down but where files lay on the machine that trained it. Figures of a report
of `hpc evaluate` on people of the test split replace those of the last validation. How the step of the weights was
chosen (`humanpose_cli/lab/train/kept.py`) is refused if neither the run nor an option says it.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from humanpose_cli.io.digests import digest_of
from humanpose_cli.lab.recipes.registry import MODELS
from humanpose_cli.networks.weights import (
    WeightsHeader,
    find_weights,
    read_header,
    read_weights,
    trainings_of,
    write_weights,
)

FOLDER = Path(__file__).resolve().parent.parent / "humanpose_cli" / "networks" / "data"
FILES = ("start", "segmenter", "backbone", "backgrounds")


def without_places(value: Any) -> Any:
    """The header's values with files named by their last two parts alone."""
    if isinstance(value, dict):
        return {
            name: "/".join(Path(entry).parts[-2:])
            if name in FILES and isinstance(entry, str)
            else without_places(entry)
            for name, entry in value.items()
        }
    return [without_places(entry) for entry in value] if isinstance(value, list) else value


def kept(header: WeightsHeader, rule: str) -> dict[str, Any]:
    """What a header says of how its weights were chosen, by the criterion of the model's recipe."""
    if rule == "last":
        return {"rule": rule}
    module = import_module(f"humanpose_cli.lab.recipes.{header.model.replace('-', '_')}.recipe")
    criterion = getattr(module, MODELS[header.model].recipe).criterion
    return {"rule": rule, "criterion": criterion, **({"value": header.metrics[criterion]} if rule == "best" else {})}


def main() -> None:
    """Copy, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--most", type=float, required=True, help="MiB that the file may have")
    parser.add_argument("--figures", type=Path, help="report.json of hpc evaluate")
    parser.add_argument(
        "--earlier",
        type=Path,
        nargs="*",
        default=[],
        help="runs that this began with, the first one first; default: those its header tells",
    )
    parser.add_argument("--of", type=int, help="all steps of a run whose header does not say how its step was chosen")
    parser.add_argument("--kept", choices=("best", "last", "unrecorded"), help="how that step was chosen")
    given = parser.parse_args()
    source = find_weights(given.run)
    tensors, header = read_weights(source)
    training = without_places(dict(header.training))
    if "kept" not in training:
        if given.of is None or given.kept is None:
            raise SystemExit(f"{source}: does not say how its step was chosen: --kept and --of do")
        training |= {"of": given.of, "kept": kept(header, given.kept)}
    began = [trainings_of(read_header(find_weights(run))) for run in given.earlier]
    if began:
        training["began_with"] = without_places([one for runs in began for one in runs])
    metrics = dict(header.metrics)
    if given.figures:
        report = json.loads(given.figures.read_text())
        metrics = {name: told["value"] for name, told in report["metrics"].items() if told["value"] is not None}
        judged = "pairs" if "pairs" in report["facts"] else "people"
        metrics[judged] = next(iter(report["metrics"].values()))["n"]
        training["judged_on"] = report["facts"]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{given.name.replace('-', '_')}.safetensors"
    write_weights(path, tensors, WeightsHeader(header.model, header.config, training, metrics))
    assert read_header(path).digest == header.digest, "the tensors differ"
    size = path.stat().st_size / 2**20
    if size > given.most:
        path.unlink()
        raise SystemExit(f"{path.name}: {size:.2f} MiB, more than {given.most:g}")
    print(f"{path.name}: {size:.2f} MiB, digest {digest_of(path)}")


if __name__ == "__main__":
    main()
