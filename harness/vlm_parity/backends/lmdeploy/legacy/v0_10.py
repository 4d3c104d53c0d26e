"""LMDeploy 0.10 and 0.11: like 0.7 to 0.9, but the chat template may be the checkpoint's own."""

from __future__ import annotations

from typing import Any

from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.legacy.v0_7 import PRIVATE_APIS, Lmdeploy07

TESTED_VERSIONS = "0.11.0"


class Lmdeploy010(Lmdeploy07):
    """The frontend of a pipeline with the PyTorch engine."""

    private_apis = (
        *PRIVATE_APIS,
        PrivateApi("lmdeploy.model", "ChatTemplateConfig", ("model_name", "model_path"), TESTED_VERSIONS),
        PrivateApi("lmdeploy.model", "best_match_model", ("query",), TESTED_VERSIONS),
    )

    def build_chat_template(self, path: str) -> Any:
        from lmdeploy.model import ChatTemplateConfig, best_match_model

        return ChatTemplateConfig(best_match_model(path), model_path=path).chat_template


class Lmdeploy011(Lmdeploy010):
    """The same without redirections: ``load_vl_model`` does not read the memory of a GPU."""

    redirections = ()
