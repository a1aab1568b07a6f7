"""transformers' side of the sampler's benches."""

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
  return out, time.perf_counter() - start
