"""A typed client of a Licet server: the standard library's HTTP, msgspec, and no web framework."""

from licet.client.client import Client
from licet.client.connection import Connection, read_credential
from licet.client.governed import Ran
from licet.errors import ServerError, ServerProblem, ServerUnreachable

__all__ = ["Client", "Connection", "Ran", "ServerError", "ServerProblem", "ServerUnreachable", "read_credential"]
