"""What nobody thought of: conversations drawn by Hypothesis, through the engines' front ends.

``parity run cases/test_fuzz.py --fuzz``; ``--help`` tells of profiles and limits.
"""

import pytest

from vlm_parity.pytest_plugin.fuzz_fixture import FuzzFixture

pytestmark = pytest.mark.parity_fuzz


def test_fuzz(parity_fuzz: FuzzFixture) -> None:
    """Check the frontend of an engine on generated conversations.

    Ids, spans, media and positions equal the reference, as do refusals, which have a clear message. Repeated
    requests give equal results. Spans are disjoint, in order, within the prompt, and as long as the features.
    """
    parity_fuzz.check()
