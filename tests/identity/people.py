"""The directory of the tests of identity: who proves itself by what."""

from __future__ import annotations

from pathlib import Path

FILE = Path("/srv/app/licet.toml")
ISSUER = "https://idp.example.com"

CONFIG = f"""
environment = "production"
roles = ["support", "billing", "licet-agent"]
[tenants.acme]
[tenants.globex]
[agents.support-bot]
tenants = ["acme"]
roles = ["support"]
logins = ["{ISSUER}|support-bot-client", "x509|uri:spiffe://acme/support-bot"]
[agents.free-bot]
tenants = ["*"]
acts_for = "both"
logins = ["{ISSUER}|free-bot-client"]
[services.importer]
tenants = ["acme"]
roles = ["licet-agent"]
logins = ["{ISSUER}|importer-client", "x509|dns:importer.acme.test"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
logins = ["{ISSUER}|00u1"]
[users.gina]
tenants = ["globex", "acme"]
logins = ["{ISSUER}|00u2", "x509|subject:CN=gina,O=Globex"]
[users.gone]
tenants = ["acme"]
disabled = true
logins = ["{ISSUER}|00u3"]
[groups]
billing-leads = ["gina"]
[[identity.issuers]]
issuer = "{ISSUER}"
audience = "licet"
jwks = "{ISSUER}/keys"
[identity.issuers.roles]
"team-billing" = "billing"
"team-auditors" = "licet-auditor"
[identity.issuers.scopes]
"licet.calls" = "licet-agent"
"""
