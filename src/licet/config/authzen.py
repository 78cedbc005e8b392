"""`[authzen]`: what the names of AuthZEN clients stand for, and which attributes a client is believed.

Rules:

1. A name that is not translated here is taken as it is: an action is a tool, a resource type is a target type.
2. What a client says of a resource is not believed, unless `attributes_from_request` names its type. That holds for evaluations alone,
   never for calls, and only for a type of which nobody here knows more (`tenant = "caller"`, so that it has no resolver).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import force_setattr

from licet.catalog.declared import ResourceSettings
from licet.config.decoding import Decoder
from licet.names import quoted


class AuthzenSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[authzen]`. `types` and `actions` translate the names of clients to target types and tools of the catalog.

    `attributes_from_request` are target types whose attributes a client may state. `resources` are ids by target type that a search looks
    through, where the application does not list them itself.
    """

    types: Mapping[str, str] = {}
    actions: Mapping[str, str] = {}
    attributes_from_request: tuple[str, ...] = ()
    resources: Mapping[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        force_setattr(self, "types", MappingProxyType(dict(self.types)))
        force_setattr(self, "actions", MappingProxyType(dict(self.actions)))
        force_setattr(self, "resources", MappingProxyType(dict(self.resources)))


def read_authzen(decoder: Decoder, table: object, resources: Mapping[str, ResourceSettings]) -> AuthzenSettings:
    """The table, checked against `[resources]`. Raises `ConfigInvalid`."""
    settings = decoder.struct(table, AuthzenSettings, "authzen")
    for name in settings.attributes_from_request:
        resource = resources.get(name)
        if resource is None or resource.tenant != "caller":
            problem = f'names {quoted(name)}, which is not in `[resources]` with `tenant = "caller"`'
            raise decoder.invalid("authzen.attributes_from_request", problem)
    for table_name, names in (("types", settings.types), ("actions", settings.actions)):
        taken: dict[str, str] = {}
        for name, meant in names.items():
            if (other := taken.setdefault(meant, name)) != name:
                problem = f"has two names for {quoted(meant)}: {quoted(other)} and {quoted(name)}"
                raise decoder.invalid(f"authzen.{table_name}", problem)
    return settings
