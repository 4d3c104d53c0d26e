"""Rules on conversations that an engine changed before its template saw them.

The reference rendered the changed conversations, too (``Trace.changed_prompts``): an engine whose prompt is
one of them, character by character, made that change.
"""

from __future__ import annotations

import re
from functools import partial

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.prompt_change import SEPARATOR, PromptChange
from vlm_parity.schema.trace import Stage

_NUMBER = re.compile(r" \(\d+\)$")
_SENTENCES = {
    PromptChange.TOOLS_DROPPED: "the conversation without its tools",
    PromptChange.DOCUMENTS_DROPPED: "the conversation without its documents",
    PromptChange.TEMPLATE_DROPPED: "the model's own chat template, not the request's",
    PromptChange.VARIABLE_DROPPED: "the template without variables of chat_template_kwargs",
    PromptChange.CALLS_DROPPED: "the turns without their tool calls",
    PromptChange.CALLS_AS_TEXT: "the arguments of tool calls as JSON text, where the case has objects",
    PromptChange.CALLS_PARSED: "the arguments of tool calls as objects, where the case has JSON text",
    PromptChange.TOOL_NAME_DROPPED: "the turns without their names",
    PromptChange.REASONING_DROPPED: "the turns without their reasoning",
    PromptChange.REASONING_RENAMED: "the reasoning under both names, reasoning and reasoning_content",
    PromptChange.REASONING_IN_TEXT: "the reasoning in tags in the text",
    PromptChange.DEVELOPER_AS_SYSTEM: "the developer's turn as one of the system",
    PromptChange.DEVELOPER_AS_USER: "the developer's turn as one of the user",
    PromptChange.EMPTY_CONTENT: "an empty text where a turn has no content",
    PromptChange.CONTENT_NULL: "null where a turn has no content",
    PromptChange.TEXT_AS_PART: "each text that is a string as a list of one part",
    PromptChange.PART_AS_TEXT: "each text that is a list of one part as a string",
    PromptChange.OTHER_TEMPLATE: "the tokenizer's chat template, not the processor's",
}
"""Name of what the template rendered, by change."""


def find_changes(rule_input: RuleInput) -> tuple[PromptChange, ...]:
    """Return the fewest changes after which the reference's template renders the engine's prompt."""
    tested = rule_input.pair.tested.prompt
    for name, prompt in rule_input.pair.reference.changed_prompts.items():
        if prompt == tested:
            return tuple(PromptChange(each) for each in _NUMBER.sub("", name).split(SEPARATOR))
    return ()


def _explain(change: PromptChange, rule_input: RuleInput) -> Explanation | None:
    changes = find_changes(rule_input)
    if change not in changes:
        return None
    rendered = " and ".join(_SENTENCES[each] for each in changes)
    return 0.99, (
        f"The prompt of {rule_input.pair.tested.backend} is, character by character, what the reference's "
        f"template renders of {rendered}."
    )


for _change in PromptChange:
    register_rule(_change, Stage.PROMPT)(partial(_explain, _change))
