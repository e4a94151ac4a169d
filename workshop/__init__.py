"""How the bundled pocket model is made.

Every step is one resumable command, ``python -m workshop.NAME``; the order is in README.md.
"""
