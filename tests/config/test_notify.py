"""`[notify]`: what is understood, and what is refused with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from licet.config import loads
from licet.config.notify import EVENTS, QUIET, AppriseSettings, EmailSettings, NotifySettings, SlackSettings, WebhookSettings
from licet.errors import ConfigInvalid
from licet.store.outbox import NoticeEvent
from tests.world import CONFIG

FOLDER = Path("/etc/licet")
WHOLE = """
[notify]
link = "https://licet.example/approvals/{request}"
max_age = "6h"

[[notify.channels]]
kind = "email"
name = "leads"
host = "smtp.example.org"
sender = "licet@example.org"
user = "licet"
password = "env:SMTP_PASSWORD"
ca = "ca.pem"
recipients = {lena = "lena@example.org"}
tenants = ["acme"]
groups = ["billing-leads"]
events = ["opened", "approved"]

[[notify.channels]]
kind = "webhook"
name = "desk"
url = "https://desk.example/hook"
secrets = ["env:A", "file:new.secret"]

[[notify.channels]]
kind = "slack"
name = "chat"
app_token = "env:APP"
bot_token = "file:/run/bot"
channel = "C123"
users = {U123 = "dana"}

[[notify.channels]]
kind = "apprise"
name = "phone"
urls = ["env:APPRISE_URL"]

