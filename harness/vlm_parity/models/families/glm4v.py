"""GLM-4.1V: rotary positions in half of a head, the time in seconds after every frame group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.grid_base import GridFamily
from vlm_parity.models.families.synthetic_base import TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.qwen_tokenizer_files import write_json
from vlm_parity.schema.case import Modality

# 151339 to 151344 are in transformers' Glm4vConfig; vLLM's and LMDeploy's examples stop at 151329,
# 151336 and 151338. The others stand in the order of the released tokenizer_config.json.
GLM_TOKENS = {
    token: 151329 + place
    for place, token in enumerate(
        (
            "<|endoftext|>",
            "[MASK]",
            "[gMASK]",
            "[sMASK]",
            "<sop>",
            "<eop>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|observation|>",
            "<|begin_of_image|>",
            "<|end_of_image|>",
            "<|begin_of_video|>",
            "<|end_of_video|>",
            "<|image|>",
            "<|video|>",
        )
    )
}

IMAGE_SIZE = {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 2 * 6144}
VIDEO_SIZE = {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 2 * 30000}
"""Released limits, in pixels, of all frames of a medium."""


class Glm4v(GridFamily, SyntheticFamily):
    """A tiny GLM-4.1V with the processor and the template of the released 9B-Thinking."""

    name = "glm4v"
    model_types = ("glm4v",)
    supported_kwargs = ("fps",)
    special_ids: ClassVar[Mapping[str, int]] = GLM_TOKENS
    texts_as_parts = False
    generation: ClassVar = {
        "do_sample": True,
        "eos_token_id": [151329, 151336, 151338],
        "pad_token_id": 151329,
        "temperature": 0.8,
        "top_k": 2,
        "top_p": 0.6,
    }

    def build_model(self) -> Any:
        from transformers import Glm4vConfig, Glm4vForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "vocab_size": 151552,
            # Released. transformers has the bias regardless of the key, vLLM only if it is true.
            "attention_bias": True,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "partial_rotary_factor": 0.5,
                "rope_theta": 1e4,
            },
            "eos_token_id": [151329, 151336, 151338],
            "pad_token_id": 151329,
        }
        vision = {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": TEXT_SIZES["hidden_size"],
            "image_size": 336,
        }
        config = Glm4vConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
        return Glm4vForConditionalGeneration(config)

    def build_processor(self) -> Any:
        from transformers import Glm4vImageProcessor, Glm4vProcessor, Glm4vVideoProcessor

        return Glm4vProcessor(
            image_processor=Glm4vImageProcessor(size=IMAGE_SIZE),
            tokenizer=build_byte_level_tokenizer(
                GLM_TOKENS,
                max(GLM_TOKENS.values()) + 1,
                eos_token="<|endoftext|>",
                pad_token="<|endoftext|>",
            ),
            video_processor=Glm4vVideoProcessor(size=VIDEO_SIZE),
            # Renders as the template of zai-org/GLM-4.1V-9B-Thinking, which expects parts in user turns only,
            # and writes the content of other turns as it is.
            chat_template=read_template("glm4v"),
        )

    def finish_checkpoint(self, folder: Path) -> None:
        """Copy the keys of the text model to the top level, as in the first converted checkpoints.

        LMDeploy reads them there.
        """
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        text = {name: value for name, value in config["text_config"].items() if name != "model_type"}
        write_json(path, {**text, **config})

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        """Return the placeholder of an image for both: frames of a video have it, too."""
        return dict.fromkeys(("image", "video"), config["image_token_id"])
