"""Naming: what one and the same layer is called in everybody's files, by tables and rules alone.

Canonical are diffusers' dotted paths below `backbone.`, `vae.`, `text.`, `text_2.` and `text_3.`. Nothing here reads a file
or asks a live module: libraries rename their modules, and files outlive that.
"""
