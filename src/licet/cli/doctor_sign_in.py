"""`licet doctor` on `sign_in` of `[[identity.issuers]]`: whether people can sign in to the console by each provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from licet.approvals.notify.secrets import read_secret
from licet.cli.finding import Finding
from licet.config import Settings
from licet.errors import ConfigInvalid
from licet.identity.provider import ProviderUnavailable, discover

ABOUT = "sign in"


def sign_in_findings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong with each provider. Asks them; nothing is said where there is none."""
    ways = [(issuer, issuer.sign_in) for issuer in settings.identity.issuers if issuer.sign_in is not None]
    if ways and settings.server.public_url is None and not settings.server.address.is_loopback:
        message = "`server.public_url` is missing: no provider can lead back to the console"
        yield Finding("fail", ABOUT, message, "set the address at which browsers reach it")
    for issuer, client in ways:
        if not any(login.startswith(f"{issuer.issuer}|") for user in settings.users.values() for login in user.logins):
            message = f"`{client.name}` signs nobody in: no user has a login of it"
            yield Finding("warn", ABOUT, message, f'add `logins = ["{issuer.issuer}|SUBJECT"]` to users')
        try:
            if client.client_secret is not None:
                read_secret(client.client_secret, environ)
        except ConfigInvalid as error:
            yield Finding("fail", ABOUT, f"the secret of `{client.name}` cannot be had: {error}", "set it where the server runs")
        try:
            discover(issuer.issuer)
        except ProviderUnavailable as error:
            step = f"see that `{issuer.issuer}` is right, and can be reached from here"
            yield Finding("fail", ABOUT, f"nobody can sign in by `{client.name}`: {error}", step)
        else:
            yield Finding("ok", ABOUT, f"`{client.name}` answers, and calls itself as licet.toml does")
