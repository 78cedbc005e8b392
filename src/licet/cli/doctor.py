"""`licet doctor`: what is wrong with an installation, or soon will be."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence

import click
from msgspec import Struct

from licet.cli.doctor_freezes import freeze_findings
from licet.cli.doctor_index import index_findings
from licet.cli.doctor_key import key_findings
from licet.cli.doctor_notify import notify_findings
from licet.cli.doctor_production import Reason, production_reasons, show_reasons, unfit
from licet.cli.doctor_remote import remote_findings
from licet.cli.doctor_rules import rule_findings
from licet.cli.doctor_server import server_findings
from licet.cli.doctor_setup import config_findings, policy_findings, runtime_findings, safety_findings
from licet.cli.doctor_sign_in import sign_in_findings
from licet.cli.doctor_store import store_findings
from licet.cli.doctor_witness import witness_findings
from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal, fault_of
from licet.cli.finding import Finding
from licet.cli.invocation import Invocation
from licet.cli.loading import Loaded, load
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.errors import OperatorError
from licet.gate.writable import OperatingUser, whoever_runs_this


class Diagnosis(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`."""

    findings: tuple[Finding, ...]
    ok: int
    warn: int
    fail: int
    production: tuple[Reason, ...] | None = None


@click.command()
@click.option("--tools-user", metavar="NAME", help="The operating user under which the tools run; by default the one who runs this.")
@click.option("--production", is_flag=True, help="Also refuse what is not fit for production, each reason by its name.")
@click.pass_obj
def doctor(invocation: Invocation, /, tools_user: str | None, production: bool) -> int:  # noqa: FBT001 - click's
    """Look for what is wrong with an installation.

    Each line is ok, warn or fail, with the next step. Nothing is changed. Ends with 1 if anything fails, or if there is a reason against
    production that licet.toml does not accept by name. With --server: whether it is there and ready, its version and clock, and what the
    credential may do there.
    """
    if invocation.server is not None:
        return _told(invocation, list(remote_findings(invocation)), None)
    user = get_user(tools_user)
    findings = list(runtime_findings())
    loaded = _loaded(invocation, findings)
    if loaded is not None:
        findings += config_findings(loaded)
        findings += policy_findings(loaded)
        findings += rule_findings(loaded)
        findings += store_findings(loaded.settings)
        findings += freeze_findings(loaded.settings)
        findings += index_findings(loaded.settings)
        findings += key_findings(loaded.settings)
        findings += witness_findings(loaded.settings)
        findings += notify_findings(loaded.settings, os.environ)
        findings += server_findings(loaded.settings)
        findings += sign_in_findings(loaded.settings, os.environ)
        findings += safety_findings(loaded.settings, user)
    return _told(
        invocation,
        findings,
        production_reasons(loaded.settings if loaded is not None else None, findings, os.environ) if production else None,
    )


def _told(invocation: Invocation, findings: list[Finding], reasons: Sequence[Reason] | None) -> int:
    counts = {level: sum(finding.level == level for finding in findings) for level in ("ok", "warn", "fail")}
    diagnosis = Diagnosis(findings=tuple(findings), **counts, production=None if reasons is None else tuple(reasons))
    fault = unfit(reasons or ())
    if fault is None and counts["fail"]:
        fault = Fault(exit=Exit.ERROR, code="unhealthy", message=f"{counted(counts['fail'], 'check')} failed")
    return invocation.answer(diagnosis, lambda output: _show(output, diagnosis), fault=fault)


def get_user(name: str | None) -> OperatingUser:
    """The operating user of this name, or the one who runs this. Raises `Refusal`."""
    if name is None:
        return whoever_runs_this()
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        message = f"the operating system knows no user `{name}`"
        raise Refusal(Exit.USAGE, "usage", message, next_step="name the user under which the tools run") from error
    return OperatingUser(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))


def _loaded(invocation: Invocation, findings: list[Finding]) -> Loaded | None:
    """What there is to look at; None, and a finding, where licet.toml cannot be used."""
    try:
        return load(invocation)
    except OperatorError as error:
        fault = fault_of(error)
        findings.append(Finding("fail", "config", fault.message, fault.next))
        return None


def _show(output: Output, diagnosis: Diagnosis) -> None:
    for finding in diagnosis.findings:
        output.mark(
            finding.level, finding.level, f"{finding.about}: {finding.message}", below=f"next: {finding.next}" if finding.next else ""
        )
    output.line()
    output.line(f"{diagnosis.ok} ok, {counted(diagnosis.warn, 'warning')}, {diagnosis.fail} failed")
    if diagnosis.production is not None:
        show_reasons(output, diagnosis.production)
