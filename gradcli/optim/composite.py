"""Several optimizers under one, each of its own class, for disjoint parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradcli.fast.update import Update
from gradcli.fast.without_dynamo import load_state_dict, state_dict


class CompositeOptimizer(torch.optim.Optimizer):
    """An optimizer whose parameter groups are those of its members.

    The groups are the members' own dictionaries, so a learning rate that is set here is the one
    that a member uses. `state` shows the members' states.

    Args:
        members: optimizers without a common parameter.
    """

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        self.members = tuple(members)
        super().__init__(_groups(self.members), dict(members[0].defaults))
        self.state = _States(self.members)  # type: ignore[assignment]
        self._updates = [Update(member) for member in self.members]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take a group of a member as it is.

        Raises:
            ValueError: if it is none of theirs; no member would update it.
        """
        if not any(param_group is group for group in _groups(self.members)):
            raise ValueError("add the group to one of the members")
        self.param_groups.append(param_group)

    def step(  # type: ignore[override]
        self, closure: Callable[[], float | Tensor] | None = None
    ) -> float | Tensor | None:
        """Let each member update its parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for member, update in zip(self.members, self._updates, strict=True):
            # A flag on the device that holds an update, as `torch.amp.GradScaler` sets it.
            if hasattr(self, "found_inf"):
                member.found_inf = self.found_inf  # type: ignore[attr-defined]
            update()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the members' states; parameters count from 0 in each of them.

        Under `param_groups` are the groups of all, as in the state of any optimizer.
        """
        states = [state_dict(member) for member in self.members]
        groups = [group for state in states for group in state["param_groups"]]
        return {"members": states, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: if it is of other members.
        """
        for member, state in zip(self.members, state_dict["members"], strict=True):
            load_state_dict(member, state)
        self.param_groups[:] = _groups(self.members)

    def __getstate__(self) -> dict[str, Any]:
        return {"members": self.members}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["members"])  # type: ignore[misc]


def _groups(members: Sequence[torch.optim.Optimizer]) -> list[dict[str, Any]]:
    return [group for member in members for group in member.param_groups]


class _States(Mapping[Tensor, Any]):
    """What the members keep of each parameter, looked up in them at each access."""

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        self._members = members

    def __getitem__(self, parameter: Tensor) -> Any:
        for member in self._members:
            if parameter in member.state:
                return member.state[parameter]
        raise KeyError(parameter)

    def __iter__(self) -> Iterator[Tensor]:
        return (parameter for member in self._members for parameter in member.state)

    def __len__(self) -> int:
        return sum(len(member.state) for member in self._members)
