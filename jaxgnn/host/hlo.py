"""Reading an optimised HLO program: its computations, how often each instruction runs, what it moves and multiplies."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "ragged-all-to-all")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "f8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8}
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|c64|c128)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_DEFINED = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = ")
_OPENED = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_FREE = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "conditional", "call", "after-all")


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
      name, opcode: for example "fusion.147" and "fusion".
      result: the text of its type.
      arguments: the text between its brackets: names, or a constant's value.
      rest: all that follows the opcode.
      root: whether it is its computation's result.
    """

    name: str
    opcode: str
    result: str
    arguments: str
    rest: str
    root: bool

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the instructions that it is given."""
        return tuple(_NAME.findall(self.arguments))

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None

    @property
    def cycles(self) -> int:
        """That the compiler counts for it, 0 where it says nothing."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else 0

    @property
    def is_free(self) -> bool:
        """Whether it stands for no work of its own."""
        return self.opcode in _FREE or self.opcode.endswith("-done")


class Program(NamedTuple):
    """Computations by name, and the name of the first."""

    computations: dict[str, dict[str, Instruction]]
    entry: str


class Run(NamedTuple):
    """An instruction, how often it runs, whether in a loop of the program, and whether inside a fusion."""

    instruction: Instruction
    computation: str
    times: int
    loops: int
    fused: bool


def parse(text: str) -> Program:
    """The program that `compiled.as_text()` prints."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            if opened := _OPENED.match(line):
                current = computations.setdefault(opened[2], {})
                entry = opened[2] if opened[1] else entry
        elif line.startswith("}"):
            current = None
        elif defined := _DEFINED.match(line):
            instruction = _instruction(line[defined.end() :], defined[2], bool(defined[1]))
            current[instruction.name] = instruction
    return Program(computations, entry)


def _instruction(text: str, name: str, root: bool) -> Instruction:
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    result, text = text[:end], text[end:].lstrip()
    opcode, _, text = text.partition("(")
    end = _closing("(" + text, 0) - 2
    return Instruction(name, opcode.strip(), result, text[:end], text[end:], root)


def _closing(text: str, start: int) -> int:
    """The place after the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i + 1
    return len(text)


def shapes(result: str) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype, shape) of every array in a type."""
    return [(kind, tuple(int(n) for n in dims.split(",") if n)) for kind, dims in _ARRAY.findall(result)]


def nbytes(result: str, *, counters: bool = True) -> int:
    """Bytes of all arrays of a type, layouts left out; without `counters` those of integers without a shape too."""
    arrays = [(kind, dims) for kind, dims in shapes(result) if counters or dims or kind[0] not in "us"]
    return sum(_BYTES.get(kind, 8 if kind.startswith("c") else 4) * math.prod(dims) for kind, dims in arrays)


def runs(program: Program) -> Iterator[Run]:
    """Every instruction that runs; both branches of a conditional, the bodies of loops by their number of trips."""
    yield from _runs(program, program.entry, 1, 0, False)


def _runs(program: Program, name: str, times: int, loops: int, fused: bool) -> Iterator[Run]:
    for instruction in program.computations.get(name, {}).values():
        yield Run(instruction, name, times, loops, fused)
        if instruction.opcode == "while":
            body = instruction.called("body")
            if body is not None:
                yield from _runs(program, body, times * trips(program, instruction), loops + 1, fused)
        elif instruction.opcode == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.rest)
            named = _NAME.findall(branches[1]) if branches else []
            for kind in ("true_computation", "false_computation"):
                named += [found] if (found := instruction.called(kind)) else []
            for branch in named:
                yield from _runs(program, branch, times, loops, fused)
        elif instruction.opcode in ("fusion", "call", "async-start"):
            inner = instruction.called("calls") or instruction.called("to_apply")
            if inner is not None:
                yield from _runs(program, inner, times, loops, fused or instruction.opcode == "fusion")


def trips(program: Program, loop: Instruction) -> int:
    """How often a loop's body runs: as the compiler says, or the constant that its condition compares with; else 1."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])
    condition = program.computations.get(loop.called("condition") or "", {})
    bounds = [int(i.arguments) for i in condition.values() if i.opcode == "constant" and i.arguments.isdecimal()]
    return max(bounds, default=1)


def rows(run: Run) -> int:
    """Rows of up to 128 numbers that a gather reads, or a scatter adds."""
    kinds = shapes(run.instruction.result)
    if not kinds or not kinds[0][1]:
        return 1
    dims = kinds[0][1]
    return math.prod(dims[:-1]) * -(-dims[-1] // 128)


def updates(program: Program, run: Run) -> int:
    """Rows that a scatter adds: those of its last operand."""
    source = program.computations[run.computation].get(run.instruction.operands[-1])
    return rows(run if source is None else run._replace(instruction=source))


def moved(program: Program, run: Run) -> int:
    """Bytes that an instruction outside fusions reads and writes, of what it slices or gathers only that part."""
    known = program.computations[run.computation]
    instruction = run.instruction
    inner = instruction.called("calls") if instruction.opcode == "fusion" else None
    body = program.computations.get(inner or "")
    if body is None:
        return nbytes(instruction.result) + sum(nbytes(known[n].result) for n in instruction.operands if n in known)
    total = 0
    for parameter in (i for i in body.values() if i.opcode == "parameter"):
        users = [i for i in body.values() if parameter.name in i.operands]
        part = [i for i in users if i.opcode in ("dynamic-slice", "gather", "slice")]
        whole = [i for i in users if i not in part and i.opcode != "dynamic-update-slice"]
        total += nbytes(parameter.result) if whole else sum(nbytes(i.result) for i in part)
    written = [i for i in body.values() if i.opcode == "dynamic-update-slice"]
    if written:
        return total + sum(2 * nbytes(body[i.operands[1]].result) for i in written if i.operands[1] in body)
    return total + nbytes(instruction.result)


def products(program: Program, run: Run) -> int:
    """Multiplications and additions of a `dot`, or of the `convolution` that TPUs make of one."""
    instruction = run.instruction
    left = program.computations[run.computation].get(instruction.operands[0])
    if left is None:
        return 0
    (_, dims), *_ = shapes(left.result)
    if contracted := re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest):
        axes = [int(i) for i in contracted[1].split(",") if i]
    elif labels := re.search(r"dim_labels=(\w+)_", instruction.rest):
        axes = [labels[1].index("f")]
    else:
        return 0
    return 2 * math.prod(dims[i] for i in axes) * math.prod(shapes(instruction.result)[0][1])
