"""Published checkpoints from the Hugging Face hub: pinned revision, verified files,
offline use.
"""

import json
import os
import re
from pathlib import Path

from sdvsr_jax.weights.checksum import sha256

# Only these are fetched: a pickle, which runs code when read, is never even on the
# disk.
PATTERNS = ["*.json", "*.safetensors"]


def is_hub_id(model: str) -> bool:
    """Whether ``model`` has the form owner/name or owner/name@revision."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", model) is not None


def fetch(model: str, *, offline: bool = False, revision: str | None = None) -> Path:
    """Returns the local folder of a hub checkpoint.

    The first download of a model pins its commit and the SHA-256 of its files; later
    loads use that commit and check the files, until another ``revision`` is asked for.
    Raises a ValueError when it cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    repo, _, inline = model.partition("@")
    pin_file = pin_path(repo)
    pin = _read_pin(pin_file)
    commit = revision or inline or pin.get("commit")
    try:
        path = snapshot_download(
            repo,
            revision=commit,
            allow_patterns=PATTERNS,
            local_files_only=offline,
        )
    except LocalEntryNotFoundError:
        why = "--offline was given" if offline else "the hub cannot be reached"
        raise ValueError(
            f"model {model!r} is not in the local cache and {why}; download it once "
            "online"
        ) from None
    except (RepositoryNotFoundError, HfHubHTTPError, OSError) as error:
        # the rest is a page of advice
        reason, *_ = str(error).splitlines()
        raise ValueError(f"model {model!r} cannot be downloaded: {reason}") from None
    folder = Path(path)
    _check_pin(repo, folder, pin_file, pin)
    return folder


def cache_folder() -> Path:
    """Returns the folder of files that can be made again."""
    # the XDG rules call a relative one invalid
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named)
    return Path(os.path.expanduser("~"), ".cache")


def pin_path(repo: str) -> Path:
    """Where commit and checksums of a hub model are remembered."""
    name = repo.replace("/", "--")
    return cache_folder() / "sdvsr_jax" / "pins" / f"{name}.json"


def _read_pin(path: Path) -> dict:
    """The pin of a model, empty if it has none. ValueError if it is damaged."""
    if not path.is_file():
        return {}
    try:
        pin = json.loads(path.read_bytes())
        is_whole = isinstance(pin["commit"], str) and isinstance(pin["sha256"], dict)
    except (ValueError, TypeError, LookupError):
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"{path}: damaged, expected the commit and the checksums of a model; "
            "delete it to fetch the model again"
        )
    return pin


def _files(folder: Path) -> list[Path]:
    """Everything of a checkpoint that is read: configs decide as much as weights."""
    files = []
    for pattern in PATTERNS:
        files += folder.rglob(pattern)
    return sorted(files)


def _check_pin(repo: str, folder: Path, pin_file: Path, pin: dict) -> None:
    """Compares with the pin, or writes it. ValueError if a file has changed."""
    digests = {}
    for file in _files(folder):
        name = str(file.relative_to(folder))
        digests[name] = sha256(file)
    # the hub's cache names a folder after its commit
    if pin.get("commit") == folder.name:
        before = pin["sha256"]
        names = before.keys() | digests.keys()
        if _is_of_weights_alone(before):
            names = {name for name in names if name.endswith(".safetensors")}
        other = [name for name in names if before.get(name) != digests.get(name)]
        if other:
            paths = ", ".join(str(folder / name) for name in sorted(other))
            raise ValueError(
                f"{repo}: {paths} changed since the first download; "
                "delete and fetch again"
            )
    if pin != {"commit": folder.name, "sha256": digests}:
        _write_pin(pin_file, folder.name, digests)


def _is_of_weights_alone(digests: dict[str, str]) -> bool:
    """Whether a pin was written by a version that left the configs out."""
    return all(name.endswith(".safetensors") for name in digests)


def _write_pin(path: Path, commit: str, digests: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"commit": commit, "sha256": digests}, indent=1)
    # a name of this process: two may fetch the same model at once
    part_name = f".{path.name}.{os.getpid()}.part"
    part = path.with_name(part_name)
    part.write_text(f"{text}\n", "utf-8")
    os.replace(part, path)
