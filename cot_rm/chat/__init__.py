"""Client of OpenAI-compatible services: bounded concurrency, retries, an answer cache, a budget."""

from cot_rm.chat.budget import Budget, Usage
from cot_rm.chat.client import Client, Endpoint, Sampling
from cot_rm.chat.pictures import Pictures
from cot_rm.chat.replies import BudgetExhausted, Reply, Stopped

__all__ = [
  "Budget",
  "BudgetExhausted",
  "Client",
  "Endpoint",
  "Pictures",
  "Reply",
  "Sampling",
  "Stopped",
  "Usage",
]
