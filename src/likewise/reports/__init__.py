"""Reports: the pages that likewise writes, each from files or results that are there. Nothing is measured here.

A page is one module with a template and a sheet of its own: `comparison` and `survey`. What they share is in `page`. Nothing
below imports a page, and none of this imports torch.
"""
