"""Which frames of a video the model sees."""

import pytest

from cot_rm import media, schema


@pytest.mark.parametrize(
  "count, rate, fps, most, numbers, got_fps",
  [
    (5, None, 2, 768, [0, 1, 2, 3, 4], 2),  # already sampled: all of them, odd or not
    (5, 2, 2, 768, [0, 1, 2, 3, 4], 2),
    (5, 1, 2, 768, [0, 1, 2, 3, 4], 1),  # sparser than asked
    (1, None, 2, 768, [0], 2),
    (60, 30, 2, 768, [0, 20, 39, 59], 2),
    (30, 30, 2, 768, [0, 10, 19, 29], 4),  # one second: no fewer than four
    (300, 30, 2, 7, [0, 60, 120, 179, 239, 299], 0.6),  # capped, and even
    (3, 30, 2, 768, [0, 1, 2], 30),
  ],
)
def test_frames_are_thinned_by_qwens_rule(count, rate, fps, most, numbers, got_fps):
  got = media.sample_frames(count, rate, fps=fps, max_frames=most, multiple=2)
  assert got[0] == numbers
  assert got[1] == pytest.approx(got_fps)


def test_too_few_frames_to_fill_a_patch_is_an_error():
  with pytest.raises(ValueError, match="max_frames is 1 .*, less than the 2 frames"):
    media.sample_frames(5, 2, fps=2, max_frames=1, multiple=2)


def a_file(count, fps=10.0):
  return media.Video(count, fps, True, list, lambda numbers: {(56, 56)})


def chosen(video, mode="qwen_vl_utils", **fields):
  rules = media.VideoRules(mode)
  return media.sampled_frames(
    video, fields, rules=rules, fps=2.0, max_frames=768, multiple=2, name="example 'a'"
  )


def test_a_file_is_sampled_at_the_rate_of_its_part():
  assert chosen(a_file(100)) == (chosen(a_file(100), nframes=20)[0], 2.0)
  assert len(chosen(a_file(100), fps=1)[0]) == 10
  assert chosen(a_file(100), video_start=5.0, nframes=2) == ([50, 99], 0.4)


def test_given_frames_are_all_shown_and_what_has_no_effect_is_said(caplog):
  given = media.Video(5, 8.0, False, list, lambda numbers: {(56, 56)})
  with caplog.at_level("WARNING"):
    assert chosen(given, nframes=2) == ([0, 1, 2, 3, 4], 8.0)
  assert "nframes has no effect" in caplog.text
  assert chosen(media.Video(1, None, False, list, None)) == ([0], 2.0)  # of unknown rate


@pytest.mark.parametrize(
  "fields, words",
  [
    ({"nframes": 1}, "100 frames 0 are to be shown .nframes 1.: 2 to 100"),
    ({"nframes": 201}, "200 are to be shown"),
    ({"video_start": 9.99}, "leave no two frames of a video of 10 seconds"),
    ({"fps": 2, "nframes": 4}, "both fps and nframes"),
  ],
)
def test_frames_that_are_not_there_name_the_sample_and_the_number(fields, words):
  with pytest.raises(schema.BadMedia, match=f"^example 'a': .*{words}"):
    chosen(a_file(100), **fields)


def test_a_file_of_one_frame_says_what_to_do():
  with pytest.raises(schema.BadMedia, match="of 1 frame; 2 are needed .* give it as a picture"):
    chosen(a_file(1))


@pytest.mark.parametrize(
  "field, words",
  [
    (dict(mode="qwen"), "mode is 'qwen'; .*known: qwen_vl_utils"),
    (dict(min_frames=0), "min_frames is 0"),
    (dict(min_pixels=9, max_pixels=8), "min_pixels 9 > max_pixels 8"),
  ],
)
def test_rules_out_of_range_name_the_knob(field, words):
  with pytest.raises(ValueError, match=f"config.processor.video.*{words}"):
    media.VideoRules(**field)
