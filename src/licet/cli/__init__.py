"""The command line: one file for each verb, loaded when it is called."""

from licet.cli.root import Root

main = Root()
"""The program `licet`. Calling it ends the process with one of the exit codes of `cli/exits.py`."""
