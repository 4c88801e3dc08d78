"""The interface keeps to its own OpenAPI document, whatever it is asked."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from infer.ui import document
from infer.ui.app import build_app
from infer.ui.settings import Settings
from tests.ui.conftest import CLIP, ROOT
from tests.ui.test_guard import client_of
from tests.ui.test_ui_inputs import send

EXAMPLES = 6
"""Requests for each operation and phase: seconds in all; `make nightly` asks more."""
NIGHTLY = 60


@pytest.fixture
def interface(tmp_path: Path) -> Any:
    """An application without a network and without a queue that runs."""
    hosts = ("localhost", "testserver")
    app = build_app(Settings(folder=str(tmp_path), public=hosts, rate=1e6))
    # streams of events would not end
    app._app.state.server.is_ending = True
    return schemathesis.openapi.from_asgi("/api/openapi.json", app)


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]
LEFT_OUT = [
    # every text is a fine query, also one that was meant to be of another type
    negative_data_rejection,
    # an id of the right type still stands for nothing, and two ways at once are refused
    positive_data_acceptance,
]


def ask(interface: Any, count: int) -> None:
    """Ask every operation ``count`` things of each kind that the document allows."""
    operations = list(interface.get_all_operations())
    assert operations
    for operation in operations:

        @settings(max_examples=count, deadline=None, suppress_health_check=QUIET)
        @given(case=operation.ok().as_strategy())
        def call(case: Any) -> None:
            case.call_and_validate(excluded_checks=LEFT_OUT)

        call()


def test_every_operation_answers_as_documented(interface: Any) -> None:
    ask(interface, EXAMPLES)


@pytest.mark.nightly
def test_more_requests_are_answered_as_documented(interface: Any) -> None:
    ask(interface, NIGHTLY)


def test_the_document_names_the_options_of_the_command(tmp_path: Path) -> None:
    document = client_of(tmp_path).get("/api/openapi.json").json()
    options = document["components"]["schemas"]["JobOptions"]["properties"]
    assert {"scale", "codec", "crf", "start", "frames"} <= set(options)
    assert all(rule.get("description") for rule in options.values())
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["description"]
            assert operation["operationId"]


def test_every_error_is_one_sentence(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    entry = send(client, "clip.mp4", CLIP.read_bytes())["id"]
    answers = [
        client.get("/api/jobs/none"),
        client.get("/api/nowhere"),
        client.patch("/api/jobs/none", json={"action": "stop"}),
        client.post("/api/jobs", content=b"{"),
        client.post("/api/jobs", json={"input": "none"}),
        client.post("/api/jobs", json={"input": entry, "options": {"crf": -1}}),
        client.post("/api/jobs", json={"input": entry, "options": {"codec": "xyz"}}),
        client.post("/api/jobs", json={"input": entry, "options": {"start": 5000}}),
        client.get(f"/api/inputs/{entry}/frames/5000"),
        client.get(f"/api/inputs/{entry}/frames/x"),
        client.delete("/api/about"),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500
        sentence = answer.json()["error"]
        assert sentence
        assert "\n" not in sentence
        assert str(tmp_path) not in sentence


def test_an_estimate_tells_size_and_name_and_notes(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    entry = send(client, "clip.mp4", CLIP.read_bytes())["id"]
    wish = {"input": entry, "options": {"scale": 2, "frames": 10}, "container": "mkv"}
    estimate = client.post("/api/estimate", json=wish).json()
    assert estimate["width"] == 640
    assert estimate["height"] == 360
    assert estimate["frames"] == 10
    assert estimate["output_name"] == "clip_x2.mkv"
    # nothing has run here yet, and a guess would be no measurement
    assert estimate["seconds"] is None


def test_the_page_of_the_manual_is_what_its_script_writes() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert text == "\n".join(document.page()) + "\n", "python -m infer.ui.document"
