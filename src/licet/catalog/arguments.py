"""Arguments: read once, strictly, into the one value that is decided on, executed and recorded.

The order: decode by the rules of `strict`, fill in defaults, validate by the schema, bring into the tool's normal form (where its types
have one), validate again, encode. What is handed on are bytes: whoever changes the proposed value meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from licet.catalog import strict
from licet.catalog.defaults import filler
from licet.catalog.problem import find_problem
from licet.catalog.schema import validator
from licet.catalog.secret_paths import parse
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused
from licet.model import JsonObject

Normalise = Callable[[JsonObject], JsonObject]
"""Valid arguments to the same arguments in the tool's normal form (dates, decimals, nested defaults). Raises ArgumentsRefused."""


class Limits(Struct, frozen=True):
    """The most that the arguments of one call may be: canonical bytes, and values (`strict`)."""

    size_bytes: int = strict.LIMIT_BYTES
    values: int = strict.VALUES_LIMIT


LIMITS = Limits()


class Arguments(Struct, frozen=True):
    """Arguments that were accepted: their canonical bytes, and the value those decode to, for reading only."""

    json: bytes
    value: JsonObject


class ArgumentReader:
    """Reads proposed arguments of one tool. Built once per tool, safe to share between threads."""

    def __init__(self, spec: ToolSpec, *, normalise: Normalise | None = None, limits: Limits = LIMITS) -> None:
        self._spec = spec
        self._fill = filler(spec.input_schema)
        self._validator = validator(spec.input_schema)
        self._is_valid = self._validator.is_valid
        self._normalise = normalise
        self._limits = limits
        self._secrets = tuple(map(parse, spec.secrets))

    def read(self, unverified: bytes | str | Mapping[str, Any]) -> Arguments:
        """The accepted arguments. Raises ArgumentsRefused with a code, a JSON Pointer and a sentence."""
        if isinstance(unverified, bytes | str):
            value = strict.parse(unverified, limit_bytes=self._limits.size_bytes, limit_values=self._limits.values)
        else:
            value = self._copied(unverified)
        if type(value) is not dict:
            raise ArgumentsRefused("not_object", "the arguments must be one JSON object")
        if self._fill is not None:
            self._fill(value)
        self._validate(value)
        if self._normalise is not None:
            value = self._normalised(value, self._normalise)
        encoded = strict.encode(value)
        if len(encoded) > self._limits.size_bytes:
            raise ArgumentsRefused("too_large", f"the arguments are larger than {self._limits.size_bytes} bytes")
        return Arguments(encoded, value)

    def within(self, limits: Limits) -> ArgumentReader:
        """A reader of the same tool with other limits on the arguments."""
        return ArgumentReader(self._spec, normalise=self._normalise, limits=limits)

    def _copied(self, value: Any) -> Any:
        return strict.copied(value, limit_bytes=self._limits.size_bytes, limit_values=self._limits.values)

    def _validate(self, value: JsonObject) -> None:
        if not self._is_valid(value):
            refused = find_problem(self._validator, value, self._secrets)
            assert refused is not None
            raise refused

    def _normalised(self, value: JsonObject, normalise: Normalise) -> JsonObject:
        first: JsonObject = self._copied(normalise(value))
        self._validate(first)
        encoded = strict.encode(first)
        # Most arguments come in normal form already: then this reading was the proof that it stays.
        if encoded != strict.encode(value) and encoded != strict.encode(self._copied(normalise(first))):
            # INVARIANT: the tool gets what was decided on. A validator that changes its own output would break it.
            raise ArgumentsRefused("not_stable", "the tool's own types change these arguments each time they read them")
        return first
