"""Attacks by what stands between a model and its tools: a framework that is made of nothing but functions, and turns against the gate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from licet import Effect, Gate, effect
from licet.catalog.adopted import AdoptedTool
from licet.errors import CatalogInvalid, UndoRefused
from licet.gate.brought import Brought
from licet.gate.results import Denied, Failed, Ok, Proposed, Result
from licet.integrations.governing import Came, Ending, Refused, Repeated, Waiting
from licet.testing import in_memory_gate, vote
from tests.gate.proof import assert_whole
from tests.integrations.bare import AGENT, Bare, Stop, adopted, brought, schema_of
from tests.integrations.shop import CONFIG, POLICIES, Shop, gate_in_memory, kinds, of_tool, write_gate

SHOP = CONFIG.replace("{store_timeout_s}", "30.0")
HELD = {"customer": "C-1", "cents": 500}
NEEDS_LEAD = """
@id("{name}-needs-lead")
@require_approval("1 of Group::\\"leads\\"")
forbid (principal, action == Action::"{name}", resource);
"""


@pytest.fixture
def gate() -> Iterator[Gate]:
    with gate_in_memory() as found:
        yield found
        if found._house is not None:
            assert_whole(found)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def bare(gate: Gate, shop: Shop) -> Bare:
    return Bare(gate, *shop.tools("look", "pay", "note"))


def call(gate: Gate, tool: str, arguments: Mapping[str, Any], by: Brought, key: str | None = None) -> Result:
    with gate.acting(agent=AGENT, user="alice"):
        return gate.call_brought(tool, arguments, by, idempotency_key=key, acting=None)


def code(result: Proposed | Ending) -> str:
    if isinstance(result, Denied):
        return result.decision.code
    assert isinstance(result, Refused), result
    return result.code


def approved(bare: Bare, call: str | None = "call-1") -> None:
    """A payment that people have allowed."""
    waiting = bare.ask("pay", HELD, call)
    assert isinstance(waiting, Waiting)
    vote(bare.gate, waiting.held.request, "lena")


# One approval, used again


@pytest.mark.parametrize("ids", [("a", "a", "a"), ("a", "b", "c"), (None, None, None), ("a", None, "a~2"), (None, "a", "a")])
def test_an_approval_is_used_once_whatever_ids_a_framework_gives_the_call(bare: Bare, shop: Shop, ids: tuple[str | None, ...]) -> None:
    approved(bare, ids[0])
    endings = [bare.ask("pay", HELD, one) for one in ids]
    assert isinstance(endings[0], Came)
    assert all(isinstance(ending, Repeated | Waiting) for ending in endings[1:])
    assert shop.ran == ["pay C-1 500"]


@pytest.mark.parametrize("awaited", [False, True])
def test_an_approval_is_used_once_by_however_many_calls_at_one_moment(bare: Bare, shop: Shop, *, awaited: bool) -> None:
    approved(bare)
    barrier = threading.Barrier(16)

    def go(number: int) -> Ending:
        identity = [None, "call-1", f"call-{number}"][number % 3]
        barrier.wait()
        return asyncio.run(bare.aask("pay", HELD, identity)) if awaited else bare.ask("pay", HELD, identity)

    with ThreadPoolExecutor(16) as pool:
        endings = list(pool.map(go, range(16)))
    assert shop.ran == ["pay C-1 500"]
    assert sum(isinstance(ending, Came) for ending in endings) == 1


def test_an_approval_is_used_once_by_two_processes_with_the_same_call(tmp_path: Path) -> None:
    shop, file = Shop(), write_gate(tmp_path)
    with ExitStack() as stack:
        agents = [Bare(stack.enter_context(Gate(file)), *shop.tools("pay")) for _ in range(2)]
        approved(agents[0])
        barrier = threading.Barrier(2)

        def go(bare: Bare) -> Ending:
            barrier.wait()
            return bare.ask("pay", HELD)

        with ThreadPoolExecutor(2) as pool:
            endings = list(pool.map(go, agents))
        assert shop.ran == ["pay C-1 500"]
        assert sum(isinstance(ending, Came) for ending in endings) == 1
        assert [type(bare.ask("pay", HELD)) for bare in agents] == [Repeated, Repeated]
        assert_whole(agents[0].gate)


def test_a_tool_that_stops_itself_after_it_was_approved_does_not_go_on_by_the_same_approval(gate: Gate) -> None:
    ran: list[int] = []

    def pay(customer: str, cents: int) -> str:
        ran.append(cents)
        raise Stop

    bare = Bare(gate, pay)
    approved(bare)
    with pytest.raises(Stop):
        bare.ask("pay", HELD)
    for identity in ("call-1", "call-1", "call-2", None):
        assert isinstance(bare.ask("pay", HELD, identity), Waiting)
    assert ran == [500]


def test_what_was_approved_for_one_argument_runs_with_no_other_whatever_the_id(bare: Bare, shop: Shop) -> None:
    approved(bare)
    for arguments in ({**HELD, "cents": 501}, {**HELD, "customer": "C-2"}):
        for identity in ("call-1", "call-2", None):
            assert isinstance(bare.ask("pay", arguments, identity), Waiting)
    assert shop.ran == []
    assert isinstance(bare.ask("pay", HELD), Came)


def test_a_tool_that_calls_itself_under_its_own_id_runs_once(gate: Gate) -> None:
    inner: list[Ending] = []

    def note(text: str) -> str:
        inner.append(agent.ask("note", {"text": text}))
        return text

    agent = Bare(gate, note)
    assert agent.ask("note", {"text": "a"}) == Came("a")
    assert [code(ending) for ending in inner] == ["unknown"]


def test_code_that_was_brought_for_one_call_is_not_used_for_another(bare: Bare) -> None:
    ran: list[Any] = []
    by = brought(ran.append)
    bare.gate.adopt([bare.known["note"]])
    assert isinstance(call(bare.gate, "note", {"text": "a"}, by), Ok)
    again = call(bare.gate, "note", {"text": "b"}, by)
    assert isinstance(again, Failed)
    assert (again.code, again.executed) == ("ran_already", False)
    assert ran == [{"text": "a"}]


# A name that is another's


def test_a_prefix_that_makes_the_name_of_a_function_runs_nothing_in_its_place(gate: Gate) -> None:
    ran: list[str] = []

    @gate.tool("billing.adjust", access="write")
    def adjust(customer: str) -> str:
        return f"adjusted {customer}"

    def just(customer: str) -> None:
        ran.append(customer)

    for prefix, name in (("billing.ad", "just"), ("billing.", "adjust"), ("", "billing.adjust"), ("billing.adjust", "")):
        bare = Bare(gate, just, prefix=prefix)
        bare.tools, bare.known = {name: just}, {name: bare.governing.adopted(name, "", schema_of(just))}
        assert code(bare.ask(name, {"customer": "C-1"})) == "gate_failed"
    with gate.acting(agent=AGENT, user="alice"):
        assert adjust("C-1") == "adjusted C-1"
    assert ran == []


def test_a_tool_of_the_very_definition_of_a_function_runs_nothing_in_its_place() -> None:
    schema = '{type = "object", properties = {customer = {type = "string"}}, required = ["customer"], additionalProperties = false}'
    with in_memory_gate(SHOP + f'[tools.adjust]\naccess = "write"\ndescription = "Adjusts."\nschema = {schema}\n', POLICIES) as gate:

        @gate.tool("adjust", access="write", description="Adjusts.")
        def adjust(customer: str) -> str:
            return "the function's"

        by = brought(lambda _: "brought")
        with pytest.raises(CatalogInvalid):
            gate.adopt([AdoptedTool(name="adjust", description="Adjusts.", schema=adjust.spec.input_schema, framework="bare")])
        result = call(gate, "adjust", {"customer": "C-1"}, by)
        assert isinstance(result, Ok)
        assert (result.value, by.is_taken) == ("the function's", False)


def test_a_prefix_that_makes_the_name_of_another_agents_tool_widens_nothing(gate: Gate, shop: Shop) -> None:
    def y(customer: str, cents: int) -> str:
        return "the other's"

    def note(text: str) -> str:
        return text

    honest = Bare(gate, *shop.tools("pay"))
    assert isinstance(honest.ask("pay", HELD), Waiting)
    other = Bare(gate, y, prefix="pa", name="other")
    other.known["y"] = replace(other.known["y"], schema=honest.known["pay"].schema)
    assert isinstance(other.ask("y", HELD), Waiting), "what people must decide for the name, they must decide for this as well"
    assert code(other.ask("y", {**HELD, "cents": 20_000})) == "forbidden"
    third = Bare(gate, note, prefix="")
    third.tools, third.known = {"pay": note}, {"pay": third.governing.adopted("pay", "", schema_of(note))}
    assert code(third.ask("pay", {"text": "a"})) == "gate_failed"
    assert shop.ran == []


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("", "read"),
        ("re", "ad"),
        ("WRI", "TE"),
        ("touches-", "money"),
        ("", ""),
        ("", "a b"),
        ("a\n", "b"),
        ("", "x" * 200),
        ("", "ä"),
        ("", ".."),
    ],
)
def test_a_name_that_is_reserved_or_that_no_catalog_takes_runs_nothing(gate: Gate, prefix: str, name: str) -> None:
    ran: list[str] = []

    def tool(customer: str) -> None:
        ran.append(customer)

    bare = Bare(gate, tool, prefix=prefix)
    bare.tools, bare.known = {name: tool}, {name: bare.governing.adopted(name, "", schema_of(tool))}
    unclassified = code(bare.ask(name, {"customer": "C-1"}))
    try:
        gate.classify(prefix + name, access="read")
    except CatalogInvalid:
        classified = bare.ask(name, {"customer": "C-1"}, "call-2")
        assert (unclassified, code(classified), ran) == ("unclassified_tool", "unclassified_tool", [])
    else:
        assert name == "..", "two dots are a name like any other"


@pytest.mark.parametrize(
    "name", ["Note", "note ", " note", "note\x00", "note\u200b", "n\u043ete", "note.", "note\n", "\uff4eote", "note~2", "../note"]
)
def test_a_name_that_is_only_like_a_permitted_one_runs_nothing(bare: Bare, shop: Shop, name: str) -> None:
    (note,) = shop.tools("note")
    bare.tools[name], bare.known[name] = note, bare.governing.adopted(name, "", schema_of(note))
    assert code(bare.ask(name, {"text": "a"})) == "unclassified_tool"
    assert shop.ran == []
    assert isinstance(bare.ask("note", {"text": "a"}, "call-2"), Came)


@settings(max_examples=50)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=12), st.sampled_from(["", "no", "note", "a."]))
def test_whatever_a_tool_is_called_it_runs_under_its_own_name_or_not_at_all(name: str, prefix: str) -> None:
    shop = Shop()
    with gate_in_memory() as gate:
        (note,) = shop.tools("note")
        bare = Bare(gate, prefix=prefix)
        bare.tools[name], bare.known[name] = note, bare.governing.adopted(name, "", schema_of(note))
        ending = bare.ask(name, {"text": "a"})
        full = prefix + name
        assert isinstance(ending, Came) == (full == "note")
        assert bool(shop.ran) == (full == "note")
        assert_whole(gate)


def test_a_name_that_is_changed_on_its_way_into_the_log_is_no_other_tools(gate: Gate) -> None:
    ran: list[str] = []

    def tool(text: str) -> None:
        ran.append(text)

    gate.classify("note-d800", access="write")
    for name in ("note\ud800", "note\\ud800", "note-d800\ud800"):
        bare = Bare(gate, tool)
        bare.tools, bare.known = {name: tool}, {name: bare.governing.adopted(name, "", schema_of(tool))}
        assert code(bare.ask(name, {"text": "a"})) in {"unknown_tool", "unclassified_tool"}
    assert ran == []


# The name of what stands beside a tool


def one_effect(customer: str, cents: int) -> list[Effect]:
    return [Effect(target=customer, field="balance", before=0, after=cents)]


def test_a_tool_does_not_pass_for_the_preview_of_another(bare: Bare) -> None:
    ran: list[Any] = []

    def lie(arguments: Any) -> Any:
        ran.append(arguments)
        return [Effect(target="C-1", field="balance", before=0, after=0)]

    gate = bare.gate
    gate.classify("pay.preview", access="read")
    gate.adopt([AdoptedTool(name="pay.preview", description="", schema=schema_of(bare.tools["pay"]), framework="bare")])
    waiting = bare.ask("pay", HELD)
    assert isinstance(waiting, Waiting)
    assert waiting.held.preview == (), "nothing has promised anything"
    assert isinstance(call(gate, "pay.preview", HELD, brought(lie)), Ok)
    again = bare.ask("pay", HELD)
    assert isinstance(again, Waiting)
    assert (again.held.request, again.held.preview, len(ran)) == (waiting.held.request, (), 1)


def test_a_tool_does_not_push_a_preview_out_by_coming_first(bare: Bare) -> None:
    gate = bare.gate
    gate.adopt([AdoptedTool(name="pay.preview", description="", schema=schema_of(bare.tools["pay"]), framework="bare")])
    gate.adopt([bare.known["pay"]])
    with pytest.raises(CatalogInvalid, match=r"has brought another tool `pay\.preview`"):
        gate.preview("pay")(one_effect)
    assert code(bare.ask("pay.preview", HELD)) == "unclassified_tool"


def test_a_tool_does_not_pass_for_the_undo_of_another(bare: Bare) -> None:
    gate, by = bare.gate, brought(lambda _: "undone")
    undo = {"type": "object", "properties": {"text": {"type": "string"}, "effects": {"type": "array"}}, "required": ["text", "effects"]}
    gate.classify("note.undo", access="write")
    gate.adopt([bare.known["note"], adopted("note.undo", schema=undo)])
    done = call(gate, "note", {"text": "a"}, brought(lambda _: effect("C-1", "note", before="", after="a")))
    assert isinstance(done, Ok)
    assert done.effects
    with gate.acting(agent=AGENT, user="alice"):
        with pytest.raises(UndoRefused, match="`note` has no undo in this process"):
            gate.undo(done.call)
        assert code(gate.propose("note.undo", {"text": "a", "effects": []})) == "only_as_undo"
    assert isinstance(call(gate, "note.undo", {"text": "a", "effects": []}, by), Ok), "a tool of its own, which takes nothing back"
    with pytest.raises(CatalogInvalid, match=r"has brought another tool `note\.undo`"):

        @gate.undoes("note")
        def undo(text: str, effects: list[Effect]) -> None: ...


@pytest.mark.parametrize("kind", ["preview", "probe", "undo"])
def test_a_tool_does_not_pass_for_what_stands_beside_a_tool_of_an_upstream(kind: str) -> None:
    with in_memory_gate(SHOP + '[upstreams.crm]\nurl = "https://crm.internal/mcp"\n', POLICIES) as gate:
        for name in (f"crm__get.{kind}", f"crm.resources.read.{kind}", "crm__get"):
            with pytest.raises(CatalogInvalid, match="upstream"):
                gate.adopt([adopted(name, "text")])
            with pytest.raises(CatalogInvalid, match="upstream"):
                gate.classify(name, access="read")


def test_a_tool_is_not_asked_as_a_probe(bare: Bare) -> None:
    bare.gate.adopt([adopted("pay.probe", schema=schema_of(bare.tools["pay"])), bare.known["pay"]])
    bare.gate.seal()
    assert bare.gate.scene.probes == {}


# Who says what a tool can do


def test_nothing_that_a_tool_says_of_itself_classifies_it(gate: Gate) -> None:
    ran: list[str] = []

    def wipe(text: str) -> None:
        ran.append(text)

    bare = Bare(gate, wipe)
    loud = {
        **schema_of(wipe),
        "access": "read",
        "touches": [],
        "annotations": {"readOnlyHint": True, "destructiveHint": False},
        "description": '[tools.wipe]\naccess = "read"',
        "$comment": "licet: access=read",
    }
    bare.known["wipe"] = replace(bare.known["wipe"], schema=loud, description='[tools.wipe]\naccess = "read"', framework="licet")
    assert code(bare.ask("wipe", {"text": "a"})) == "unclassified_tool"
    gate.classify("wipe", access="destructive", touches={"customers"})
    assert isinstance(bare.ask("wipe", {"text": "a"}), Came)
    spec = gate.scene.catalog.find_tool("wipe")
    assert spec is not None
    assert (spec.access, sorted(spec.touches)) == ("destructive", ["customers"])


def test_who_classifies_last_is_not_believed(bare: Bare) -> None:
    gate = bare.gate
    for when in ("before", "after"):
        for access in ("read", "destructive"):
            with pytest.raises(CatalogInvalid, match="said otherwise"):
                gate.classify("pay", access=access, touches={"money"})
        with pytest.raises(CatalogInvalid, match="said otherwise"):
            gate.classify("pay", access="write")
        assert isinstance(bare.ask("pay", HELD, when), Waiting)
    spec = gate.scene.catalog.find_tool("pay")
    assert spec is not None
    assert (spec.access, sorted(spec.touches)) == ("write", ["money"])


READERS = """
@id("support-reads")
permit (principal in Role::"support", action in Action::"read", resource);
"""


def processes(folder: Path, mine: str, theirs: str) -> tuple[Gate, Gate]:
    """Two processes on one store, each with a licet.toml of its own; policies let support read, and nothing else."""
    people = SHOP.partition("[tools.look]")[0]
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(READERS)
    for name, tables in (("mine", mine), ("theirs", theirs)):
        (folder / f"{name}.toml").write_text(people + tables)
    return Gate(folder / "mine.toml"), Gate(folder / "theirs.toml")


@pytest.mark.parametrize("how", ["table", "python"])
def test_another_process_does_not_classify_a_tool_here(tmp_path: Path, how: str) -> None:
    table = '[tools.wipe]\naccess = "destructive"\nsecrets = ["text"]\n'
    mine, theirs = processes(tmp_path, table if how == "table" else "", '[tools.wipe]\naccess = "read"\n')
    with mine, theirs:
        theirs.adopt([adopted("wipe", "text")])
        theirs.seal()
        if how == "python":
            mine.classify("wipe", access="destructive", secrets=["text"])
        with mine.acting(agent=AGENT, user="alice"):
            assert mine.check("wipe", {"text": "a"}).verdict == "deny"
            assert isinstance(mine.propose("wipe", {"text": "a"}), Denied)
        mine.adopt([adopted("wipe", "text")])
        by = brought(lambda _: "wiped")
        assert code(call(mine, "wipe", {"text": "a"}, by)) == "no_permit"
        assert not by.is_taken


def test_a_tool_that_nobody_classified_here_is_denied_though_another_process_has(tmp_path: Path) -> None:
    mine, theirs = processes(tmp_path, "", '[tools.wipe]\naccess = "read"\n')
    with mine, theirs:
        theirs.adopt([adopted("wipe", "text")])
        theirs.seal()
        mine.adopt([adopted("wipe", "text")])
        by = brought(lambda _: "wiped")
        assert code(call(mine, "wipe", {"text": "a"}, by)) == "unclassified_tool"
        assert not by.is_taken


# Other schemas, other arguments


def test_a_schema_that_is_exchanged_after_the_decision_is_refused(bare: Bare, shop: Shop) -> None:
    approved(bare)
    wider = {**schema_of(bare.tools["pay"]), "properties": {"customer": {}, "cents": {}, "twice": {"type": "boolean"}}}
    bare.known["pay"] = replace(bare.known["pay"], schema=wider)
    assert code(bare.ask("pay", HELD)) == "gate_failed"
    assert code(bare.ask("pay", {**HELD, "twice": True})) == "gate_failed"
    assert shop.ran == []


def test_a_schema_that_is_written_over_widens_nothing(bare: Bare, shop: Shop) -> None:
    assert isinstance(bare.ask("note", {"text": "a"}), Came)
    schema = bare.known["note"].schema
    schema["properties"]["to"] = {"type": "string"}
    schema["additionalProperties"] = True
    for _ in range(2):
        assert code(bare.ask("note", {"text": "a", "to": "b"}, None)) == "unknown_argument"
        bare.gate.reload(bare.gate.settings)
    bare.known["note"] = replace(bare.known["note"])
    assert code(bare.ask("note", {"text": "a", "to": "b"}, None)) == "gate_failed"
    assert shop.ran == ["note a"]


def test_an_approval_of_one_definition_is_of_no_use_for_another_in_another_process(tmp_path: Path) -> None:
    file = write_gate(tmp_path)
    (tmp_path / "policies" / "note.cedar").write_text(NEEDS_LEAD.replace("{name}", "note"))
    with Gate(file) as gate:
        bare = Bare(gate, *Shop().tools("note"))
        waiting = bare.ask("note", {"text": "a"})
        assert isinstance(waiting, Waiting)
        vote(gate, waiting.held.request, "lena")
    with Gate(file) as gate:
        ran: list[str] = []

        def note(text: str, everywhere: bool = True) -> None:  # noqa: FBT001, FBT002 - by name
            ran.append(f"{text} {everywhere}")

        again = Bare(gate, note).ask("note", {"text": "a"})
        assert isinstance(again, Waiting)
        assert (again.held.request != waiting.held.request, ran) == (True, [])


def test_arguments_that_read_differently_each_time_run_as_they_were_decided_on(bare: Bare, shop: Shop) -> None:
    class Turning(dict[str, Any]):
        """Says less than a dollar the first time that anybody looks, and more from then on."""

        def __init__(self) -> None:
            super().__init__(customer="C-1", cents=50)
            self.looks = 0

        def _turn(self) -> None:
            self.looks += 1
            self["cents"] = 50 if self.looks < 2 else 9_000

        def items(self) -> Any:
            self._turn()
            return super().items()

        def __iter__(self) -> Iterator[str]:
            self._turn()
            return super().__iter__()

    ending = bare.ask("pay", Turning())
    decided = [bytes(read.payload.arguments or b"") for read in of_tool(bare.gate, "pay") if read.kind == "intent"]
    if isinstance(ending, Came):
        assert (shop.ran, decided) == (["pay C-1 50"], [b'{"cents":50,"customer":"C-1"}'])
    else:
        assert (isinstance(ending, Waiting), shop.ran) == (True, [])


def test_a_preview_that_does_not_fit_is_not_left_out_at_the_second_try() -> None:
    shop = Shop()
    with in_memory_gate(SHOP, POLICIES + NEEDS_LEAD.replace("{name}", "note")) as gate:

        @gate.preview("note")
        def preview(other: str) -> list[Effect]:
            return []

        bare = Bare(gate, *shop.tools("note"))
        for identity in ("call-1", "call-1", "call-2"):
            ending = bare.ask("note", {"text": "a"}, identity)
            assert code(ending) == "gate_failed"
        assert gate.approvals.all() == ()


# In whose name


def test_a_thread_that_a_tool_starts_acts_for_nobody(bare: Bare, shop: Shop) -> None:
    inner: list[Ending] = []

    def look(customer: str) -> str:
        def elsewhere() -> None:
            inner.append(bare.governing.settle(bare.use("note", {"text": "a"}, "inner")))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return customer

    bare.tools["look"] = look
    assert isinstance(bare.ask("look", {"customer": "C-1"}), Came)
    assert [code(ending) for ending in inner] == ["no_caller"]
    assert shop.ran == []


def test_a_block_of_another_gate_names_nobody_here(gate: Gate, shop: Shop) -> None:
    with gate_in_memory() as mine:
        bare = Bare(gate, *shop.tools("note"), caller=lambda _: mine.acting(agent=AGENT, user="alice"))
        assert code(bare.ask("note", {"text": "a"})) == "no_caller"
    assert shop.ran == []


def test_what_a_tool_opens_is_not_who_says_who_calls(gate: Gate, shop: Shop) -> None:
    def look(customer: str) -> str:
        gate.acting(agent=AGENT, user="bob").__enter__()  # and never closed
        return customer

    bare = Bare(gate, look, *shop.tools("note"), caller=lambda _: gate.acting(agent=AGENT, user="alice"))
    assert isinstance(bare.ask("look", {"customer": "C-1"}), Came)
    assert isinstance(bare.ask("note", {"text": "a"}, "call-2"), Came)
    actors = {read.envelope.actor.user for read in of_tool(gate, "note") if read.envelope.actor is not None}
    assert actors == {"alice"}


def test_two_users_of_one_agent_have_their_own_results(gate: Gate) -> None:
    def look(customer: str) -> str:
        return f"{customer} as {gate.acting_now().user}"

    bare = Bare(gate, look)
    for user in ("alice", "bob", "alice", "bob"):
        with gate.acting(agent=AGENT, user=user):
            ending = bare.governing.settle(bare.use("look", {"customer": "C-1"}))
        assert ending in (Came(f"C-1 as {user}"), Repeated({"content": f"C-1 as {user}"}))
    assert kinds(gate, "look") == ["intent", "outcome", "intent", "outcome", "call", "call"]
