"""Races against other programs' trainers, whose code is read from a checkout of theirs and kept nowhere here."""
