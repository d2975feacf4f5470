"""What is asked of whatever starts pilots: the scheduler of a cluster, or this machine."""

from __future__ import annotations

from typing import ClassVar, Protocol

from gradcli.engines.pilots.pilot import Orders

LOGS = "logs"
"""The folder of the queue with what pilots wrote."""


class Fleet(Protocol):
    """Starts pilots and ends them. Whether they are alive is also known from their leases."""

    job_id_variable: ClassVar[str]
    """The variable of the environment that tells a pilot what the scheduler calls it."""

    def start(self, pilots: int, orders: Orders) -> None:
        """Ask for further pilots.

        Raises:
            UserError: if there can be none.
        """

    def count(self) -> int | None:
        """Return how many pilots of this comparison live, or wait to be started.

        Returns:
            None if that cannot be known now.
        """

    def end(self, scheduled_as: str) -> None:
        """Ask a pilot to end, by the name that the scheduler gave it."""

    def end_all(self, *, also_those_at_work: bool) -> None:
        """Withdraw the pilots that have not begun, and perhaps end the others."""

    def last_words(self) -> str:
        """Return the last line that a pilot which is gone wrote to its stderr; "" if none did."""
