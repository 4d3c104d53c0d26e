"""The policy of the gate, and its numbers. Imports nothing, because the command line shows it in its help."""

from __future__ import annotations

DEFAULT_FACTOR = 2.0
"""A distance that grows or shrinks beyond this factor is another size."""
LEAST_MARGIN = 0.1
"""The fraction of a limit below which the growth of a distance is no remark."""
POLICY = """\
A run fails if
- a comparison differs although it agrees in the baseline, unless a known issue lists the difference;
- a difference is at another stage, has another cause, is in another module, or grew beyond the factor;
- a comparison or a stage that the baseline has was not compared, or is missing;
- a comparison without a counterpart in the baseline fails: an added or edited case, another
  checkpoint, or one that was not compared there;
- the run is incomplete, or a record of it is unreadable;
- the baseline holds no comparison.
It is warned of
- margins that grew beyond the factor, to a tenth of the limit or more;
- another medium for which the engine reserves its encoder budget;
- new differences that a known issue lists, and differences that none lists any more;
- comparisons that failed without a result in both runs, such as by a crash;
- comparisons that were run again, because the first attempt crashed, hung or ran out of memory;
- differences that came and went in the baseline, and do not in the run;
- a baseline that is incomplete or has unreadable records.
"""
