"""Train a stage, or a chain of stages.

    python -m train --config=smoke
    python -m train --config=distill --optimizer.learning-rate=1e-4 \
        --init runs/teacher/weights.safetensors
    python -m train --config=nano_all --data.path data/train

A run that finds its own checkpoint in --out continues from it.
Exit status: 0, 1 (failed), 2 (bad usage), 130 (interrupted).
"""

import errno
import os
import sys
from pathlib import Path

import configs


def parse(arguments: list[str]) -> list[tuple[str, configs.RunConfig]]:
    """[(name, run)] of --config=NAME with the other arguments as typed overrides; a
    chain gives several.
    """
    import tyro

    names, rest = _config_name(arguments)
    if names is None:
        known = ", ".join(configs.names())
        if not {"-h", "--help"} & set(rest):
            raise ValueError(f"expected --config=NAME; there are: {known}")
        print(
            __doc__,
            f"\nConfigs: {known}; their options: python -m train --config=NAME --help",
        )
        raise SystemExit(0)
    runs = []
    for name, base in configs.load(names).items():
        # AvoidSubcommands: nested settings are flags; a wrong flag ends with tyro's own
        # hint and status 2
        run = tyro.cli(
            configs.RunConfig,
            default=base,
            args=rest,
            prog=f"python -m train --config={names}",
        )
        runs.append((name, run))
    return runs


def _config_name(arguments: list[str]) -> tuple[str | None, list[str]]:
    rest = list(arguments)
    for index, argument in enumerate(rest):
        others = rest[:index]
        if argument.startswith("--config="):
            name = argument.removeprefix("--config=")
            return name, others + rest[index + 1 :]
        if argument == "--config" and index + 1 < len(rest):
            name = rest[index + 1]
            return name, others + rest[index + 2 :]
    return None, rest


def check_data(runs: list[tuple[str, configs.RunConfig]]) -> None:
    """ValueError if the data of a run is not there, which its start would tell only
    after minutes of compilation.
    """
    for name, run in runs:
        path = Path(run.data.path)
        if not path.exists():
            raise ValueError(
                f"--data.path {path}: no such folder or file, needed by {name}; "
                "make it: python -m train.prepare --help"
            )


def explain(error: BaseException) -> str:
    """Returns one line with the fault and its remedy."""
    message = str(error).strip()
    text = message.splitlines()[0] if message else type(error).__name__
    # XLA raises one kind of error for everything; its text says which
    from_xla = "RESOURCE_EXHAUSTED" in text or "Out of memory" in text
    if isinstance(error, MemoryError) or from_xla:
        return (
            "out of memory: lower --data.batch-size, raise --optimizer.accumulation, "
            f"or use --remat ({text[:120]})"
        )
    from_os = isinstance(error, OSError) and error.errno == errno.ENOSPC
    # libraries wrap it into errors of their own
    if from_os or "No space left" in text:
        return (
            "the disk is full: free space and start again, the run continues from its "
            "last complete checkpoint"
        )
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the stages of the command line; one line on standard error when it fails
    (traceback with SDVSR_DEBUG=1).
    """
    from train.chain import run_chain
    from train.mesh import start_processes

    words = sys.argv[1:] if arguments is None else arguments
    try:
        runs = parse(words)
        check_data(runs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        start_processes()
        return run_chain(runs, Path("runs"))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("SDVSR_DEBUG"):
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    raise SystemExit(status)
