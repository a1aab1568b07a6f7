"""Asks any OpenAI-compatible service: bounded, retried, kept in a cache, within a budget."""

from cot_rm.chat.budget import Budget, Spent
from cot_rm.chat.client import Client, Endpoint, Sampling
from cot_rm.chat.pictures import Pictures
from cot_rm.chat.replies import BudgetSpent, Reply, Stopped

__all__ = [
  "Budget",
  "BudgetSpent",
  "Client",
  "Endpoint",
  "Pictures",
  "Reply",
  "Sampling",
  "Spent",
  "Stopped",
]
