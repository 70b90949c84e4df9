"""Datasets: found, joined, exported, generated."""
