"""What nobody thought of: conversations drawn by Hypothesis, through the engines' front ends.

``parity run cases/test_fuzz.py --fuzz``; ``--help`` tells of profiles and limits.
"""

import pytest

from vlm_parity.pytest_plugin.fuzz_fixture import FuzzFixture

pytestmark = pytest.mark.parity_fuzz


def test_fuzz(parity_fuzz: FuzzFixture) -> None:
    """Ids, spans, media and positions are the reference's; what it refuses is refused, in clear words; the
    same question has the same answer; spans are disjoint, in order, inside, and as long as the features.
    """
    parity_fuzz.check()
