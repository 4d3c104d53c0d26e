"""The report of a run: pages for readers, ``report.json`` for programs, a summary for terminals."""
