"""Targets that another service knows: a resolver that asks over HTTP, so that a server without an application's code can decide.

    [resources.Customer]
    attributes = {vip = "boolean"}
    url = "https://crm.internal/customers/{id}"
    headers = {Authorization = "env:CRM_AUTHORIZATION"}

A GET is answered with 200 and `{"tenant": ..., "environment"?: ..., "attributes"?: {...}}`, or with 404 where there is no such thing.

Rules:

1. The address is the operator's: https, or http to this machine itself (`licet/wire.py`). An id fills one segment of its path, or one value
   of its query, and nothing else; a redirect is not followed.
2. Whatever is not such an answer, in time and whole, is an error, and an error is a denial. 404 alone means that there is no such thing.
3. What comes back is believed as far as it has the declared types, as that of every resolver.
4. Secrets come from the environment or files and are read for each question, so that one that was renewed counts. No message has them,
   nor what the peer wrote.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from msgspec.structs import replace

from licet.approvals.notify.secrets import read_secret
from licet.catalog import strict
from licet.catalog.declared import ResourceSettings
from licet.catalog.problem import find_problem
from licet.catalog.resolver import ResourceFacts
from licet.catalog.schema import validator
from licet.catalog.spec import ResourceSpec
from licet.errors import ArgumentsRefused, CatalogInvalid, ConfigInvalid, ResolverRefused
from licet.wire import Address, Answered, Unreachable

ID: Final = "{id}"
LIMIT_BYTES: Final = 64 * 1024
"""Of an answer: attributes are facts that policies compare, not documents."""
_MEMBERS = frozenset({"tenant", "environment", "attributes"})


class HttpResource:
    """A declared resource type with a URL, as its resolver. Safe to share between threads."""

    is_async = False

    def __init__(self, spec: ResourceSpec, settings: ResourceSettings, *, folder: Path, timeout_s: float) -> None:
        self.spec = spec
        self._timeout_s = timeout_s
        self._headers = {name: _reference(spec.type, text, folder) for name, text in settings.headers.items()}
        self._validator = validator(spec.attributes)
        url = settings.url or ""
        try:
            address = Address.parse(url, f"the resolver of `{spec.type}`", query=True)
        except ConfigInvalid as invalid:
            raise CatalogInvalid(f"resource `{spec.type}`: {invalid}") from invalid
        if spec.tenant_from == "caller":
            raise CatalogInvalid(f"resource `{spec.type}`: it has a `url`, so its tenant is not its caller's: leave `tenant` out")
        if url.count(ID) != 1 or address.path.count(ID) != 1:
            raise CatalogInvalid(f"resource `{spec.type}`: `url` has `{ID}` once, in its path or its query")
        self._address, self._path = replace(address, path=""), address.path

    def function(self, id_: str) -> Answered | Unreachable:
        """What the service answers about an id; it takes as long as a resolver may."""
        if not id_.strip("."):
            raise ResolverRefused(f"the resolver of `{self.spec.type}` is not asked about this id: it would be read as a folder")
        headers = {name: read_secret(reference, os.environ) for name, reference in self._headers.items()}
        path = self._path.replace(ID, quote(id_, safe=""))
        return self._address.exchange(
            "GET",
            path,
            None,
            {"Accept": "application/json", **headers},
            timeout_s=self._timeout_s,
            limit_bytes=LIMIT_BYTES,
            tls=self._tls,
        )

    def facts(self, returned: Any) -> ResourceFacts | None:
        """Tenant, environment and declared attributes, checked; None for a 404. Raises `ResolverRefused` for anything else (rule 2)."""
        if isinstance(returned, Unreachable):
            raise self._refused("it cannot be reached")
        assert isinstance(returned, Answered)
        if returned.status == HTTPStatus.NOT_FOUND:
            return None
        if returned.status != HTTPStatus.OK:
            raise self._refused(f"it answered with status {returned.status}")
        if returned.problem is not None:
            raise self._refused("its answer is not whole, or too long")
        return self._checked(self._decoded(returned.body))

    def _decoded(self, body: bytes) -> Mapping[str, Any]:
        try:
            found = strict.parse(body, limit_bytes=LIMIT_BYTES)
        except ArgumentsRefused as refused:
            raise self._refused("its answer is not strict JSON") from refused
        if not isinstance(found, dict) or not found.keys() <= _MEMBERS:
            raise self._refused("its answer is no object of `tenant`, `environment` and `attributes`")
        return found

    def _checked(self, found: Mapping[str, Any]) -> ResourceFacts:
        tenant, environment, attributes = found.get("tenant"), found.get("environment"), found.get("attributes", {})
        if type(tenant) is not str or not tenant:
            raise self._refused("it returned no `tenant`")
        if environment is not None and (type(environment) is not str or not environment):
            raise self._refused("it returned an `environment` that is not text")
        if type(attributes) is not dict:
            raise self._refused("it returned `attributes` that are no object")
        wrong = find_problem(self._validator, attributes)
        if wrong is not None:
            raise self._refused(f"it returned a wrong attribute: {wrong}")
        return ResourceFacts(tenant, environment, attributes)

    def _refused(self, message: str) -> ResolverRefused:
        return ResolverRefused(f"the resolver of `{self.spec.type}` cannot be believed: {message}")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _reference(kind: str, text: str, folder: Path) -> str:
    """Where a header's value comes from, a file's path absolute. What else stands there is not repeated: it may be the secret."""
    scheme, _, rest = text.partition(":")
    if scheme not in {"env", "file"} or not rest:
        raise CatalogInvalid(
            f"resource `{kind}`: a header says where its value comes from, `env:NAME` or `file:PATH`; it is never that itself"
        )
    return f"file:{folder / rest}" if scheme == "file" else text
