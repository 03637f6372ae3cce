"""Measures the critic alone: the precedent critic's answers on ever larger stores of decisions, and what a Claude draft uses with and without a cache."""
