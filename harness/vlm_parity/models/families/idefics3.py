"""Idefics3: an image is upscaled and cut into rows of tiles; the whole image, downscaled, follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template, split_tiles
from vlm_parity.models.families.synthetic_base import TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_SIDE = 84  # pixels of a tile; the released model has 364
_PATCH = 14
_SCALE = 2
"""Side, in patches, of the squares that become one position."""
_WORDS = 32768
"""Ids with a text: the rest of Llama 3's 128,000 would make building slow and find nothing more."""
_PAD = "<|reserved_special_token_0|>"
VISION_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


class Idefics3(SyntheticFamily):
    """A tiny ``Idefics3ForConditionalGeneration``."""

    name = "idefics3"
    model_types = ("idefics3",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    # Llama 3's, and transformers' Idefics3Config (image_token_id, pad_token_id); the rest from
    # tokenizer_config.json of HuggingFaceM4/Idefics3-8B-Llama3. "<global-img>" and "<row_1_col_1>" are
    # plain text there.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|begin_of_text|>": 128000,
        "<|end_of_text|>": 128001,
        _PAD: 128002,
        "<|eot_id|>": 128009,
        "<fake_token_around_image>": 128256,
        "<image>": 128257,
        "<end_of_utterance>": 128258,
    }
    generation: ClassVar[Mapping[str, Any]] = {"bos_token_id": 128000, "eos_token_id": [128258, 128001]}

    def build_model(self) -> Any:
        from transformers import Idefics3Config, Idefics3ForConditionalGeneration

        return Idefics3ForConditionalGeneration(
            Idefics3Config(
                text_config={
                    **TEXT_SIZES,
                    "model_type": "llama",
                    "vocab_size": 128259,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
                    "pad_token_id": 128002,
                },
                vision_config={**VISION_SIZES, "image_size": _SIDE, "patch_size": _PATCH},
                image_token_id=128257,
                pad_token_id=128002,
                scale_factor=_SCALE,
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import Idefics3ImageProcessor, Idefics3Processor

        tokenizer = build_byte_level_tokenizer(
            self.special_ids,
            128259,
            _WORDS,
            bos="<|begin_of_text|>",
            eos_token="<end_of_utterance>",
            pad_token=_PAD,
        )
        return Idefics3Processor(
            Idefics3ImageProcessor(
                size={"longest_edge": 4 * _SIDE},
                max_image_size={"longest_edge": _SIDE},
                return_row_col_info=True,
            ),
            tokenizer,
            image_seq_len=(_SIDE // _PATCH // _SCALE) ** 2,
            # Renders as the template of HuggingFaceM4/Idefics3-8B-Llama3.
            chat_template=read_template("idefics3"),
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return dict.fromkeys(self.modalities, config["image_token_id"])

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count each frame of a video as an image."""
        images = iter(_split_images(input_ids, config["image_token_id"]))
        counts: dict[Modality, list[int]] = {modality: [] for modality in self.modalities}
        for medium in media:
            counts[medium.modality].append(sum(next(images, 0) for _ in range(medium.frames)))
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Split the tiles, [channels, height, width] each, of all media in the order of the prompt.

        Tiles of zeros are padding, which the model skips: they are left out.
        """
        if inputs.get("pixel_values") is None:
            return {}
        pixels = np.asarray(inputs["pixel_values"], np.float32)
        tiles = pixels.reshape(-1, *pixels.shape[-3:])
        tiles = tiles[tiles.any(axis=(1, 2, 3))]
        vision = config["vision_config"]
        positions = (vision["image_size"] // vision["patch_size"] // config["scale_factor"]) ** 2
        return split_tiles(tiles, spans, positions)


def _split_images(input_ids: Sequence[int], placeholder: int) -> list[int]:
    """Return the number of positions of each image.

    A fake token precedes each tile, and another follows the last: between two tiles of one image there is
    one, between two images there are two or more. The token after the last tile of a prompt is a fake token.
    """
    places = [place for place, token in enumerate(input_ids) if token == placeholder]
    if not places:
        return []
    fake = input_ids[places[-1] + 1]
    last = [a for a, b in pairwise(places) if list(input_ids[a:b]).count(fake) > 1] + [places[-1]]
    ends = [0] + [places.index(place) + 1 for place in last]
    return [stop - start for start, stop in pairwise(ends)]
