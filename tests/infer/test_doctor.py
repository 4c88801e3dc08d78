"""`doctor` sees the parts of a machine, runs the shipped model, and tells each fault in
one line.
"""

import json
import os
import shutil

import numpy as np
import pytest

from infer.__main__ import main
from infer.model import compiled_cache, selftest
from sdvsr_jax.weights import load as checkpoint


@pytest.fixture
def doctor(capsys):
    """Run the command; returns its exit status and its lines by name."""

    def call(*arguments: str) -> tuple[int, dict[str, dict]]:
        status = main(["doctor", "--json", *arguments])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] == (status == 0)
        return status, {f["name"]: f for f in report["findings"]}

    return call


def test_a_sound_machine(doctor, capsys):
    status, result = doctor()
    assert status == 0, result
    assert "cpu" in result["device"]["text"]
    assert "libx264, libx265" in result["encoders"]["text"]
    # The first digits of its checksum, which a user can compare.
    assert checkpoint.shipped()["nano"][:12] in result["weights"]["text"]
    assert "as expected" in result["self-test"]["text"]
    status = main(["doctor"])
    assert status == 0
    stderr = capsys.readouterr()
    assert stderr.err == ""
    for line in stderr.out.splitlines()[:-1]:
        assert line.startswith("ok")


def test_faults_are_told_one_by_one(doctor, tmp_path, monkeypatch):
    """Weights that are not those of the package, and a compile cache that others can
    write.
    """
    weights = tmp_path / "weights"
    shutil.copytree(str(checkpoint.SHIPPED), weights)
    file = weights / "nano.safetensors"
    data = bytearray(file.read_bytes())
    # near the end, where weights are and no header
    data[-1000] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr(checkpoint, "SHIPPED", weights)
    open_cache = tmp_path / "cache"
    open_cache.mkdir()
    # As people make one for several users.
    open_cache.chmod(0o777)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(open_cache))
    status, result = doctor()
    assert status == 1
    assert {name for name, f in result.items() if f["fault"]} == {
        "weights",
        "cache",
        "self-test",
    }
    assert "reinstall the package" in result["weights"]["text"]
    assert "chmod 700" in result["cache"]["text"]
    assert "checksum" in result["self-test"]["text"]


def test_the_self_test_can_fail():
    numbers = json.loads(selftest.EXPECTED.read_text())
    checksum = checkpoint.shipped()["nano"]
    good = np.array(numbers[checksum])
    assert selftest.fault(good) == ""
    # Three levels are more than any device's rounding.
    assert "off by 3.0" in selftest.fault(good + 3)
    # A comparison with NaN is false, whichever way it is asked.
    assert selftest.fault(np.full_like(good, np.nan)) != ""


def test_replaced_weights_need_new_numbers(monkeypatch):
    monkeypatch.setattr(checkpoint, "shipped", lambda: {"nano": "0" * 64})
    assert "--record writes them" in selftest.fault(np.zeros(1))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_the_cache_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compiled_cache.use()
    folder = compiled_cache.folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert compiled_cache.fault(folder) == ""
    # The group may write: one of its members is enough.
    folder.chmod(0o720)
    assert "others can write" in compiled_cache.fault(folder)
    assert "not there" in compiled_cache.fault(tmp_path / "none")
