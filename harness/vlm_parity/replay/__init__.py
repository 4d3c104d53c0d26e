"""Historic bugs, each with the releases that show it and those that do not: what the harness has to see."""
