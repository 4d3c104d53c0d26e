"""Template arguments of a case, as an engine's API takes them."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.template_arguments import (
    list_batch,
    move_documents,
    select_template_arguments,
)
from vlm_parity.backends.lmdeploy.chat import select_arguments as select_for_lmdeploy
from vlm_parity.backends.vllm.server import select_arguments as select_for_vllm_server
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import UnsupportedError

TOOL = {"type": "function", "function": {"name": "look"}}


def make_case(**fields: Any) -> Case:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    return Case.model_validate({"name": "a", "summary": "s", "messages": messages, **fields})


def test_an_argument_that_an_api_lacks_is_unsupported_by_name() -> None:
    case = make_case(tools=[TOOL], documents=[{}], chat_template="{{ messages }}")
    with pytest.raises(UnsupportedError, match=r"^chat\(\) has no parameter documents or chat_template$"):
        select_template_arguments(case, ("tools",), "chat()")


def test_documents_become_a_variable_that_the_request_may_replace() -> None:
    assert move_documents({"tools": [TOOL]}) == {"tools": [TOOL]}
    assert move_documents({"documents": [1]}) == {"chat_template_kwargs": {"documents": [1]}}
    own = {"documents": [1], "chat_template_kwargs": {"documents": [2]}}
    assert move_documents(own) == {"chat_template_kwargs": {"documents": [2]}}


def test_only_requests_of_the_same_arguments_share_a_call() -> None:
    plain = Request(make_case(), ())
    tools, others = (Request(make_case(tools=[tool]), ()) for tool in (TOOL, {}))
    batch = (plain, tools, others)
    assert list_batch(Request(tools.case, (), batch_with=batch))[1:] == (tools,)
    assert list_batch(Request(plain.case, (), batch_with=batch))[1:] == (plain,)


def test_lmdeploy_continues_an_answer_without_a_request() -> None:
    continued = make_case(continue_final_message=True, add_generation_prompt=False, tools=[TOOL])
    assert select_for_lmdeploy(continued) == {"tools": [TOOL]}
    with pytest.raises(UnsupportedError, match="add_generation_prompt"):
        select_for_lmdeploy(make_case(add_generation_prompt=False))


def test_vllm_server_gets_tools_for_its_template_alone() -> None:
    assert select_for_vllm_server(make_case(tools=[TOOL])) == {"tools": [TOOL], "tool_choice": "none"}
    assert select_for_vllm_server(make_case()) == {}
