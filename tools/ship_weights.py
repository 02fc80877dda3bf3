"""Copies a run's best weights into the package, and prints their entry of the registry.

    python tools/ship_weights.py runs/segmenter segmenter --max-size 5 --in-use "..."
    python tools/ship_weights.py runs/nbf nbf-parts --max-size 4 --in-use "..." --figures report/report.json
    python tools/ship_weights.py old.safetensors lifter --max-size 5 --in-use "..." --of 24000 --kept unrecorded

The header keeps everything the run wrote down but where files lay on the machine that trained it. Figures of a report
of `hpc evaluate` on people of the test split replace those of the last validation. `--in-use` says how good the command
is that reads these weights, on what, and beside which control. How the step of the weights was
chosen (`humanpose_cli/lab/train/kept.py`) is refused if neither the run nor an option says it.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from humanpose_cli.files.digests import digest_of
from humanpose_cli.files.planes import PLANES
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


def without_paths(value: Any) -> Any:
    """Shorten the files in a header's values to the last two parts of their paths."""
    if isinstance(value, dict):
        return {
            name: "/".join(Path(entry).parts[-2:]) if name in FILES and isinstance(entry, str) else without_paths(entry)
            for name, entry in value.items()
        }
    return [without_paths(entry) for entry in value] if isinstance(value, list) else value


def kept(header: WeightsHeader, rule: str) -> dict[str, Any]:
    """Return a header's record of how its weights were selected by the criterion of the model's recipe."""
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
    parser.add_argument("--max-size", type=float, required=True, help="MiB that the file may have")
    parser.add_argument("--in-use", required=True, help="a sentence: what reads the weights, and how good that is")
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
    options = parser.parse_args()
    source = find_weights(options.run)
    tensors, header = read_weights(source)
    training = without_paths(dict(header.training))
    if "kept" not in training:
        if options.of is None or options.kept is None:
            raise SystemExit(f"{source}: does not say how its step was chosen: --kept and --of do")
        training |= {"of": options.of, "kept": kept(header, options.kept)}
    training["in_use"] = options.in_use
    began = [trainings_of(read_header(find_weights(run))) for run in options.earlier]
    if began:
        training["began_with"] = without_paths([one for runs in began for one in runs])
    metrics = dict(header.metrics)
    if options.figures:
        report = json.loads(options.figures.read_text())
        metrics = {name: metric["value"] for name, metric in report["metrics"].items() if metric["value"] is not None}
        unit = "pairs" if "pairs" in report["facts"] else "people"
        metrics[unit] = next(iter(report["metrics"].values()))["n"]
        training["judged_on"] = report["facts"]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{options.name.replace('-', '_')}.safetensors{PLANES}"
    write_weights(path, tensors, WeightsHeader(header.model, header.config, training, metrics))
    assert read_header(path).digest == header.digest, "the tensors differ"
    size = path.stat().st_size / 2**20
    if size > options.max_size:
        path.unlink()
        raise SystemExit(f"{path.name}: {size:.2f} MiB, more than {options.max_size:g}")
    print(f"{path.name}: {size:.2f} MiB, digest {digest_of(path)}")


if __name__ == "__main__":
    main()
