"""What a chat template is given: parts, or the text that a user wrote."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.backends.common.chat_template import render_chat
from vlm_parity.models.registry import load_family
from vlm_parity.schema.case import Case

CASE = Case.model_validate(
    {
        "name": "case",
        "summary": "a test",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"text": "What?"}]},
        ],
    }
)


class Processor:
    """Writes what it is given."""

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return "\n".join(str(message["content"]) for message in messages)


@pytest.mark.parametrize(
    ("family", "system"),
    [(None, "[{'type': 'text', 'text': 'Be brief.'}]"), ("glm4v", "Be brief.")],
)
def test_a_text_stays_one_where_the_family_wants_it(family: str | None, system: str) -> None:
    known = load_family(family) if family else None
    assert render_chat(Processor(), CASE, known).splitlines() == [
        system,
        "[{'type': 'text', 'text': 'What?'}]",
    ]


class BatchProcessor(Processor):
    """Takes one conversation for a batch of one, as Qwen2.5-Omni's of transformers 4.52 does."""

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> list[str]:  # type: ignore[override]
        return [super().apply_chat_template(messages)]


def test_the_text_of_a_batch_of_one_is_a_text() -> None:
    assert render_chat(BatchProcessor(), CASE, None) == render_chat(Processor(), CASE, None)
