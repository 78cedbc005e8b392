"""Secrets of channels, from where licet.toml says that they are. Their values stand in no message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from licet.errors import ConfigInvalid

LIMIT_BYTES = 64 * 1024


def read_secret(reference: str, environ: Mapping[str, str]) -> str:
    """The secret behind `env:NAME` or `file:PATH`, without white space around it.

    Raises `ConfigInvalid` where it is missing, empty, unreadable or too large.
    """
    scheme, _, place = reference.partition(":")
    text = environ.get(place, "") if scheme == "env" else _read(Path(place))
    if not text.strip():
        raise ConfigInvalid(f"the environment variable `{place}` is not set" if scheme == "env" else f"`{place}` is empty")
    return text.strip()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LIMIT_BYTES + 1)
        if len(content) > LIMIT_BYTES:
            raise ConfigInvalid(f"`{path}` is larger than {LIMIT_BYTES} bytes, and no secret")
        return content.decode()
    except OSError as error:
        raise ConfigInvalid(f"the secret in `{path}` cannot be read: {(error.strerror or 'unknown error').lower()}") from error
    except UnicodeDecodeError:
        raise ConfigInvalid(f"`{path}` is not text") from None  # the error would show its bytes
