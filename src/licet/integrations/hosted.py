"""What a request to a model says of tools that its provider would run, where nobody here sees them.

Providers have their own names for it. Those that are known are looked for, also in what frameworks add to a request as it is.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

_BY_PROVIDERS: Final = ("tools", "functions", "mcp_servers", "plugins", "prompt", "web_search_options", "search_parameters")
_ADDED: Final = ("extra_body", "extra_args", "model_kwargs", "additional_params")
_NOTHING: Final[tuple[object, ...]] = (None, [], ())


def hosted_in(given: object, *, seen: Container[str] = ()) -> list[str]:
    """The settings by which a provider gets tools, as in `extra_body.tools`; those of `seen` are looked at by the adapter itself."""
    if not isinstance(given, Mapping):
        return []
    found = [name for name in _BY_PROVIDERS if name not in seen and given.get(name) not in _NOTHING]
    return [*found, *(f"{name}.{one}" for name in _ADDED for one in hosted_in(given.get(name)))]
