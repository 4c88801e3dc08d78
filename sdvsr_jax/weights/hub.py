"""Published checkpoints from the Hugging Face hub: pinned revision, verified files,
offline use.
"""

import json
import os
import re
from pathlib import Path

from sdvsr_jax.weights.checksum import sha256

PATTERNS = ["*.json", "*.safetensors"]
"""Only these are fetched: a pickle is never even on the disk."""


def is_hub_id(model: str) -> bool:
    """Whether ``model`` has the form owner/name or owner/name@revision."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", model) is not None


def fetch(model: str, *, offline: bool = False, revision: str | None = None) -> Path:
    """Local folder of a hub checkpoint.

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
    pin = json.loads(pin_file.read_text("utf-8")) if pin_file.is_file() else {}
    wanted = revision or inline or pin.get("commit")
    try:
        folder = Path(
            snapshot_download(
                repo, revision=wanted, allow_patterns=PATTERNS, local_files_only=offline
            )
        )
    except LocalEntryNotFoundError:
        why = "--offline was given" if offline else "the hub cannot be reached"
        raise ValueError(
            f"model {model!r} is not in the local cache and {why}; download it once online"
        ) from None
    except (RepositoryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"model {model!r} cannot be downloaded: {str(error).splitlines()[0]}"
        ) from None
    _check_pin(repo, folder, pin_file, pin)
    return folder


def pin_path(repo: str) -> Path:
    """Where commit and checksums of a hub model are remembered."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return cache / "sdvsr_jax" / "pins" / f"{repo.replace('/', '--')}.json"


def _check_pin(repo: str, folder: Path, pin_file: Path, pin: dict) -> None:
    files = sorted(folder.rglob("*.safetensors"))
    if pin.get("commit") == folder.name:
        changed = [
            str(f)
            for f in files
            if pin["sha256"].get(str(f.relative_to(folder))) != sha256(f)
        ]
        if changed:
            raise ValueError(
                f"{repo}: {', '.join(changed)} changed since the first download; delete and fetch again"
            )
        return
    digests = {str(f.relative_to(folder)): sha256(f) for f in files}
    pin_file.parent.mkdir(parents=True, exist_ok=True)
    pin_file.write_text(
        json.dumps({"commit": folder.name, "sha256": digests}, indent=1) + "\n", "utf-8"
    )
