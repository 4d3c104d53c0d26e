"""Records that are stored or sent: cases, traces, noise floors, verdicts, runs."""
