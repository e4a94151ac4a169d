"""Statistics: distributions, intervals and tests that comparisons and the survey share. No torch.

`distributions` has quantiles and tails, `crossed` intervals over replicates and prompts, `multiplicity` keeps many tests at
once honest, `equivalence` reads an interval against a margin, `pairs` compares all conditions, `simulation` tests all that,
`preference` reads votes.
"""
