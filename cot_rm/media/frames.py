"""Which frames of a video the model sees."""

import numpy as np

MIN_FRAMES = 4  # Qwen's rule: a video is never thinned below this


def sample_frames(
  count: int, source_fps: float | None, *, fps: float, max_frames: int, multiple: int
) -> tuple[list[int], float]:
  """Chooses the frames of a video that the model sees: at most `fps` per second and `max_frames`.

  All frames are kept if that satisfies both limits. Otherwise as many as the limits allow are kept,
  evenly spaced from the first to the last; their number is a multiple of `multiple`, and `fps` does
  not lower it below MIN_FRAMES (Qwen's rule).
  Source: qwen_vl_utils.vision_process.smart_nframes.

  Args:
    count: number of frames of the video.
    source_fps: frames per second of the video; None: unknown, taken to be `fps`.
    fps: largest number of frames per second that is kept.
    max_frames: largest number of frames that is kept.
    multiple: frames of a patch, the model's temporal patch size.

  Returns:
    (indices of the frames from 0, frames per second of the frames kept).

  Raises ValueError if max_frames is less than `multiple`.
  """
  source_fps = source_fps or fps
  most = max_frames // multiple * multiple
  if most < multiple:
    raise ValueError(
      f"max_frames is {max_frames} (config.processor.max_frames), less than the {multiple} frames "
      f"of a patch; raise it"
    )
  wanted = max(count / source_fps * fps, MIN_FRAMES)
  if wanted >= count and count <= most:
    return list(range(count)), source_fps
  number = int(min(wanted, most, count)) // multiple * multiple
  # Ties go to the even frame, as torch.round does.
  return np.linspace(0, count - 1, number).round().astype(int).tolist(), number / count * source_fps
