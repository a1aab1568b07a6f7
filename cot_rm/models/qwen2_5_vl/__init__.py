"""The Qwen2.5-VL family; see models.ModelFamily for the interface."""

from cot_rm.models.qwen2_5_vl.config import PRESETS, Config, VisionConfig, from_hf, to_hf
from cot_rm.models.qwen2_5_vl.hf_keys import HF_KEYS
from cot_rm.models.qwen2_5_vl.model import Model
from cot_rm.models.qwen2_5_vl.processor import Processor

__all__ = ["HF_KEYS", "PRESETS", "Config", "Model", "Processor", "VisionConfig", "from_hf", "to_hf"]
