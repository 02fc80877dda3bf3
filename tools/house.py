"""Prints figures of the code's form, read from its syntax and its tables of options, without importing torch.

    python tools/house.py                                print them beside those of tests/contracts/house.json
    python tools/house.py --record                       write those that became better into it
    python tools/house.py --record --why "REASON"        and those that became worse, each with the reason

`tests/contracts/test_house.py` fails if one is worse than recorded. Lines of folders are printed, not held.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds its own folder only
PACKAGE = "humanpose_cli"
TABLE = ROOT / "tests" / "contracts" / "house.json"
MAX_LINES, MAX_PARAMETERS, MAX_POSITIONAL = 60, 8, 3

# Participles of verbs whose participle does not end in "ed".
IRREGULAR_PARTICIPLES = frozenset(
    """
    begun bent bound broken brought built bought caught chosen cut done drawn driven eaten fallen felt fought
    flown forgotten found frozen given gone grown heard held hidden kept known laid led lent lit lost made meant
    met paid put risen run seen sent shown shut sold sorted spent split stood stuck sunk sworn taken taught
    thought thrown told torn understood won worn woven written
    """.split()  # noqa: SIM905
) - {"cut", "put", "run", "split", "shut"}  # nouns, too
# Nouns and adjectives of the field that end in "ed", and the field of errors.
NOT_PARTICIPLES = frozenset("seed speed need feed embed bed red shed weed hundred indeed biased expected".split())  # noqa: SIM905

# Verbs in the imperative that docstrings of functions begin with.
VERBS = frozenset(
    """
    accept accumulate acquire adapt add adjust advance align allocate allow answer append apply approximate arrange
    assemble assert assign associate attach average bake balance begin bend bleed blend blur bound break bring
    broadcast build cache calculate call cancel carry cast catch center chain change check choose clamp classify clean
    clear clip close cluster collate collect color colour combine compare compensate compile complete compose composite
    compress compute concatenate connect construct continue convert convolve copy correct correlate count cover
    create crop cut damage damp darken decide declare decode decompose decorate define degrade delete deliver denoise
    derive describe detect determine differentiate digest dilate disable discard discover display distinguish distort
    distribute disturb divide do download draw dress drop dump eliminate embed enable encode end enforce enlarge
    ensure enter enumerate erode escape estimate evaluate evict examine exclude execute exit expand explain export
    express extend extract fail feed fetch fill filter find finish fit fix flatten flip flush fold follow forget
    format formulate free freeze fuse gather generate get give go group grow guard guess halve handle hash help hide
    hold identify ignore imitate import improve include increase infer inflate initialize inpaint insert inspect install
    integrate interpolate interpret interrupt intersect invert invoke iterate join keep label launch lay leave let
    lift limit link list load locate lock log look loop lower make map mark mask match measure merge migrate
    minimise minimize mirror mix modify monitor move multiply name narrow normalise normalize note notice notify
    number obtain offer open optimize order orient orthonormalise overlay overwrite pack pad paint pair parse pass
    pause perform permute persist pick place plan play plot point pool pose position post predict prefer prepare
    preserve print process produce project propagate propose protect prove provide prune pull push put query quit quote
    raise randomize rank rasterise reach read rearrange rebuild recognise recognize recompute reconstruct record
    recover rectify redirect redraw reduce refine refuse register regress reject relate release remember remove
    rename render reorder repair repeat replace report repose represent request require resample rescale reserve
    reset reshape resize resolve respond restart restore restrict resume retarget retrieve return reuse reverse
    rewrite rotate round run sample save say scale scan scatter schedule score search seek segment select send
    separate set shade shape shard share shift show shrink shuffle shut sign silence simplify simulate skin skip
    smooth solve sort span specify spell split spread stack start state stop store stretch strip submit subtract
    suggest sum summarise summarize supply suppress swap switch symmetrize synthesize take tabulate tell terminate test
    tile tilt toggle tone trace track train transfer transform translate transpose traverse triangulate trim truncate
    try tune turn undistort undo unify unpack unproject unroll update upload upsample use validate vary verify view
    visit wait wake walk warm warn warp watch weigh weight widen work wrap write yield zero zoom
    """.split()  # noqa: SIM905
)


class Measure(NamedTuple):
    value: float
    lower_is_better: bool = True

    def is_worse_than(self, value: float) -> bool:
        return self.value > value if self.lower_is_better else self.value < value


class Module(NamedTuple):
    path: str
    text: str
    tree: ast.Module
    nodes: list[ast.AST]


class Function(NamedTuple):
    path: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    is_method: bool

    @property
    def positional(self) -> int:
        """Return how many positional parameters the function has, without `self`."""
        arguments = self.node.args
        return len(arguments.posonlyargs) + len(arguments.args) - self.is_method

    @property
    def parameters(self) -> int:
        return self.positional + len(self.node.args.kwonlyargs)

    @property
    def lines(self) -> int:
        """Return the number of lines without the docstring."""
        first = self.node.body[0]
        docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(self.node, clean=False) else 0
        return (self.node.end_lineno or 0) - self.node.lineno + 1 - docstring


def read_modules(folder: Path) -> list[Module]:
    """Parse the Python files of a folder."""
    modules = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        modules.append(Module(path.relative_to(ROOT).as_posix(), text, tree, list(ast.walk(tree))))
    return modules


def functions_of(modules: list[Module]) -> Iterator[Function]:
    """Yield functions and methods, functions within functions included."""
    for module in modules:
        methods = {
            child
            for node in module.nodes
            if isinstance(node, ast.ClassDef)
            for child in node.body
            if isinstance(child, ast.FunctionDef)
            and not any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in child.decorator_list)
        }
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(module.path, node, node in methods)


def is_participle(name: str) -> bool:
    """Return whether a name is one word that is a past participle."""
    word = name.strip("_").lower()
    if word in NOT_PARTICIPLES or not (name.islower() or name.isupper()):  # `RetryFailed` is two words
        return False
    return word in IRREGULAR_PARTICIPLES or bool(re.fullmatch(r"[a-z]{2,}ed", word))


def assigned_names(module: Module) -> Iterator[str]:
    """Yield the name of each assignment: variables, loop variables, attributes of `self`, parameters."""
    for node in module.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def begins_with_verb(docstring: str) -> bool:
    """Return whether a docstring begins with a verb in the imperative."""
    first = re.match(r"[A-Za-z]+", docstring.strip())
    return bool(first) and first[0].lower() in VERBS


def is_any_dictionary(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation) in ("dict[str, Any]", "Mapping[str, Any]")


class House:
    """Figures of the package's code."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.modules = read_modules(root / PACKAGE)
        self.functions = list(functions_of(self.modules))

    @cached_property
    def lines(self) -> dict[str, int]:
        """Lines by folder of the package, tool first."""
        counts = Counter[str]()
        for module in self.modules:
            parts = module.path.split("/")[1:]
            room = parts[0] if len(parts) > 1 else "."
            counts[f"lab/{parts[1] if len(parts) > 2 else '.'}" if room == "lab" else room] += module.text.count("\n")
        return dict(sorted(counts.items()))

    @cached_property
    def _positional(self) -> dict[str, dict[str, int]]:
        """The largest number of positional parameters of the functions and classes of a name, by module; "" for all."""
        counts: dict[str, dict[str, int]] = {"": {}}

        def count(path: str, name: str, number: int) -> None:
            for table in (counts.setdefault(path, {}), counts[""]):
                table[name] = max(table.get(name, 0), number)

        for function in self.functions:
            count(function.path, function.node.name, function.positional)
        for module in self.modules:
            for node in module.nodes:
                if isinstance(node, ast.ClassDef):
                    fields = sum(isinstance(child, ast.AnnAssign) for child in node.body)
                    inits = [c for c in node.body if isinstance(c, ast.FunctionDef) and c.name == "__init__"]
                    count(module.path, node.name, len(inits[0].args.args) - 1 if inits else fields)
        return counts

    def packed_calls(self) -> list[str]:
        """List calls that unpack a sequence into a function of more than three positional parameters.

        A name means what its own module defines by it, else any function or class of that name.
        """
        return [
            f"{module.path}:{node.lineno}"
            for module in self.modules
            for node in module.nodes
            if isinstance(node, ast.Call)
            and any(isinstance(value, ast.Starred) for value in node.args)
            and self._positional_of(module, ast.unparse(node.func).rpartition(".")[2]) > MAX_POSITIONAL
        ]

    def _positional_of(self, module: Module, name: str) -> int:
        return self._positional.get(module.path, {}).get(name, self._positional[""].get(name, 0))

    def unpacked_dictionaries(self) -> list[str]:
        """List `dict[str, Any]` values that are used as `**value` alone: parameters, variables and results."""
        lines = []
        for module in self.modules:
            for scope in ast.walk(module.tree):
                if isinstance(scope, ast.FunctionDef | ast.Module):
                    lines.extend(f"{module.path}:{line}" for line in _only_unpacked(scope))
        return sorted(set(lines))

    def long_functions(self) -> list[str]:
        """List functions of more than sixty lines outside kernels and commands."""
        return [
            f"{f.path}:{f.node.lineno} {f.node.name} {f.lines}"
            for f in self.functions
            if f.lines > MAX_LINES and not _is_exempt(f)
        ]

    def many_parameters(self) -> list[str]:
        """List functions of more than eight parameters outside kernels and commands."""
        return [
            f"{f.path}:{f.node.lineno} {f.node.name} {f.parameters}"
            for f in self.functions
            if f.parameters > MAX_PARAMETERS and not _is_exempt(f)
        ]

    def participles(self) -> Counter[str]:
        """Count the assigned names that are participles."""
        return Counter(n for m in self.modules for n in assigned_names(m) if is_participle(n))

    def participle_share(self) -> float:
        """Return the percentage of assigned names that are participles."""
        names = sum(1 for m in self.modules for _ in assigned_names(m))
        return 100 * self.participles().total() / names

    def docstrings(self) -> tuple[int, int]:
        """Count the docstrings of functions that begin with a verb, and all; properties are nouns and do not count."""
        texts = [
            ast.get_docstring(f.node)
            for f in self.functions
            if not any("property" in ast.unparse(d) for d in f.node.decorator_list)
        ]
        present = [text for text in texts if text]
        return sum(map(begins_with_verb, present)), len(present)

    def fit_flags(self) -> int:
        """Count the flags of `hpc fit --help`."""
        from humanpose_cli.cli.command import build_command

        command = build_command("fit", lambda invocation: 0)
        return sum(not getattr(parameter, "hidden", False) for parameter in command.params)

    def fit_parameters(self) -> int:
        """Count the parameters of `hp.fit`."""
        return next(f.parameters for f in self.functions if f.path.endswith("front_door.py") and f.node.name == "fit")

    def refusals(self) -> int:
        """Count the pairs of options that are refused, and the errors in code that refuse one beside another."""
        from humanpose_cli.core import option_rules

        tables: list[Mapping[str, tuple[str, ...]]] = [option_rules._NEEDED, option_rules._EXCLUDED]
        text = re.compile("has no effect without|cannot be combined with|no effect with|of no use without")
        sites = sum(
            bool(text.search(node.value))
            for module in self.modules
            if not module.path.endswith("option_rules.py")
            for node in module.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        return sum(len(others) for table in tables for others in table.values()) + sites

    def measures(self) -> dict[str, Measure]:
        """Return the figures that are held, by their names."""
        verbs, docstrings = self.docstrings()
        lab = sum(count for room, count in self.lines.items() if room.startswith("lab/"))
        return {
            "lines of the tool": Measure(sum(self.lines.values()) - lab),
            "lines of the lab": Measure(lab),
            "flags of hpc fit": Measure(self.fit_flags()),
            "parameters of hp.fit": Measure(self.fit_parameters()),
            "refusals of options": Measure(self.refusals()),
            "packed calls": Measure(len(self.packed_calls())),
            "unpacked dictionaries": Measure(len(self.unpacked_dictionaries())),
            "participles, % of assigned names": Measure(round(self.participle_share(), 2)),
            "docstrings with a verb first, %": Measure(round(100 * verbs / docstrings, 1), lower_is_better=False),
            "functions over 60 lines": Measure(len(self.long_functions())),
            "functions over 8 parameters": Measure(len(self.many_parameters())),
        }


def _only_unpacked(scope: ast.FunctionDef | ast.Module) -> Iterator[int]:
    """Yield the lines of names annotated `dict[str, Any]` in a scope that is used as `**name` alone."""
    declared: dict[str, int] = {}
    if isinstance(scope, ast.FunctionDef):
        arguments = scope.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if is_any_dictionary(argument.annotation):
                declared[argument.arg] = argument.lineno
        if arguments.kwarg and arguments.kwarg.annotation and ast.unparse(arguments.kwarg.annotation) == "Any":
            declared[arguments.kwarg.arg] = arguments.kwarg.lineno
    for node in ast.walk(scope):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_any_dictionary(node.annotation):
            declared[node.target.id] = node.lineno
    if not declared:
        return
    uses = Counter(n.id for n in ast.walk(scope) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    unpacked = Counter(
        keyword.value.id
        for node in ast.walk(scope)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg is None and isinstance(keyword.value, ast.Name)
    )
    for name, line in declared.items():
        if uses[name] and uses[name] == unpacked[name]:
            yield line


def _is_exempt(function: Function) -> bool:
    decorators = [ast.unparse(d) for d in function.node.decorator_list]
    return "kernel" in function.path or any(d.startswith(("command", "wp.")) for d in decorators)


def read_table() -> dict[str, float]:
    """Read the recorded figures."""
    return {name: entry["value"] for name, entry in json.loads(TABLE.read_text("utf-8")).items()}


def record(measures: Mapping[str, Measure], why: str) -> None:
    """Write figures into the table. Raises SystemExit if one is worse than recorded and there is no reason."""
    table = json.loads(TABLE.read_text("utf-8"))
    for name, measure in measures.items():
        entry = table.setdefault(name, {"value": measure.value})
        if measure.is_worse_than(entry["value"]):
            if not why:
                raise SystemExit(
                    f"{name}: {measure.value:g} is worse than {entry['value']:g}; give a reason with --why"
                )
            entry["why"] = why
        entry["value"] = measure.value
    lines = (f"  {json.dumps(name)}: {json.dumps(table[name], ensure_ascii=False)}" for name in measures)
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the figures into the table")
    parser.add_argument("--why", default="", help="the reason for figures that became worse")
    arguments = parser.parse_args()
    house = House()
    measures = house.measures()
    if arguments.record:
        record(measures, arguments.why)
    recorded = read_table()
    for room, count in house.lines.items():
        print(f"{room:24}{count:8}")
    print(f"\n{'':34}{'now':>10}{'recorded':>10}")
    for name, measure in measures.items():
        mark = "  worse" if measure.is_worse_than(recorded[name]) else ""
        print(f"{name:34}{measure.value:10g}{recorded[name]:10g}{mark}")


if __name__ == "__main__":
    main()
