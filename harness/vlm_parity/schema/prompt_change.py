"""Changes of a conversation that engines make before the chat template sees it."""

from __future__ import annotations

from enum import StrEnum


class PromptChange(StrEnum):
    """A change of a conversation; the value is the cause that a diagnosis names."""

    TOOLS_DROPPED = "tools dropped"
    DOCUMENTS_DROPPED = "documents dropped"
    TEMPLATE_DROPPED = "chat template of the request not used"
    VARIABLE_DROPPED = "chat template variable dropped"
    CALLS_DROPPED = "tool calls dropped"
    CALLS_AS_TEXT = "tool call arguments passed as text"
    CALLS_PARSED = "tool call arguments parsed"
    TOOL_NAME_DROPPED = "name of a turn dropped"
    REASONING_DROPPED = "reasoning dropped"
    REASONING_RENAMED = "reasoning in another field"
    REASONING_IN_TEXT = "reasoning moved into the text"
    DEVELOPER_AS_SYSTEM = "developer turn as system turn"
    DEVELOPER_AS_USER = "developer turn as user turn"
    EMPTY_CONTENT = "missing content as empty text"
    CONTENT_NULL = "missing content as null"
    TEXT_AS_PART = "text wrapped into a part"
    PART_AS_TEXT = "text part passed as a string"
    OTHER_TEMPLATE = "tokenizer's template instead of the processor's"


SEPARATOR = " + "
"""Between the changes in a key of ``Trace.changed_prompts``."""
