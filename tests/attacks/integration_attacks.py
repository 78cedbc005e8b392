"""How what stands between an agent's framework and its tools was broken, or could be: each way with the tests that try it."""

from __future__ import annotations

INTEGRATION_ATTACKS: dict[str, tuple[str, ...]] = {
    "one approval, used again by a framework that repeats, renames or splits a call": (
        "test_an_approval_is_used_once_whatever_ids_a_framework_gives_the_call",
        "test_an_approval_is_used_once_by_however_many_calls_at_one_moment",
        "test_an_approval_is_used_once_by_two_processes_with_the_same_call",
        "test_a_tool_that_stops_itself_after_it_was_approved_does_not_go_on_by_the_same_approval",
        "test_what_was_approved_for_one_argument_runs_with_no_other_whatever_the_id",
        "test_a_tool_that_calls_itself_under_its_own_id_runs_once",
        "test_code_that_was_brought_for_one_call_is_not_used_for_another",
    ),
    "a tool that takes the name of another, by itself or by a prefix": (
        "test_a_prefix_that_makes_the_name_of_a_function_runs_nothing_in_its_place",
        "test_a_tool_of_the_very_definition_of_a_function_runs_nothing_in_its_place",
        "test_a_prefix_that_makes_the_name_of_another_agents_tool_widens_nothing",
        "test_a_name_that_is_reserved_or_that_no_catalog_takes_runs_nothing",
        "test_a_name_that_is_only_like_a_permitted_one_runs_nothing",
        "test_whatever_a_tool_is_called_it_runs_under_its_own_name_or_not_at_all",
        "test_a_name_that_is_changed_on_its_way_into_the_log_is_no_other_tools",
    ),
    "a tool under the name of a preview, an undo or a probe": (
        "test_a_tool_does_not_pass_for_the_preview_of_another",
        "test_a_tool_does_not_push_a_preview_out_by_coming_first",
        "test_a_tool_does_not_pass_for_the_undo_of_another",
        "test_a_tool_does_not_pass_for_what_stands_beside_a_tool_of_an_upstream",
        "test_a_tool_is_not_asked_as_a_probe",
    ),
    "a tool that says itself what it can do, or has somebody say it": (
        "test_nothing_that_a_tool_says_of_itself_classifies_it",
        "test_who_classifies_last_is_not_believed",
        "test_another_process_does_not_classify_a_tool_here",
        "test_a_tool_that_nobody_classified_here_is_denied_though_another_process_has",
    ),
    "a schema or arguments that are others when the tool runs": (
        "test_a_schema_that_is_exchanged_after_the_decision_is_refused",
        "test_a_schema_that_is_written_over_widens_nothing",
        "test_an_approval_of_one_definition_is_of_no_use_for_another_in_another_process",
        "test_arguments_that_read_differently_each_time_run_as_they_were_decided_on",
        "test_a_preview_that_does_not_fit_is_not_left_out_at_the_second_try",
    ),
    "a call in a name that nobody gave it": (
        "test_a_thread_that_a_tool_starts_acts_for_nobody",
        "test_a_block_of_another_gate_names_nobody_here",
        "test_what_a_tool_opens_is_not_who_says_who_calls",
        "test_two_users_of_one_agent_have_their_own_results",
    ),
}
