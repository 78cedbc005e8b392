"""How systems of this kind were broken, each tried on this one.

`ATTACKS` names every way that is known to have worked on at least one of them, with the tests here that try it. Nothing in a
test below uses anything that the attacker would not have.
"""

from __future__ import annotations

import ast
from pathlib import Path

ATTACKS: dict[str, tuple[str, ...]] = {
    "arguments changed after approval": ("test_arguments_changed_after_approval_are_another_call",),
    "arguments mutated while the approver looks": ("test_arguments_mutated_while_the_approver_looks_change_nothing",),
    "approval used twice": ("test_an_approval_is_not_used_twice", "test_an_approval_whose_state_was_set_back_is_not_used_twice"),
    "self-approval": ("test_nobody_approves_their_own",),
    "an approval row forged or edited in the database": (
        "test_an_approval_that_was_superseded_is_not_revived_once_people_have_rejected_what_took_its_place",
        "test_an_approval_forged_in_the_database_runs_nothing",
        "test_a_request_edited_in_the_database_runs_nothing",
    ),
    "undone twice, or by whoever takes the key first": (
        "test_sixteen_callers_undo_a_call_once",
        "test_two_processes_undo_a_call_once",
        "test_what_two_people_were_allowed_to_undo_is_undone_once",
        "test_a_key_that_a_caller_takes_first_keeps_nobody_from_undoing",
    ),
    "undone otherwise than the log says": (
        "test_an_edited_record_is_not_undone",
        "test_an_erased_call_is_not_undone",
        "test_a_call_that_no_row_leads_to_is_not_there",
    ),
    "an effect that breaks out of its record": ("test_a_returned_effect_cannot_break_out_of_its_record",),
    "audit record edited": ("test_an_edited_record_is_found",),
    "tail cut": ("test_a_cut_tail_is_found_and_nobody_writes_after_it",),
    "tail cut with repaired state": (
        "test_a_cut_tail_with_repaired_state_does_not_fit_its_head_log",
        "test_a_cut_tail_with_repaired_state_does_not_fit_its_receipts",
        "test_a_cut_at_any_record_with_everything_repaired_is_seen_by_anchor_receipts_and_a_kept_checkpoint",
    ),
    "whole file rolled back": (
        "test_who_owns_store_and_key_is_stopped_by_the_anchor_although_the_ledger_verifies",
        "test_a_receipt_that_was_kept_names_a_record_that_a_rollback_took",
    ),
    "everything rewritten by the key's owner": (
        "test_who_mends_what_is_not_broken_changes_nothing",
        "test_the_ledger_that_is_attacked_is_whole_with_and_without_its_key",
        "test_who_owns_store_and_key_is_stopped_by_the_anchor_although_the_ledger_verifies",
        "test_a_receipt_shows_a_rewritten_record",
    ),
    "log made unwritable and the write ran": ("test_a_locked_database_stops_writes", "test_a_full_disk_stops_writes"),
    "log broken during the tool and the result released": ("test_a_tool_that_breaks_the_log_does_not_get_its_result_out",),
    "kill -9 leaves no entry": ("test_a_killed_process_leaves_its_intent_and_the_next_one_says_that_nobody_saw_the_end",),
    "SystemExit in a tool leaves none": ("test_a_tool_that_ends_the_process_has_an_entry",),
    "sixteen callers race on one approval (one executed, but the chain broke)": (
        "test_sixteen_callers_on_one_approval_execute_once_and_the_log_is_whole",
    ),
    "a rule tightened and the old pin honoured for 60 s": ("test_a_tightened_rule_counts_at_the_next_call",),
    "each retry opens a new request": ("test_a_retry_opens_no_second_request",),
    "a torn tail stops the system until a person repairs it": ("test_a_torn_tail_stops_nobody",),
    "the approver sees [REDACTED] where the order id should be": ("test_the_approver_sees_the_exact_arguments_and_effects",),
    "dry-run really executes": ("test_a_preview_and_a_check_execute_nothing", "test_a_dry_run_argument_grants_nothing"),
    "what may not be read is learned from what waits for people": (
        "test_an_agent_cannot_tell_from_a_hold_what_it_may_not_look_up",
        "test_a_hold_that_is_held_anew_tells_the_agent_that_something_changed_and_not_to_what",
        "test_another_tenants_target_shows_nothing_through_a_hold",
        "test_where_tenants_share_a_target_its_attributes_are_shown_to_nobody",
        "test_holds_without_end_run_no_preview_each_time",
    ),
    "a preview that is not what runs": (
        "test_a_preview_that_lies_differently_each_time_gets_nothing_approved",
        "test_a_preview_that_is_exchanged_after_the_approval_approves_nothing",
        "test_an_approved_call_still_runs_for_who_only_reads_its_preview_beside_it",
    ),
    "an agent's own words that look like a preview": (
        "test_arguments_that_look_like_effects_are_arguments",
        "test_a_reason_that_looks_like_a_preview_is_the_agents_own_word",
    ),
    "a decision on one plan used for another": (
        "test_a_plan_that_was_changed_after_its_approval_is_another_plan",
        "test_a_plan_that_somebody_else_proposes_is_another_plan",
        "test_an_approved_plan_is_of_no_use_in_another_environment",
        "test_a_plan_in_the_tool_of_a_plan_is_a_plan_of_its_own",
    ),
    "a vote on a plan that counts for what nobody was shown": (
        "test_a_vote_on_a_named_plan_does_not_count_for_other_calls_under_its_name",
        "test_a_vote_on_a_step_does_not_count_for_what_took_its_place_while_people_looked",
        "test_a_vote_on_a_plan_does_not_count_for_a_step_that_was_asked_about_later",
        "test_a_request_that_a_row_puts_into_a_plan_is_not_decided_on_with_it",
        "test_a_step_that_changes_what_a_later_one_would_do_has_that_one_asked_about_anew",
        "test_a_step_whose_preview_lies_each_time_never_runs",
        "test_a_plan_does_not_show_what_its_agent_may_not_look_up",
    ),
    "a plan killed, repeated, or robbed of its keys": (
        "test_other_calls_under_the_name_of_a_plan_that_ran_are_refused",
        "test_votes_on_a_run_that_died_do_not_count_for_the_next_one",
        "test_a_plan_that_is_killed_in_a_later_step_repeats_nothing_of_what_was_approved",
        "test_whoever_takes_the_keys_of_a_plan_first_runs_nothing_that_was_not_approved_and_nothing_twice",
        "test_two_hundred_proposals_from_sixteen_threads_use_each_approval_once",
        "test_processes_that_run_one_approved_plan_at_once_do_each_step_once",
        "test_a_plan_that_waits_runs_with_the_arguments_that_people_saw",
        "test_a_plan_that_asks_for_more_than_a_caller_may_asks_for_nothing",
    ),
    "people buried under questions": (
        "test_plans_that_stop_by_themselves_without_end_bury_nobody",
        "test_nobody_is_asked_more_than_the_limit",
        "test_an_agent_may_ask_that_much_for_each_of_its_users_and_no_more",
    ),
    "a step of a plan that may not run": (
        "test_a_plan_with_a_step_that_may_only_be_shown_runs_nothing_and_asks_nobody",
        "test_an_undo_is_no_step_of_a_plan",
        "test_what_was_approved_does_not_run_once_a_policy_forbids_it",
        "test_a_step_that_is_rejected_after_the_one_before_it_ran_never_runs",
        "test_meters_count_what_a_plan_uses_step_by_step",
    ),
    "a vote of somebody who has none": (
        "test_who_has_no_vote_has_none_under_any_name",
        "test_the_owner_of_the_agent_votes_where_no_policy_keeps_them_apart_and_nowhere_else",
        "test_two_ids_that_turn_out_to_be_one_person_are_one_vote",
        "test_a_voter_who_turns_out_to_be_the_requester_never_voted",
        "test_a_request_of_another_tenant_is_not_theirs_to_decide",
    ),
    "a vote that comes back, is taken back by somebody else, or comes too late": (
        "test_a_vote_of_somebody_who_left_does_not_come_back_with_them",
        "test_a_rejection_of_somebody_who_left_stays_a_rejection",
        "test_nobody_takes_back_somebody_elses_vote",
        "test_a_vote_that_was_taken_back_under_another_id_may_be_cast_once_more_and_counts_once",
        "test_nobody_withdraws_what_was_not_asked_for_them",
        "test_what_was_withdrawn_is_not_approved_by_a_vote_that_comes_later",
        "test_a_vote_on_what_was_held_anew_while_the_voter_looked_is_refused",
        "test_a_vote_counts_until_the_limit_and_not_at_it",
    ),
    "a voter's words that do more than say something": (
        "test_what_a_voter_writes_is_kept_or_refused_and_changes_nothing_else",
        "test_what_is_no_verdict_is_none",
        "test_words_of_a_vote_are_not_read_as_a_decision",
    ),
    "votes and askers edited in the database": (
        "test_an_approval_whose_votes_were_edited_is_nobodys",
        "test_a_vote_that_was_taken_back_is_not_put_back_by_its_row",
        "test_a_request_that_is_said_to_be_somebody_elses_is_found",
    ),
    "undone while frozen, by who may not, or without its own approval": (
        "test_a_step_of_a_plan_is_undone_once_and_not_by_its_plan",
        "test_an_undo_of_what_people_approved_asks_people_where_a_policy_says_so",
        "test_an_approved_undo_of_one_call_undoes_no_other",
        "test_nothing_is_undone_by_who_is_frozen_and_it_can_be_once_that_is_lifted",
        "test_the_undo_of_a_frozen_tool_is_a_tool_of_its_own",
        "test_an_undo_is_decided_for_who_proposes_it",
        "test_an_effect_that_is_reported_after_the_end_is_in_no_record_and_undone_by_nobody",
        "test_an_effect_that_names_another_tenants_target_stays_text_in_the_log_of_who_reported_it",
    ),
    "what is safe alone, used against another": (
        "test_what_was_approved_and_is_frozen_is_neither_used_nor_lost",
        "test_a_tool_that_freezes_its_agent_stops_the_plan_that_it_is_a_step_of",
        "test_a_preview_that_is_frozen_has_nothing_approved_and_nothing_run",
        "test_a_call_that_waits_does_not_run_where_it_was_frozen_and_approved_meanwhile",
        "test_a_frozen_plan_goes_on_only_by_a_lift_that_is_recorded",
        "test_one_frozen_agent_is_not_heard_through_its_own_calls_in_the_tool_of_another",
        "test_a_call_inside_a_tool_whose_agent_was_frozen_meanwhile_is_refused",
        "test_a_session_is_left_by_leaving_it_out_and_an_agent_is_not",
        "test_no_name_lifts_what_it_is_not",
        "test_an_agent_gets_from_no_side_tool_what_its_user_may_not",
        "test_what_was_approved_for_an_agent_alone_is_not_for_it_and_a_user_nor_the_other_way",
        "test_a_label_that_a_session_has_got_since_counts_against_what_was_approved",
        "test_no_row_of_a_notice_or_a_delivery_decides_anything",
        "test_a_preview_that_calls_tools_has_each_call_decided_and_recorded",
        "test_a_tool_that_fails_after_it_was_approved_has_used_its_approval",
    ),
    "a path written differently, a renamed argument, a double space or a zero-width character passes a rule": (
        "test_another_spelling_passes_no_rule",
    ),
    "audit cost that grows with the log (49 to 305 ms within 200 calls)": ("test_a_call_costs_the_same_however_long_the_log_is",),
}


def _tests_in(pattern: str) -> set[str]:
    parsed = [ast.parse(file.read_text(encoding="utf-8")) for file in Path(__file__).parent.glob(pattern)]
    return {node.name for tree in parsed for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_attack_has_its_tests() -> None:
    named = {name for tests in ATTACKS.values() for name in tests}
    assert _tests_in("test_on_*.py") <= named <= _tests_in("test_*.py")
