import dataclasses

import pytest

import configs
from sdvsr_jax.config import PRESETS, RestorerConfig
from sdvsr_jax.networks import abstract_params
from train.__main__ import explain, main, parse
from train.selection import flatten, guidance_from_unet, merge, select

CHAINS = ("nano_all", "nano_cpu")
STAGES = [
    (config, stage) for config in configs.names() for stage in configs.load(config)
]


@pytest.fixture(scope="module")
def shapes():
    # the stages of nano_real give the model a restorer first
    models = {name: make() for name, make in PRESETS.items()}
    models["nano"] = dataclasses.replace(models["nano"], restorer=RestorerConfig())
    return {name: abstract_params(config) for name, config in models.items()}


@pytest.mark.parametrize(("config", "stage"), STAGES)
def test_every_run_trains_a_part_of_its_model(config, stage, shapes):
    run = configs.load(config)[stage]
    trained, frozen = select(shapes[run.model], run.trained)
    assert trained
    assert frozen
    assert flatten(merge(trained, frozen)).keys() == flatten(shapes[run.model]).keys()
    for pattern in run.loss.gan.ratio_at:
        assert pattern in trained


def test_official_decoder_stage_trains_the_published_number(shapes):
    run = configs.load("official_stage2")["official_stage2"]
    trained, _ = select(shapes["stream_diffvsr"], run.trained)
    assert sum(leaf.size for leaf in trained.values()) == 172_935


@pytest.mark.parametrize("name", configs.names())
def test_docstring_is_its_command_and_cost(name):
    import importlib

    text = importlib.import_module(f"configs.{name}").__doc__
    assert f"--config={name}" in text
    assert "Cost: " in text


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_has_every_stage_in_order(name):
    order = "autoencoder flow teacher distill decoder guidance joint"
    stages = order.split()
    chain = list(configs.load(name))
    assert chain[: len(stages)] == stages


def test_a_part_of_a_chain_can_be_chosen(capsys):
    chain = configs.load("nano_cpu")
    assert parse(["--config=nano_cpu:polish,flow"]) == [
        (name, chain[name]) for name in ("polish", "flow")
    ]
    assert main(["--config=nano_cpu:polisch"]) == 2
    assert "no stage polisch; there are: autoencoder, flow" in capsys.readouterr().err


def test_overrides_are_typed():
    rate = "--optimizer.learning-rate=1e-4"
    words = ["--config=distill", rate, "--rollout.hops", "3", "--remat"]
    ((name, run),) = parse(words)
    assert name == "distill"
    assert run.optimizer.learning_rate == 1e-4
    assert run.rollout.hops == 3
    assert run.remat is True
    assert run.trained == configs.load("distill")["distill"].trained


def test_wrong_config_name_has_a_hint(capsys):
    assert main(["--config=distil"]) == 2
    assert "perhaps you meant --config=distill" in capsys.readouterr().err
    assert main([]) == 2
    assert "expected --config=NAME" in capsys.readouterr().err


def test_wrong_flag_has_a_hint(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--config=distill", "--optimizer.learning-rat=1"])
    assert stop.value.code == 2
    assert "optimizer.learning-rate" in capsys.readouterr().err


def test_pattern_without_a_match_is_refused(shapes):
    with pytest.raises(ValueError, match="'unet2/\\*' matches no parameter"):
        select(shapes["nano"], ("unet2/*",))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_guidance_starts_as_the_unet_encoder(name, shapes):
    model = shapes[name]
    unet = flatten(model["unet"])
    before = flatten(model["controlnet"])
    after = flatten(guidance_from_unet(model)["controlnet"])
    assert after.keys() == before.keys()
    copies = [path for path in after if after[path] is unet.get(path)]
    assert any("down_blocks" in path for path in copies)
    # its own layers, which begin at zero
    assert not any("controlnet_" in path for path in copies)
    for path, leaf in after.items():
        assert leaf.shape == before[path].shape


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "disk is full"),
        (MemoryError(), "out of memory"),
        (
            RuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes"
            ),
            "lower --data.batch-size",
        ),
        (
            ValueError("data.path=x: found no dataset\nmore"),
            "data.path=x: found no dataset",
        ),
    ],
)
def test_faults_are_one_line(error, text):
    line = explain(error)
    assert text in line
    assert "\n" not in line


def test_impossible_settings_are_refused():
    run = configs.load("distill")["distill"]
    with pytest.raises(ValueError, match="not a multiple of segment"):
        dataclasses.replace(run, rollout=configs.RolloutConfig(hops=3, segment=2))
    with pytest.raises(ValueError, match=r"not a multiple of optimizer\.accumulation"):
        dataclasses.replace(run, optimizer=configs.OptimizerConfig(accumulation=3))
