"""Factors: how a change of a weight is kept in parts, what it comes to, and the nearest change of low rank."""
