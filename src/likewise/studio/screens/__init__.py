"""Screens: one module each, with its template and its script of the same name. A module has `routes(studio)`."""
