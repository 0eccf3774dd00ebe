"""Analysis of a config or a program before it is run: plans of memory and time, FLOPs, HLO."""
