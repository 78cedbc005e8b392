"""`licet doctor` on `[server]`: whom it listens to, what it shows, and who may do what there."""

from __future__ import annotations

from collections.abc import Iterator

from licet.cli.finding import Finding
from licet.config import Settings
from licet.errors import DirectoryInvalid, PolicyInvalid
from licet.identity.directory import Directory
from licet.policy.bundle import OWN_FILE
from licet.policy.own import OwnPolicies

ABOUT = "server"


def server_findings(settings: Settings) -> Iterator[Finding]:
    """What is wrong with serving as licet.toml says. Where nothing says that anything is served, nothing is said."""
    server = settings.server
    if not (settings.policies / OWN_FILE).exists():
        if server.public_url is not None or not server.address.is_loopback:
            yield Finding("fail", ABOUT, f"`{OWN_FILE}` is missing: nobody may do anything there", "`licet init --own-policies` writes one")
        return
    yield from _policies(settings)
    yield from _wire(settings)


def _policies(settings: Settings) -> Iterator[Finding]:
    try:
        own = OwnPolicies.read(settings.policies, Directory.from_settings(settings))
    except (PolicyInvalid, DirectoryInvalid) as error:
        yield Finding("fail", ABOUT, f"`{OWN_FILE}` does not load: {error}", f"mend `{settings.policies / OWN_FILE}`")
        return
    anybody = [policy.id for policy in own.bundle.policies if policy.effect == "permit" and _permits_anybody(policy.text)]
    if anybody:
        message = f"`{OWN_FILE}` permits whoever has any credential: {', '.join(f'`{name}`' for name in anybody)}"
        yield Finding("warn", ABOUT, message, 'name roles or groups in the scope of the policy: `principal in Role::"licet-auditor"`')
    else:
        yield Finding("ok", ABOUT, f"`{OWN_FILE}` loads, and each permit names who")


def _permits_anybody(text: str) -> bool:
    """Whether the scope names no principal. A condition behind it may still narrow it: it is a warning."""
    scope = text.partition("permit")[2].partition("(")[2]
    return scope.partition(",")[0].strip() == "principal" and "principal" not in scope.partition(")")[2]


def _wire(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    if not server.address.is_loopback and server.tls_certificate is None:
        message = f"`{server.listen}` is reached from elsewhere, in the clear: whoever is on the way reads credentials"
        step = "set `server.tls_certificate` and `tls_key`, or listen on 127.0.0.1 behind a proxy that speaks TLS"
        yield Finding("warn", ABOUT, message, step)
    if server.tls_key is not None and server.tls_key.exists() and server.tls_key.stat().st_mode & 0o077:
        yield Finding("fail", ABOUT, f"others can read the private key `{server.tls_key}`", f"chmod 600 {server.tls_key}")
    metrics = server.metrics_address
    if metrics is not None and not metrics.is_loopback:
        message = f"metrics at `{server.metrics}` are shown to whoever reaches it, and say why something is not ready"
        yield Finding("warn", ABOUT, message, "keep that address inside: a network of its own, or a firewall")
    if server.public_url is None and not server.address.is_loopback:
        yield Finding(
            "warn", ABOUT, "`server.public_url` is missing: metadata and links name no address", "set the address that clients use"
        )
