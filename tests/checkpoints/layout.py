"""Where the weights of the checkpoints under test are: the rules of a mesh."""

RULES = {
  "embed": "fsdp",
  "vocab": "tensor",
  "heads": "tensor",
  "kv_heads": "tensor",
  "mlp": "tensor",
}
