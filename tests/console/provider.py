"""An OpenID provider that a test owns, on a port of this machine: real HTTP, real keys, and every way to get it wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tests.identity.issuer import public, rsa, signed

CLIENT = "licet-console"
SECRET = "the secret of the client"


@dataclass
class Provider:
    """What it does is asked each time: a test changes it. `claims` and `header` change the ID token; None leaves a claim out."""

    now_s: Callable[[], float]
    issuer: str = ""
    subject: str = "00u-lena"
    metadata: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)
    sign: Callable[[dict[str, Any], dict[str, Any]], str] = signed
    raw: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """What is answered at a path in place of the real answer."""
    asked: list[str] = field(default_factory=list)
    tokens: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, address: str) -> str:
        """Where it sends back whoever came to this address and signed in."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "iss": self.issuer, **self.answer}
        return f"{query['redirect_uri']}?{urlencode({name: value for name, value in back.items() if value})}"

    def told(self) -> dict[str, Any]:
        """What it says of itself."""
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        return {name: value for name, value in {**found, **self.metadata}.items() if value is not None}

    def redeem(self, form: dict[str, str], authorization: str | None) -> tuple[int, dict[str, Any]]:
        """What is given for a code, once."""
        self.tokens.append(form)
        query = self.codes.pop(form["code"], None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        if query is None or query["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if query["code_challenge"] != challenge or query["code_challenge_method"] != "S256":
            return 400, {"error": "invalid_grant"}
        now = int(self.now_s())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": self.subject,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            **self.claims,
        }
        header = {"alg": "RS256", "kid": "one", **self.header}
        token = self.sign(header, {name: value for name, value in claims.items() if value is not None})
        return 200, {"id_token": token, "access_token": "access", "token_type": "Bearer"}

    def reply(self, method: str, target: str, body: bytes, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        """One answer."""
        path = urlsplit(target).path
        self.asked.append(path)
        if path in self.raw:
            return self.raw[path]
        if path == "/authorize":
            return 302, {"Location": self.authorize(target)}, b""
        if path == "/token" and method == "POST":
            status, said = self.redeem(dict(parse_qsl(body.decode())), authorization)
        else:
            known = {"/.well-known/openid-configuration": self.told(), "/keys": {"keys": [public(rsa(), "one")]}}
            status, said = (200, known[path]) if path in known else (404, {})
        return status, {"Content-Type": "application/json"}, json.dumps(said).encode()


@contextmanager
def provider(now_s: Callable[[], float]) -> Iterator[Provider]:
    """A provider that listens."""
    made = Provider(now_s)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = made.reply(self.command, self.path, body, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                return  # whoever asked has heard enough

        do_GET = do_POST = _answer  # noqa: N815  names of http.server

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
