"""One governed call from the command line, in the name of the agent: `python agent.py TOOL ARGUMENTS [IDEMPOTENCY KEY]`.

python agent.py crm.lookup '{"customer_id": "C-412"}'
"""

from __future__ import annotations

import sys

from tools import gate

from licet import Denied, Held, Ok


def main(tool: str, arguments: str, idempotency_key: str | None = None) -> int:
    """Propose the call and print what came of it."""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate, gate.acting(agent="support-bot", user="alice"):
        result = gate.call(tool, arguments, idempotency_key=idempotency_key)
    match result:
        case Ok():
            print(result.value)
            return 0
        case Denied() | Held():
            print(result.decision.message, file=sys.stderr)
        case _:
            print(result.message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
