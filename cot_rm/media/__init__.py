"""Opens pictures and videos from every kind of source; errors name the sample."""

from cot_rm.media.frames import CHOICES, VideoRules, frame_range, sample_frames, sampled_frames
from cot_rm.media.options import DEFAULT, Options
from cot_rm.media.parts import Part, Turn, turns
from cot_rm.media.pictures import (
  ORIENTATION,
  background,
  encoded_picture,
  picture,
  picture_size,
  thumbnail_url,
)
from cot_rm.media.sources import (
  decode_base64,
  decode_data_url,
  exists,
  fetched,
  is_path,
  is_url,
  local_path,
  picture_of_base64,
  unwrapped,
)
from cot_rm.media.videos import (
  PICTURE_SUFFIXES,
  Blank,
  Video,
  encoded_frames,
  frame_files,
  frame_sources,
  video,
  video_bytes,
)

__all__ = [
  "Blank",
  "CHOICES",
  "DEFAULT",
  "ORIENTATION",
  "Options",
  "PICTURE_SUFFIXES",
  "Part",
  "Turn",
  "Video",
  "VideoRules",
  "background",
  "decode_base64",
  "decode_data_url",
  "encoded_frames",
  "encoded_picture",
  "exists",
  "fetched",
  "frame_files",
  "frame_range",
  "frame_sources",
  "is_path",
  "is_url",
  "local_path",
  "picture",
  "picture_of_base64",
  "picture_size",
  "sample_frames",
  "sampled_frames",
  "thumbnail_url",
  "turns",
  "unwrapped",
  "video",
  "video_bytes",
]