[[notify.channels]]
kind = "terminal"
name = "here"
"""


def read(text: str) -> NotifySettings:
    return loads(CONFIG + text, file=FOLDER / "licet.toml").notify


def test_every_kind_is_understood_and_paths_start_at_the_file() -> None:
    found = read(WHOLE)
    assert (found.link, found.max_age_s) == ("https://licet.example/approvals/{request}", 6 * 3_600)
    mail, hook, chat, phone, here = found.channels
    assert isinstance(mail, EmailSettings)
    assert (mail.port, mail.security, mail.password, mail.ca) == (587, "starttls", "env:SMTP_PASSWORD", "/etc/licet/ca.pem")
    assert mail.told == ("opened", "approved")
    assert isinstance(hook, WebhookSettings)
    assert hook.secrets == ("env:A", "file:/etc/licet/new.secret")
    assert isinstance(chat, SlackSettings)
    assert (chat.bot_token, chat.told) == ("file:/run/bot", EVENTS)
    assert isinstance(phone, AppriseSettings)
    assert (here.name, here.told) == ("here", QUIET)


def test_without_the_table_nobody_is_told() -> None:
    assert read("") == NotifySettings()


def test_the_events_of_channels_are_those_of_notices() -> None:
    assert get_args(NoticeEvent) == EVENTS


MAIL = 'kind = "email"\nname = "m"\nhost = "smtp.example.org"\nsender = "a@example.org"\n'


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ('link = "ftp://x/{request}"', "notify.link", "begins with https://"),
        ('link = "https://licet.example/"', "notify.link", "must say once"),
        ('link = "https://{request}.example/"', "notify.link", "behind the host"),
        ('link = "https://licet.example/{request}/{user}"', "notify.link", "must say once"),
        ('link = "https://licet.example/{request} x"', "notify.link", "no spaces"),
        ('link = "https://[/{request}"', "notify.link", "is not a link"),
        ('max_age = "soon"', "notify.max_age", "not a duration"),
        ("chanels = []", "notify.chanels", "did you mean `channels`?"),
        ('[[notify.channels]]\nname = "x"', "notify.channels[0].kind", "must be one of terminal, email, webhook, slack, apprise"),
        ('[[notify.channels]]\nkind = "fax"\nname = "x"', "notify.channels[0].kind", "is `fax`, not one of"),
        ('[[notify.channels]]\nkind = "terminal"', "notify.channels[0].name", "is required"),
        ('[[notify.channels]]\nkind = "terminal"\nname = "a b"', "notify.channels[0].name", "not a usable name"),
        ('[[notify.channels]]\nkind = "terminal"\nname = "x"\nhost = "y"', "notify.channels[0].host", "not a known key"),
        ('[[notify.channels]]\nkind = "terminal"\nname = "x"\nevents = ["gone"]', "notify.channels[0].events[0]", "does not fit"),
        ('[[notify.channels]]\nkind = "terminal"\nname = "x"\ntenants = ["acne"]', "notify.channels[0].tenants", "no such tenant"),
        ('[[notify.channels]]\nkind = "terminal"\nname = "x"\ngroups = ["leeds"]', "notify.channels[0].groups", "no such group"),
        (
            '[[notify.channels]]\nkind = "terminal"\nname = "x"\n[[notify.channels]]\nkind = "terminal"\nname = "x"',
            "notify.channels[1].name",
            "as another channel's is",
        ),
        (f"[[notify.channels]]\n{MAIL}", "notify.channels[0].to", "must name somebody"),
        (f'[[notify.channels]]\n{MAIL}to = ["not an address"]', "notify.channels[0].to", "is not an address"),
        (f'[[notify.channels]]\n{MAIL}to = ["a@b\\nBcc: c@d"]', "notify.channels[0].to", "is not an address"),
        (f'[[notify.channels]]\n{MAIL}recipients = {{zoe = "z@b.org"}}', "notify.channels[0].recipients", "no such user"),
        (f'[[notify.channels]]\n{MAIL}to = ["a@b"]\nuser = "u"', "notify.channels[0].password", "is required"),
        (f'[[notify.channels]]\n{MAIL}to = ["a@b"]\npassword = "env:X"', "notify.channels[0].user", "is required"),
        (
            f'[[notify.channels]]\n{MAIL}to = ["a@b"]\nuser = "u"\npassword = "env:X"\nsecurity = "none"',
            "notify.channels[0].security",
            "would cross the network to `smtp.example.org` for all to read",
        ),
        (f'[[notify.channels]]\n{MAIL}to = ["a@b"]\nport = 0', "notify.channels[0].port", "does not fit"),
        (
            '[[notify.channels]]\nkind = "webhook"\nname = "w"\nurl = "https://x"\nsecrets = []',
            "notify.channels[0].secrets",
            "does not fit",
        ),
        (
            '[[notify.channels]]\nkind = "slack"\nname = "s"\napp_token = "env:A"\nbot_token = "env:B"\nchannel = "C"\nusers = {U1 = "zoe"}',
            "notify.channels[0].users",
            "no such user",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(table: str, key: str, words: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        read(f"[notify]\n{table}\n")
    assert raised.value.key == key
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "entry",
    [
        f'{MAIL}to = ["a@b"]\nuser = "u"\npassword = "hunter2hunter2"',
        'kind = "webhook"\nname = "w"\nurl = "https://x"\nsecrets = ["whsec_hunter2hunter2"]',
        'kind = "slack"\nname = "s"\napp_token = "xapp-hunter2hunter2"\nbot_token = "env:B"\nchannel = "C"',
        'kind = "slack"\nname = "s"\napp_token = "env:A"\nbot_token = "xoxb-hunter2hunter2"\nchannel = "C"',
        'kind = "apprise"\nname = "a"\nurls = ["mailto://u:hunter2hunter2@x"]',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(entry: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        read(f"[[notify.channels]]\n{entry}\n")
    assert "never the secret itself" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_password_may_go_unencrypted_to_this_machine_alone() -> None:
    table = MAIL.replace("smtp.example.org", "{host}") + 'to = ["a@b"]\nuser = "u"\npassword = "env:X"\nsecurity = "none"\n'
    for host in ("localhost", "127.0.0.1", "::1"):
        (mail,) = read(f"[[notify.channels]]\n{table.replace('{host}', host)}").channels
        assert isinstance(mail, EmailSettings)


def test_the_environment_of_the_process_overrides_nothing_of_it() -> None:
    environ: dict[str, Any] = {"LICET_NOTIFY": "x"}
    with pytest.raises(ConfigInvalid, match="cannot be set by the environment variable"):
        loads(CONFIG, file=FOLDER / "licet.toml", environ=environ)
