"""Commands beside `python -m train`: one line for each fault, nothing replaced."""

from collections.abc import Callable
from pathlib import Path

import pytest

from train import blend, command, phases, prepare

PRECIOUS = b"somebody's"


@pytest.mark.parametrize(
    ("main", "words", "option"),
    [
        (blend.main, ["--start", "nano", "--trained", "nano"], "--out"),
        (phases.main, ["nano"], "--out"),
        (prepare.main, [], "--pack"),
    ],
)
def test_no_output_takes_the_place_of_a_file(
    main: Callable[[list[str]], int],
    words: list[str],
    option: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # refused before anything is loaded: the models need not be there
    target = tmp_path / "there.bin"
    target.write_bytes(PRECIOUS)
    assert main([*words, option, str(target)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} {target}: is there already")
    assert error.count("\n") == 1
    assert target.read_bytes() == PRECIOUS


def test_the_second_file_of_a_pack_takes_no_place_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody names the file of LR frames beside it."""
    beside = tmp_path / "real.lr.npy"
    beside.write_bytes(PRECIOUS)
    assert prepare.main(["--pack", str(tmp_path / "real.npy")]) == 1
    assert str(beside) in capsys.readouterr().err
    assert beside.read_bytes() == PRECIOUS


def test_a_link_that_leads_nowhere_is_a_file_too(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="expected a new name"):
        command.require_new(link, "--out")


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 0), (ValueError("bad\nlong story"), 1), (KeyboardInterrupt(), 130)],
)
def test_the_status_tells_how_it_went(
    error: BaseException | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        if error is not None:
            raise error

    assert command.run(work) == status
    assert "long story" not in capsys.readouterr().err
