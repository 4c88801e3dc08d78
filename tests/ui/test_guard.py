"""Laws of the guard in front of the server: whose requests it lets in."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from infer.ui.app import build_app
from infer.ui.command import link_to
from infer.ui.security import HEADERS, RateLimit
from infer.ui.settings import Settings, check

TOKEN = "a secret of this test"


def client_of(folder: Path, token: str = "", **settings: object) -> TestClient:
    """A client of an application without a network."""
    overrides = Settings(folder=str(folder), **settings)  # type: ignore[arg-type]
    base = "http://127.0.0.1:8320"
    return TestClient(
        build_app(overrides, token), base_url=base, follow_redirects=False
    )


def test_another_name_of_the_server_is_refused(tmp_path: Path) -> None:
    client = client_of(tmp_path, public=("video.example.org",))
    for host in ("evil.example.com", "127.0.0.1.evil.com", "", "[bad"):
        answer = client.get("/api/about", headers={"host": host})
        assert answer.status_code == 421
        assert answer.json()["error"]
    for host in ("localhost:1", "[::1]:8320", "video.example.org"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_requests_of_other_pages_are_refused(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    foreign = [
        {"origin": "http://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ]
    for headers in foreign:
        answer = client.post("/api/inputs", json={"demo": True}, headers=headers)
        assert answer.status_code == 403, headers
    same_origin = {"origin": "http://127.0.0.1:8320", "sec-fetch-site": "same-origin"}
    assert client.post("/api/inputs", json={}, headers=same_origin).status_code == 400


def test_a_websocket_of_another_page_is_refused(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    headers = {"origin": "http://evil.example.com"}
    refusal = pytest.raises(WebSocketDisconnect)
    with refusal, client.websocket_connect("/api/live", headers=headers):
        pass


def test_without_the_token_nothing_is_answered(tmp_path: Path) -> None:
    client = client_of(tmp_path, TOKEN)
    paths = ("/", "/page.js", "/api/about", "/api/openapi.json", "/metrics")
    for path in paths:
        assert client.get(path).status_code == 401
        wrong = {"authorization": "Bearer not it"}
        assert client.get(path, headers=wrong).status_code == 401
        assert client.get(path, params={"token": "not it"}).status_code == 401
    assert client.get("/healthz").status_code == 200
    right = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/about", headers=right).status_code == 200


def test_the_link_becomes_a_cookie_that_scripts_cannot_read(tmp_path: Path) -> None:
    # as tokens are made: without spaces, which a cookie would quote
    token = TOKEN.replace(" ", "")
    client = client_of(tmp_path, token)
    answer = client.get("/", params={"token": token})
    assert answer.status_code == 303
    assert token not in answer.headers["location"]
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/api/about").status_code == 200


def test_every_answer_has_the_strict_headers(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    for path in ("/", "/page.js", "/api/about", "/api/jobs/none", "/nowhere"):
        answer = client.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_page_is_served_below_the_prefix_and_without_it(tmp_path: Path) -> None:
    client = client_of(tmp_path, prefix="/upscale")
    for path in ("/upscale/", "/upscale/api/about", "/api/about", "/"):
        assert client.get(path).status_code == 200, path
    assert client.get("/upscaled").status_code == 404


def test_too_many_requests_are_refused_and_the_room_comes_back() -> None:
    limit = RateLimit(rate=50)
    answers = [limit.allows("1.2.3.4") for _ in range(400)]
    # 5 seconds' worth may come at once; the loop itself takes well below a second
    assert 250 <= sum(answers) < 350
    assert limit.allows("5.6.7.8")


def test_an_address_other_than_this_machines_gets_a_token() -> None:
    assert Settings().secret() == ""
    secrets = {Settings(host="0.0.0.0").secret() for _ in range(3)}
    assert len(secrets) == 3
    # 24 random bytes
    assert min(map(len, secrets)) >= 32
    link = link_to(Settings(host="0.0.0.0", prefix="/v"), 80, "abc")
    assert link.endswith(":80/v/?token=abc")


@pytest.mark.parametrize(
    "wrong",
    [{"port": -1}, {"prefix": "v"}, {"rate": 0.0}, {"root": ("/no/such/folder",)}],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="--"):
        check(Settings(**wrong))  # type: ignore[arg-type]
