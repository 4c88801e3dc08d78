"""Videos of a bucket: outputs are stored beside, once, whole, and nobody's are lost."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clips import make_video
from crews import Crew

from infer.cluster import film
from infer.command.bucket_lock import BucketLock
from infer.errors import JobError

fsspec = pytest.importorskip("fsspec")
# The size of most tests: another one is another compilation.
SIZE = (16, 16)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """A folder in memory with two videos, one of them further down."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.makedirs("/in/sub", exist_ok=True)
    for name, count in (("a.mp4", 3), ("sub/b.mkv", 5)):
        path = tmp_path / Path(name).name
        make_video(str(path), range(count), SIZE)
        system.put_file(str(path), f"/in/{name}")
    yield "memory://in/"
    system.store.clear()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, private_cache):
    """Copies lie in a cache of this test; compiled programs in the common one."""
    from infer.command import remote

    monkeypatch.setattr(remote, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "sdvsr_jax" / "remote"


@contextmanager
def crew(options):
    hands = Crew(options.workers)
    yield hands
    hands.close()


@pytest.mark.parametrize("workers", [(), ("--workers", 2)])
def test_a_bucket_is_done_once(workers, bucket, cache, upscale, monkeypatch, tmp_path):
    monkeypatch.setattr(film, "crew", crew)
    words = ("--video", bucket, "-o", "memory://out/", "--recursive", *workers)
    status, stderr = upscale(*words)
    assert status == 0, stderr
    system = fsspec.filesystem("memory")
    assert system.find("/out") == ["/out/a_x4.mp4", "/out/sub/b_x4.mkv"]
    single = tmp_path / "a_x4.mp4"
    status, stderr = upscale("--video", tmp_path / "a.mp4", "-o", single)
    assert status == 0, stderr
    assert system.cat("/out/a_x4.mp4") == single.read_bytes()
    # neither copies nor outputs stay on this machine
    for name in ("in", "out"):
        assert not list(cache.rglob(f"{name}/*"))
    status, stderr = upscale(*words)
    assert status == 0
    assert "2 of 2 inputs" in stderr
    # another video under the name is another work, and another's output is not replaced
    system.pipe("/in/a.mp4", (tmp_path / "b.mkv").read_bytes())
    status, stderr = upscale(*words)
    assert status == 1
    assert "a_x4.mp4: already exists; give --overwrite" in stderr
    assert system.cat("/out/a_x4.mp4") == single.read_bytes()


def test_what_is_not_stored_yet_is_not_done_again(
    bucket, upscale, monkeypatch, tmp_path
):
    from infer.command import remote

    def full(*arguments):
        raise OSError("the bucket is not there")

    words = ("--video", f"{bucket}a.mp4", "-o", "memory://out/")
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_put", full)
        status, stderr = upscale(*words)
        assert status == 1
        assert "the bucket is not there" in stderr
    status, stderr = upscale(*words)
    assert status == 0, stderr
    assert "skipped" in stderr
    assert "stored   memory:///out/a_x4.mp4" in stderr


def test_a_bad_file_stops_no_other_and_the_longest_is_first(
    bucket, cache, upscale, tmp_path, monkeypatch
):
    from infer.command import remote

    # Room for one copy at a time.
    monkeypatch.setattr(remote, "SHARE", 0.0)
    system = fsspec.filesystem("memory")
    system.pipe("/in/bad.mp4", b"no video" * 5000)
    report = tmp_path / "r.json"
    words = ("--video", bucket, "-o", "memory://out/", "--recursive")
    status, stderr = upscale(*words, "--report", report)
    assert status == 1, stderr
    assert system.find("/out") == ["/out/a_x4.mp4", "/out/sub/b_x4.mkv"]
    entries = json.loads(report.read_text("utf-8"))
    failures = [entry["input"] for entry in entries if "error" in entry]
    assert failures == ["memory:///in/bad.mp4"]
    sizes = [system.size(entry["input"]) for entry in entries]
    assert sizes == sorted(sizes, reverse=True)
    assert {entry.get("output") for entry in entries} == {
        None,
        "memory://out/a_x4.mp4",
        "memory://out/sub/b_x4.mkv",
    }
    # what is stored is not done again, and the bad one is tried
    status, stderr = upscale(*words)
    assert status == 1
    assert "2 of 3 inputs" in stderr
    assert stderr.count("fetch ") == 1


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--video", "memory://in/", "-o", "here"), "expected a remote folder"),
        (("--video", "memory://in/"), "--output is missing"),
        (("--video", "a.mp4", "-o", "memory://o/"), "a.mp4: is on this machine"),
        (("--video", "memory://nothing/", "-o", "memory://o/"), "no video"),
        (("--video", "gs://in/", "-o", "gs://o/"), "not installed here"),
    ],
)
def test_wrong_use_is_told(words, answer, bucket, upscale):
    status, stderr = upscale(*words)
    assert status == 2
    assert answer in stderr


