"""The command line: finds the command, parses its options, and gives errors their exit codes.

Exit code 0 done, 1 a theorem's check failed or a plan does not fit, 2 bad input (one line on standard error), 3 another
process of the run was lost, 130 interrupted and 143 terminated (what was done is kept).
"""

import contextlib
import errno
import importlib
import io
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, get_args, get_origin

from jaxgnn import __version__
from jaxgnn.commands.help import short
from jaxgnn.host import interrupts
from jaxgnn.host.spelling import meant
from jaxgnn.host.streams import tolerant

# name: (module and class, what `jaxgnn --help` says). Only the one that is called is imported.
COMMANDS = {
    "study": ("study.StudyCommand", "sweep depths and remedies on a data set, train, probe, take spectra; one page"),
    "diagnose": ("diagnose.DiagnoseCommand", "say why a network fails on a data set, and what to try; one page"),
    "train": ("train.TrainCommand", "train one network over many seeds and a grid of options, in one program"),
    "probe": ("probe.ProbeCommand", "follow features forward, gradients and errors backward, through every layer"),
    "spectrum": ("spectrum.SpectrumCommand", "Jacobian spectra of layers, Lyapunov exponents, sensitivity"),
    "check": ("check.CheckCommand", "check the papers' theorems on random networks"),
    "reproduce": ("reproduce.ReproduceCommand", "reproduce figures and tables of the papers"),
    "report": ("reproduce.ReportCommand", "one page of all that was reproduced in a folder"),
    "plan": ("plan.PlanCommand", "compile a training for TPUs or GPUs that are not here: memory, exchanges, time"),
    "bench": ("bench.BenchCommand", "measure training and probing beside torch and PyTorch Geometric"),
    "data": ("data.DataCommand", "list data sets, or download them"),
}

_ACTIONS = ("list", "fetch")  # of data
_HELP = ("--help-all", "--config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        tolerant(stream)
    if arguments == ["--version"]:
        print(__version__)
        return 0
    if arguments[:1] in (["--help"], ["-h"]):
        print(_help())
        raise SystemExit(0)
    if arguments and arguments[0] in COMMANDS and {"--help", "-h"} & set(arguments):
        print(short(arguments[0]))
        raise SystemExit(0)
    _repeatable_on_gpus()
    warnings.showwarning = lambda message, *_: print(f"jaxgnn: note: {message}", file=sys.stderr)
    stop = interrupts.Stop()
    try:
        command = _parse(arguments)
        with interrupts.of_command() as stop:
            code = command.run(arguments) or 0
            if stop.wanted:
                raise KeyboardInterrupt("all was done")
        return code
    except interrupts.ProcessLost as error:
        return _fail(str(error), 3)
    except (ValueError, MemoryError) as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(_reason(error), 2)
    except KeyboardInterrupt as error:
        return _fail(f"interrupted: {str(error) or 'nothing was kept'}", 128 + (stop.signal or signal.SIGINT))
    except Exception:
        if not _is_one_of_several():
            raise
        traceback.print_exc()
        return _fail("this process stopped, and the others with it", 1)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jaxgnn COMMAND [OPTIONS]",
            "",
            "Why a graph neural network fails when it is deep, and what fixes it.",
            "",
            *lines,
            "",
            "jaxgnn COMMAND --help shows its main options and examples, --help-all every option; jaxgnn --version the",
            "version.",
        ]
    )


def _parse(arguments: Sequence[str]) -> Any:
    """The command as an object. Raises ValueError in one sentence where tyro would draw a box."""
    name = arguments[0] if arguments else ""
    if name.startswith("--tyro-"):
        from jaxgnn.commands.completion import print_completion

        print_completion(COMMANDS, arguments, _tyro_options())
    if name not in COMMANDS:
        said = f"command {name!r} is not known{meant(name, COMMANDS)}" if name else "a command is needed:"
        raise ValueError(f"{said} allowed are {', '.join(COMMANDS)}; see jaxgnn --help")
    if name == "plan":  # compilers of others report on their work at length; read when JAX is imported
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module, _, kind = COMMANDS[name][0].partition(".")
    command = getattr(importlib.import_module(f"jaxgnn.commands.{module}"), kind)
    import tyro  # after the light ways out above

    from jaxgnn.commands import options_file, recipes, several

    given = recipes.with_recipe(options_file.with_file(arguments[1:], command, name), command, name)
    given = options_file.without_negations(given, command)
    if name == "train":
        given = several.in_grid(given)
    _check_options(given, command, name)
    given = ["--help" if argument == "--help-all" else argument for argument in given]
    options = {"prog": f"jaxgnn {name}", **_tyro_options()}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Any = tyro.cli(command, args=given, **options)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_sentence(complaint.getvalue(), name)) from None
    if (recipe := getattr(parsed, "recipe", None)) is not None:
        print(f"jaxgnn: note: {recipes.note(recipes.described(recipe, name, parsed))}", file=sys.stderr)
    return parsed


