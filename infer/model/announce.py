"""The facts of a model in words, before anything is computed."""

from infer.console import in_words, say
from infer.model.engine import Model
from infer.model.memory import Memory


def describe_model(model: Model, memory: Memory, free: int | None) -> None:
    """Model, device, precision and predicted memory, before anything is computed.

    free: bytes that are available, None where that is not known.
    """
    config = model.config
    device = model.device
    place = f"{device.platform}:{device.id} {device.device_kind}"
    effort = f"{config.compute_dtype}, {config.diffusion.num_steps} steps"
    say(f"model    {model.name} ({config.name}), {place}, {effort}")
    on_device = in_words(memory.device)
    on_host = in_words(memory.host)
    in_program = in_words(memory.process)
    parts = f"{on_device} on the device, {on_host} on the host"
    text = f"memory   {parts}, {in_program} for the program (predicted)"
    if free is not None:
        text += f", {in_words(free)} available"
    say(text)
    if not memory.fits(device.platform, free):
        say(
            "warning  this may not fit into the memory: try --tile, a smaller --size "
            "or --precision bfloat16"
        )
