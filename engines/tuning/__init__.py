"""Sweeps: many trainings to find better parameters."""
