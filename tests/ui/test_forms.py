"""The form of a job is the command line's."""

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from infer.options import Options
from infer.ui import forms
from infer.ui.refusal import Refusal

MODELS = {"nano": "nano", "mine": "/models/mine.safetensors"}


def test_every_option_of_the_command_is_offered_or_left_out_by_name() -> None:
    names = {option.name for option in forms.find_options()}
    command = {field.name for field in dataclasses.fields(Options)}
    assert names | forms.LEFT_OUT >= command
    assert not names & forms.LEFT_OUT


def test_types_defaults_and_helps_are_those_of_the_command() -> None:
    form = forms.form_model(MODELS)
    values = form().model_dump()
    for option in forms.find_options():
        assert values[option.name] == option.default
        assert form.model_fields[option.name].description


def test_unknown_options_and_wrong_types_are_refused() -> None:
    form = forms.form_model(MODELS)
    wrong = [{"output": "/etc/x"}, {"crf": "18"}, {"scale": 5}, {"model": "x"}]
    lists = [{"cut_at": ["3"]}, {"cut_at": [1.5]}, {"cut_at": 3}]
    for values in [*wrong, *lists]:
        with pytest.raises(ValidationError):
            form.model_validate(values)


def test_words_are_read_back_by_the_command_as_they_were_meant() -> None:
    values = {"scale": 2, "crf": 20, "codec": "ffv1", "deinterlace": True, "seed": 7}
    words = forms.command_words({**values, "model": "mine"}, MODELS)
    options = forms.parse_words(["--video", "a.mp4", *words])
    assert options.model == "/models/mine.safetensors"
    assert {name: getattr(options, name) for name in values} == values


def test_a_list_of_numbers_and_workers_reach_the_command() -> None:
    values = {"cut_at": [3, 40], "workers": 2, "threads": 1}
    wish = forms.form_model(MODELS).model_validate(values)
    words = forms.command_words(wish.model_dump(), MODELS)
    options = forms.parse_words(["--video", "a.mp4", *words])
    assert options.cut_at == (3, 40)
    assert options.workers == 2
    assert options.threads == 1
    with pytest.raises(Refusal, match="expected numbers of frames"):
        forms.parse_words(["--video", "a.mp4", "--cut-at", "-3"])


def test_the_first_model_is_the_default() -> None:
    models = {"mine": "/models/mine.safetensors", "nano": "nano"}
    form = forms.form_model(models)
    assert form().model_dump()["model"] == "mine"
    words = forms.command_words({}, models)
    options = forms.parse_words(["--video", "a.mp4", *words])
    assert options.model == "/models/mine.safetensors"


def test_a_value_that_begins_with_a_dash_stays_a_value() -> None:
    words = forms.command_words({"codec": "--output=/etc/passwd"}, MODELS)
    assert forms.parse_words(["--video", "a.mp4", *words]).output is None


def test_what_the_command_refuses_is_refused_with_its_sentence() -> None:
    words = forms.command_words({"size": "big"}, MODELS)
    with pytest.raises(Refusal, match="expected WIDTHxHEIGHT"):
        forms.parse_words(["--video", "a.mp4", *words])


def test_two_requests_may_be_read_at_the_same_time() -> None:
    def read(seed: int) -> int:
        words = forms.command_words({"seed": seed}, MODELS)
        return forms.parse_words(["--video", "a.mp4", *words]).seed

    before = sys.getswitchinterval()
    # as often as on a busy machine in hours
    sys.setswitchinterval(1e-5)
    seeds = list(range(40))
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(read, seeds)) == seeds
    finally:
        sys.setswitchinterval(before)
