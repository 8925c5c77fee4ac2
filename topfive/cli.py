"""`topfive`: its commands, and what becomes of an error.

Exit codes: 0 done, 1 an internal error, 2 usage, 3 the images, 4 a model or checkpoint refused, 5 memory, disk or
permission, 6 diverged, 130 and 143 interrupted.
"""

import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from topfive import console
from topfive.commands import compare as comparing
from topfive.commands import data, weights
from topfive.commands import runs as running
from topfive.commands import show as looking
from topfive.commands import train as training
from topfive.commands.choose import choose
from topfive.commands.evaluate import evaluate
from topfive.commands.experiment import experiment
from topfive.commands.export import export
from topfive.commands.predict import predict
from topfive.commands.serve import serve
from topfive.commands.story import story
from topfive.errors import ResourceError, TopfiveError, UsageError

app = App(
    name="topfive",
    help="Which convolutional network, at what cost, on my images and my machine?",
    help_epilogue="Every error is one sentence on stderr; --debug adds the traceback.",
    version=console.version,
    default_parameter=Parameter(negative=()),
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
of_data = App(name="data", help="Prepare images: download a public dataset, check images, pack them into shards.")
of_weights = App(name="weights", help="Weights from other libraries: download and convert them.")
commands: tuple[tuple[App, tuple[Callable[..., None], ...]], ...] = (
    (app, (looking.networks, looking.show, looking.explain, comparing.compare, choose, experiment, story)),
    (app, (training.train, running.resume, running.runs, evaluate, predict, export, serve)),
    (of_data, (data.fetch, data.check, data.pack)),
    (of_weights, (weights.fetch, weights.take_in)),
)
for group, functions in commands:
    for function in functions:
        group.command(function, name="import" if function is weights.take_in else None)
app.command(of_data)
app.command(of_weights)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's error is one sentence on stderr."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    # why: a lone - would be taken for an option
    tokens = [console.STANDARD_INPUT if token == "-" else token for token in tokens if token != "--debug"]
    console.arguments[:] = tokens
    try:
        app(tokens)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        # why: the reader has left; Python would complain once more when it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if debug:
            from traceback import print_exc

            print_exc()
        return _fail(*_sentence(error))


def _sentence(error: Exception) -> tuple[str, int]:
    match error:
        case TopfiveError():
            return str(error), error.exit_code
        case UnusedCliTokensError(unused_tokens=tokens):
            return f"too many arguments: {' '.join(tokens or ())}", UsageError.exit_code
        case CycloptsError():
            return str(error), UsageError.exit_code
        case OSError() | MemoryError():
            return f"{error}" or type(error).__name__, ResourceError.exit_code
        case RuntimeError() if "gloo/transport" in str(error):
            # why: the processes that are left hear of a dead one by a broken connection alone
            return "another process of this training has died, so this one stops too", ResourceError.exit_code
        case _:
            what = f"{type(error).__name__}: {error}"
            return f"internal error: {what} (--debug shows where)", TopfiveError.exit_code


def _fail(sentence: str, code: int) -> int:
    print(f"topfive: {' '.join(sentence.split())}", file=sys.stderr)
    return code
