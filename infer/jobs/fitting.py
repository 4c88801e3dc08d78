"""The engine of a job: the layout asked for, the one of unfinished work, or the first
that fits the memory.
"""

from infer.console import say
from infer.errors import JobError
from infer.jobs.plan import Plan
from infer.jobs.work_folder import folder_of, read_sealed
from infer.model.engine import Engine, Model, Shape
from infer.model.engines import Engines
from infer.model.layout import Layout, Tiles, Whole, parse_layout
from infer.model.memory_plan import Need, Planner
from infer.model.threads import use_threads
from infer.options import Options, parse_tile
from infer.pipeline import READ_AHEAD, WRITE_BEHIND


def load(options: Options, engines: Engines) -> Model:
    """Returns the model that the options ask for."""
    if options.threads is not None:
        use_threads(options.threads)
    return engines.load(
        options.model,
        options.device,
        options.precision,
        options.steps,
        options.flow_weights,
        options.offline,
    )


def need_of_job(plan: Plan) -> Need:
    """Returns the demand of a file job."""
    info = plan.info
    encoder = plan.spec.memory if plan.spec else 0
    shape = Shape(info.width, info.height, info.layout.is_deep, plan.size)
    # One frame more is in the hands of the thread on either side, one on the device.
    return Need(shape, READ_AHEAD + 2, WRITE_BEHIND + 2, encoder)


def engine_for_job(
    options: Options, plan: Plan, model: Model, engines: Engines
) -> Engine:
    """Returns the engine of a job; unfinished work goes on in its own layout."""
    return engine_of_layout(layout_of_job(options, plan), plan, model, engines)


def layout_of_job(options: Options, plan: Plan) -> Layout | None:
    """Returns the layout that is asked for, or that of unfinished work, or None."""
    if options.tile == "auto":
        return _earlier_layout(plan.target)
    return layout_of(options)


def engine_of_layout(
    layout: Layout | None, plan: Plan, model: Model, engines: Engines
) -> Engine:
    """Returns the engine of that layout; without one, of the first that fits."""
    planner = Planner(engines, tell)
    return planner.fitting_engine(layout, need_of_job(plan), model)


def layout_of(options: Options) -> Layout | None:
    """Returns the layout that --tile asks for; None for 'auto'."""
    if options.tile == "auto":
        return None
    if options.tile == "off":
        return Whole()
    return Tiles(*parse_tile(options.tile))


def tell(text: str) -> None:
    """Says why a frame does not go through the model whole."""
    say(f"fit      {text}")


def _earlier_layout(output: str) -> Layout | None:
    """The layout of unfinished work: another one would make other pixels."""
    try:
        record = read_sealed(folder_of(output) / "job.json")
        return parse_layout(record["fit"])
    except (JobError, KeyError, ValueError):
        return None
