"""CONTRACT (to be implemented): one writer thread per process that commits in groups.

class Writer:
    def __init__(self, store: Store, *, linger_s: float = ...) -> None
    def submit(self, batch: Batch) -> Ticket            # any thread; raises StorePoisoned/GateClosed at once when stopped
    def close(self, timeout_s: float = ...) -> None     # drains, then stops
    poisoned: StoreError | None

class Ticket:
    def wait(self, timeout_s: float | None = None) -> tuple[Receipt, ...]     # blocks a thread
    async def wait_async(self) -> tuple[Receipt, ...]                         # awaits; one call_soon_threadsafe per (loop, group)
    # both raise ConditionLost for a Lost batch, StoreError for a failed group; StoreUnavailable with "deadline" on timeout
"""
