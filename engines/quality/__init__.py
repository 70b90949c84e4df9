"""Evaluations and conditions on their figures."""
