"""`python -m infer convert`: weights from one layout to the other, and back without a
change.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infer.console import say
from infer.errors import JobError
from sdvsr_jax.weights import diffusers_layout as published
from sdvsr_jax.weights import load as checkpoint


@dataclass(frozen=True)
class Options:
    """Convert weights: to one file of ours (NAME.safetensors), or to a folder in the
    published layout.

    Converting the published checkpoint once saves its text encoder (1.4 GB) being read
    at every start.
    """

    model: str
    """Shipped name, .safetensors file of ours, published folder, or hub id."""
    output: Annotated[str, tyro.conf.arg(aliases=("-o",))]
    """Ends in .safetensors: one file of ours; else a new folder in the published
    layout.
    """
    flow_weights: str | None = None
    """torchvision's RAFT-large as safetensors, where the model does not bring it."""
    offline: bool = False
    """Use the hub's local cache only."""
    overwrite: bool = False
    """Replace an existing output."""
    debug: bool = False
    """Show tracebacks."""


def main(arguments: list[str]) -> int:
    """The command; returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog="python -m infer convert")
    target = Path(options.output)
    if target.exists() and not options.overwrite:
        raise JobError(f"{target} exists; give --overwrite to replace it")
    config, params = checkpoint.load(
        options.model, flow_weights=options.flow_weights, offline=options.offline
    )
    if target.suffix == ".safetensors":
        checkpoint.save(target, config, params)
    else:
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            published.write(part, config, params)
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    say(f"done     {target}  {config.name}")
    return 0
