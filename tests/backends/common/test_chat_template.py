"""Arguments of a chat template: parts, or the text of the message."""

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
    """A processor that renders the content of messages."""

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return "\n".join(str(message["content"]) for message in messages)


@pytest.mark.parametrize(
    ("family", "system"),
    [(None, "[{'type': 'text', 'text': 'Be brief.'}]"), ("glm4v", "Be brief.")],
)
def test_text_content_stays_a_string_if_the_family_requires_it(family: str | None, system: str) -> None:
    assert render_chat(Processor(), CASE, load_family(family) if family else None).splitlines() == [
        system,
        "[{'type': 'text', 'text': 'What?'}]",
    ]


class BatchProcessor(Processor):
    """A processor that treats one conversation as a batch of one, as in transformers 4.52."""

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> list[str]:  # type: ignore[override]
        return [super().apply_chat_template(messages)]


def test_a_batch_of_one_is_rendered_as_one_text() -> None:
    assert render_chat(BatchProcessor(), CASE, None) == render_chat(Processor(), CASE, None)
