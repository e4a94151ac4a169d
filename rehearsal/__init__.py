"""A site to rehearse on: a generated catalogue whose truth is known, and a local server that speaks the API.

Nothing here is about the real site's numbers; they are invented so that every trap of the survey is in them.
"""
