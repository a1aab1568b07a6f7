"""transformers' side of the benches of the sampler and of RL."""

import time

import torch
import transformers


def generate(model, given, *, group, tokens, ends=None):
  """Samples `group` answers of each prompt in one batch, with its cache: (tokens, seconds).

  tokens: what every answer has, or where `ends` is given, a stopping criterion, the most.
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
  return out.clone(), time.perf_counter() - start  # an ordinary tensor, which gradients may pass


def logps(model, question, answers):
  """[G, T]: log-probabilities of a question's answers, by one forward over question and answer."""
  G, T = answers.shape
  again = lambda x: x.repeat(G, *[1] * (x.ndim - 1))
  given = {name: again(x) for name, x in question.items()}
  behind = dict(input_ids=answers, attention_mask=torch.ones_like(answers))
  behind["mm_token_type_ids"] = torch.zeros_like(answers)
  given |= {name: torch.cat([given[name], x], dim=1) for name, x in behind.items()}
  logits = model(**given, logits_to_keep=T + 1, use_cache=False).logits[:, :-1]
  picked = torch.gather(logits, -1, answers[..., None])[..., 0]
  return picked - torch.stack([row.logsumexp(-1) for row in logits])
