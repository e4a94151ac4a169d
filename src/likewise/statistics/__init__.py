"""Statistics: distributions, intervals and tests that comparisons and the survey share. No torch.

`distributions` has quantiles and tails, `multiplicity` keeps many tests at once honest, `preference` reads votes.
"""