WORDS = ("--video", "memory://in/a.mp4", "-o", "memory://out/")
ELSEWHERE = "another-machine"
HERE = socket.gethostname()
NOBODY = 2**30
"""A number that no process has."""


def put_lock(host: str, process: int, age: float) -> str:
    """Puts the lock of a run there that was last seen so many seconds ago."""
    from infer.command import remote
    from infer.options import parse

    name = remote._root_of(parse([*WORDS])).name
    path = f"/out/.sdvsr_{name}.lock"
    moment = time.time() - age
    owner = {"token": "x", "host": host, "process": process, "seen": moment}
    content = json.dumps(owner).encode()
    fsspec.filesystem("memory").pipe(path, content)
    return path


@pytest.mark.parametrize(
    ("host", "process", "age"),
    # another machine's processes are not known here, so it is its age that counts: two
    # minutes; here the process itself is asked for
    [(ELSEWHERE, NOBODY, 100), (HERE, os.getpid(), 1)],
    # several test processes must give a test one name
    ids=["elsewhere", "here"],
)
def test_a_second_run_of_a_command_is_refused(host, process, age, bucket, upscale):
    path = put_lock(host, process, age)
    status, stderr = upscale(*WORDS)
    assert status == 1
    (line,) = stderr.splitlines()
    assert f"memory://{path}: the same command is at work on {host}" in line
    assert fsspec.filesystem("memory").find("/out") == [path]


@pytest.mark.parametrize(
    ("host", "process", "age"),
    [(ELSEWHERE, NOBODY, 130), (HERE, NOBODY, 1)],
    ids=["elsewhere", "here"],
)
def test_after_a_dead_run_the_same_command_goes_on(host, process, age, bucket, upscale):
    put_lock(host, process, age)
    status, stderr = upscale(*WORDS)
    assert status == 0, stderr
    assert f"a run on {host} has died" in stderr
    # nor does its own lock stay
    assert fsspec.filesystem("memory").find("/out") == ["/out/a_x4.mp4"]


def test_a_run_is_seen_all_the_time_and_stores_nothing_once_another_has_its_lock(
    bucket, upscale, monkeypatch
):
    from infer.command import bucket_lock, remote

    system = fsspec.filesystem("memory")
    monkeypatch.setattr(bucket_lock, "BEAT", 0.05)
    run = remote.Errand.do
    moments = []

    def do(errand, portion):
        (path,) = system.find("/out")
        for _ in range(2):
            owner = json.loads(system.cat(path))
            moments.append(owner["seen"])
            # ten beats
            time.sleep(0.5)
        other, _ = upscale(*WORDS)
        assert other == 1  # another is refused meanwhile
        put_lock(ELSEWHERE, NOBODY, 0)
        run(errand, portion)

    monkeypatch.setattr(remote.Errand, "do", do)
    status, stderr = upscale(*WORDS)
    assert status == 1
    first, second = moments
    assert first < second
    assert f"at work on {ELSEWHERE}" in stderr
    # the other's lock is there still, and no output
    (path,) = system.find("/out")
    assert path.endswith(".lock")


@pytest.mark.heavy(60)
def test_a_real_s3_server(bucket, upscale, monkeypatch, tmp_path):
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        system = fsspec.filesystem("s3")
        for name in ("films-in", "films-out"):
            system.mkdir(name)
        system.put_file(str(tmp_path / "a.mp4"), "films-in/a.mp4")
        words = ("--video", "s3://films-in/", "-o", "s3://films-out/")
        status, stderr = upscale(*words)
        assert status == 0, stderr
        assert system.ls("films-out", refresh=True) == ["films-out/a_x4.mp4"]
        assert "skipped" in upscale(*words)[1]
        lock = BucketLock(system, "films-out", "law")
        second = BucketLock(system, "films-out", "law")
        with lock, pytest.raises(JobError, match="at work"):
            second.__enter__()
        assert system.ls("films-out", refresh=True) == ["films-out/a_x4.mp4"]
    finally:
        server.stop()
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
