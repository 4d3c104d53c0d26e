"""Arguments of LMDeploy's modules, changed on the way."""

from __future__ import annotations

from typing import Any

from vlm_parity.backends.lmdeploy.arguments import change_arguments


class Module:
    def forward(self, input_ids: Any, inputs_embeds: Any = None, **options: Any) -> tuple[Any, ...]:
        return input_ids, inputs_embeds, options


def test_positional_arguments_are_changed_by_name() -> None:
    module = Module()
    with change_arguments(module, lambda given: {**given, "input_ids": None}):
        assert module.forward(1, inputs_embeds=2, more=3) == (None, 2, {"more": 3})
    assert module.forward(1) == (1, None, {})


def test_the_last_change_is_the_first_to_see_the_arguments() -> None:
    module, seen = Module(), []

    def see(name: str) -> Any:
        def change(given: dict[str, Any]) -> dict[str, Any]:
            seen.append((name, sorted(given)))
            return {**given, name: True}

        return change

    with change_arguments(module, see("a")), change_arguments(module, see("b")):
        assert module.forward(1) == (1, None, {"a": True, "b": True})
    assert seen == [("b", ["input_ids"]), ("a", ["b", "input_ids"])]
    assert "forward" not in vars(module)
