"""The transformers side of the sampler and RL benches."""

import time

import torch
import transformers

Inputs = dict[str, torch.Tensor]


def generate(
  model: transformers.PreTrainedModel,
  given: Inputs,
  *,
  group: int,
  tokens: int,
  ends: transformers.StoppingCriteria | None = None,
) -> tuple[torch.Tensor, float]:
  """Samples `group` answers per prompt in one batch with a KV cache: (token ids, seconds).

  Args:
    model: of transformers.
    given: model inputs of all prompts, padded on the left.
    group: answers per prompt.
    tokens: of every answer; with `ends` the maximum.
    ends: stopping criterion.
  """
  how = transformers.GenerationConfig(
    do_sample=True,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    num_return_sequences=group,
    max_new_tokens=tokens,
    pad_token_id=0,
    eos_token_id=None,
    use_cache=True,
  )
  model.generation_config = how
  start = time.perf_counter()
  with torch.inference_mode():
    out = model.generate(**given, generation_config=how, stopping_criteria=[ends] if ends else None)
  return out.clone(), time.perf_counter() - start  # an inference tensor would refuse gradients


def logps(
  model: transformers.PreTrainedModel, question: Inputs, answers: torch.Tensor
) -> torch.Tensor:
  """[G, T]: log-probabilities of a question's answers, by one forward over question and answer.

  Args:
    model: of transformers.
    question: model inputs of one prompt.
    answers: token ids [G, T].
  """
  G, T = answers.shape
  given = {name: x.repeat(G, *[1] * (x.ndim - 1)) for name, x in question.items()}
  behind = dict(input_ids=answers, attention_mask=torch.ones_like(answers))
  behind["mm_token_type_ids"] = torch.zeros_like(answers)
  given |= {name: torch.cat([given[name], x], dim=1) for name, x in behind.items()}
  logits = model(**given, logits_to_keep=T + 1, use_cache=False).logits[:, :-1]
  picked = torch.gather(logits, -1, answers[..., None])[..., 0]
  return picked - torch.stack([row.logsumexp(-1) for row in logits])
