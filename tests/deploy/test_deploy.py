"""What is in `deploy/`, checked as far as that goes without an engine: nothing here builds an image or starts a container."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from licet import config
from licet.gate.building import build_scene
from licet.gate.registry import Registry
from licet.policy.own import default_text

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = ("compose.sqlite.yaml", "compose.postgres.yaml")


# the image


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile, continued lines joined, without comments."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(at for at, (name, _) in enumerate(found) if name == "FROM") :]


def test_the_image_runs_as_nobody_special_and_has_no_builder_in_it() -> None:
    stages = [value for name, value in instructions() if name == "FROM"]
    assert len(stages) == 2
    assert all(re.fullmatch(r"python:3\.11-slim-bookworm( AS build)?", stage) for stage in stages), "no `latest`"
    final = last_stage()
    users = [value for name, value in final if name == "USER"]
    assert users == ["10001:10001"]
    assert [value for name, value in final if name == "COPY"] == ["--from=build /opt/licet /opt/licet"]
    assert not any("pip install" in value for name, value in final if name == "RUN")
    order = [name for name, _ in final]
    assert order.index("USER") > max(at for at, name in enumerate(order) if name == "RUN"), "nothing is run as root later"


def test_the_image_stops_and_is_looked_after_as_the_server_expects() -> None:
    found = dict(last_stage())
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert found["ENTRYPOINT"] == '["licet"]', "the server is process 1 and gets the signals itself"
    assert found["CMD"] == '["serve", "--log-format", "json"]'
    assert "http://127.0.0.1:9181/livez" in found["HEALTHCHECK"]
    assert config.ServerSettings().metrics == "127.0.0.1:9181"
    assert found["VOLUME"] == '["/var/lib/licet"]'


def test_nothing_secret_is_copied_into_the_image_and_everything_that_is_exists() -> None:
    copied = [value.split()[:-1] for name, value in instructions() if name == "COPY" and not value.startswith("--from")]
    sources = {source for sources in copied for source in sources}
    assert not [source for source in sources if not (ROOT / source).exists()]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "only what is named goes to the builder"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert not [name for name, _ in instructions() if name in {"ADD", "ARG"}]


def test_everything_that_is_installed_comes_by_its_hash() -> None:
    text = (DEPLOY / "requirements.lock").read_text()
    locked = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE)}
    assert text.count("--hash=sha256:") >= len(locked) >= 30
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["server"], *extras["postgres"], *extras["otel"]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=!;\[ ]", one, maxsplit=1)[0]).lower() for one in wanted}
    assert names - locked == set()
    assert "/" not in re.sub(r"--hash=sha256:\w+|sys_platform|platform\S*", "", text).replace("\\", ""), "no path of anybody's machine"


# compose


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return found


def servers(name: str) -> dict[str, dict[str, Any]]:
    return {key: service for key, service in compose(name)["services"].items() if key.startswith("licet")}


@pytest.mark.parametrize("name", COMPOSE)
def test_servers_may_do_little(name: str) -> None:
    found = servers(name)
    assert list(found) == (["licet"] if "sqlite" in name else ["licet-1", "licet-2"])
    for service in found.values():
        assert service["read_only"] is True
        assert service["user"] == "10001:10001"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"]
        assert service["mem_limit"]
        assert "./config:/etc/licet:ro" in service["volumes"], "nobody in it changes its own permissions"
        assert "privileged" not in service


@pytest.mark.parametrize("name", COMPOSE)
def test_what_is_named_exists_and_no_secret_stands_in_the_file(name: str) -> None:
    document = compose(name)
    volumes, secrets, networks = (document.get(part, {}) for part in ("volumes", "secrets", "networks"))
    for service in document["services"].values():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith("./") else source in volumes, mount
        assert set(service.get("secrets", ())) <= set(secrets)
        assert set(service.get("networks", ())) <= set(networks)
        assert set(service.get("depends_on", ())) <= set(document["services"])
        assert not [key for key in service.get("environment", {}) if re.search("PASSWORD|KEY|SECRET", key) and not key.endswith("_FILE")]
        assert re.fullmatch(r"[a-z0-9./-]+:(?!latest)[a-z0-9.-]+", service["image"])
    assert all(secret["file"].startswith("./secrets/") for secret in secrets.values())


@pytest.mark.parametrize("name", COMPOSE)
def test_servers_get_longer_to_stop_than_requests_get_to_end(name: str) -> None:
    for service in servers(name).values():
        assert int(service["stop_grace_period"].removesuffix("s")) > config.ServerSettings().shutdown_s


@pytest.mark.parametrize("name", COMPOSE)
def test_only_what_speaks_tls_is_open_to_others(name: str) -> None:
    ports = {key: service.get("ports", []) for key, service in compose(name)["services"].items()}
    assert {key: value for key, value in ports.items() if value} == (
        {"licet": ["127.0.0.1:8181:8181"]} if "sqlite" in name else {"proxy": ["443:443"]}
    )
    if "postgres" in name:
        assert compose(name)["networks"]["inside"]["internal"] is True
        assert compose(name)["services"]["database"]["networks"] == ["inside"]


@pytest.mark.parametrize(("name", "file"), [("compose.sqlite.yaml", "sqlite.toml"), ("compose.postgres.yaml", "postgres.toml")])
def test_the_settings_that_are_mounted_load_and_fit_the_compose_file(name: str, file: str) -> None:
    settings = config.load(DEPLOY / "config" / file, environ={})
    document = compose(name)
    for service in servers(name).values():
        assert service["command"] == ["serve", "--config", f"/etc/licet/{file}", "--log-format", "json"]
        assert {f"/run/secrets/{secret}" for secret in service["secrets"]} >= {settings.keys.removeprefix("file:")}
    assert settings.server.address == ("0.0.0.0", 8181)
    scene = build_scene(settings, Registry(settings))
    assert scene.own is not None
    assert (DEPLOY / "config/policies/licet.cedar").read_text() == default_text()
    if "postgres" in name:
        assert list(settings.server.proxies) == [entry["subnet"] for entry in document["networks"]["inside"]["ipam"]["config"]]
        assert settings.store == "postgresql://licet@database:5432/licet"
    else:
        assert settings.store_path == Path("/var/lib/licet/licet.db")


def test_the_proxy_knows_the_servers_and_asks_whether_they_are_ready() -> None:
    text = (DEPLOY / "Caddyfile").read_text()
    assert "reverse_proxy licet-1:8181 licet-2:8181" in text
    assert "health_uri /readyz" in text
    assert text.count("{") == text.count("}")


# systemd


def unit() -> dict[str, list[tuple[str, str]]]:
    """The unit's sections; a key may stand there twice."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (DEPLOY / "licet.service").read_text().splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            sections[line[1:-1]] = current = []
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            current.append((name, value))
    return sections


def test_the_unit_starts_reloads_and_stops_as_the_server_expects() -> None:
    service = dict(unit()["Service"])
    assert service["ExecStart"] == "/opt/licet/bin/licet serve --config /etc/licet/licet.toml --log-format json"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(service["TimeoutStopSec"]) > config.ServerSettings().shutdown_s
    assert int(service["LimitNOFILE"]) > 2 * config.ServerSettings().connections
    assert service["LoadCredential"] == "licet.key:/etc/licet/licet.key"
    assert service["User"] != "root"


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_the_unit_sound_and_hardly_exposed(tmp_path: Path) -> None:
    file = tmp_path / "licet.service"
    file.write_text((DEPLOY / "licet.service").read_text().replace("/opt/licet/bin/licet", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


def test_the_unit_is_read_as_systemd_reads_it() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(DEPLOY / "licet.service")
    assert parser.sections() == ["Unit", "Service", "Install"] == list(unit())