def _tyro_options() -> dict[str, Any]:
    import tyro

    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_comma_separated)
    return {"registry": registry, "config": (tyro.conf.FlagCreatePairsOff,)}


def _comma_separated(info: Any) -> Any:
    """2,8,32 for every tuple[X, ...] option that is not positional."""
    import tyro

    if get_origin(info.type) is not tuple or tyro.conf.Positional in info.markers:
        return None
    convert: Callable[[str], Any] = get_args(info.type)[0]
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{convert.__name__.upper()},...",
        instance_from_str=lambda texts: tuple(convert(part.strip()) for part in texts[0].split(",")),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    )


def _check_options(given: Sequence[str], command: type, name: str) -> None:
    """Raises ValueError for an option that the command does not have."""
    from jaxgnn.commands.options_file import options_of

    known = [f"--{option}" for option, _ in options_of(command)]
    if name == "data":  # its options are those of its actions
        if given and not given[0].startswith("-") and given[0] not in _ACTIONS:
            raise ValueError(f"data {given[0]!r} is not known{meant(given[0], _ACTIONS)} allowed are list, fetch")
        return
    negated = [f"--no-{option[2:]}" for option in known]
    for argument in given:
        option = argument.partition("=")[0].replace("_", "-")
        if option.startswith("--") and not option.startswith("--tyro-") and option not in (*known, *negated, *_HELP):
            raise ValueError(
                f"option {option} is not known{meant(option, known).replace(chr(39), '')} see jaxgnn {name} --help-all"
            )


def _sentence(box: str, name: str) -> str:
    """The first paragraph in tyro's box, on one line; the box is drawn in ASCII where the terminal's encoding is."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]  # without its title
    rules = [i for i, line in enumerate(lines) if line and set(line) <= set("─-")]
    start = 1 if rules[:1] == [0] else 0
    end = next((i for i in rules if i >= start), len(lines))
    sentence = " ".join(lines[start:end]).strip() or "the arguments are not understood"
    said = re.sub(r"^Error parsing \w[^:]*: ", "", sentence)
    # Of a list of choices tyro does not say which one is near.
    if choice := re.match(r"invalid choice '(.*?)' for argument '--[\w-]+'(?=\. Expected one of \((.*?)\))", said):
        near = meant(choice[1], re.findall(r"'(.*?)'", choice[2]))
        said = choice[0] + said[choice.end() :].replace(".", near, 1) if near != ":" else said
    return f"{said.removesuffix('.')}; see jaxgnn {name} --help-all"


def _repeatable_on_gpus() -> None:
    """Where JAX has devices of others, every program of the command is to give the same bits each time."""
    flags, option = os.environ.get("XLA_FLAGS", ""), "xla_gpu_deterministic_ops"
    if option not in flags and entry_points(group="jax_plugins"):
        os.environ["XLA_FLAGS"] = f"{flags} --{option}=true".strip()


def _is_one_of_several() -> bool:
    """Whether this process has joined others to one run."""
    if (jax := sys.modules.get("jax")) is None:
        return False
    return jax.distributed.is_initialized()


def _reason(error: OSError) -> str:
    """A system's error as a sentence, with the file where it is known."""
    said = error.strerror or str(error)
    if error.filename is not None:
        said = f"{error.filename}: {said}"
    if error.errno == errno.ENOSPC:
        said = f"the disk is full, {said}; with more space the same command goes on from what is kept"
    return said


def _fail(sentence: str, code: int) -> int:
    print(f"jaxgnn: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
    if _is_one_of_several():  # the usual way out waits for processes that may wait for this one
        sys.stdout.flush()
        os._exit(code)
    return code
