"""Measures the critic alone: the precedent critic's answers on ever larger stores of decisions, and what a Claude draft uses with and without a cache."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic import command
from pydantic import SecretStr

from bench.figures import Figure
from bench.loop import NAME, Loop, Tell, taken_in
from rubric.catalogue import Catalogue, load
from rubric.precedents import answer
from service.db import Database
from service.migrate import config_for
from service.stages import critic
from service.store import cases, examples, hints
