"""Encoded prompts: how patches that are bytes become the model's numbers."""

import numpy as np

from cot_rm.batch import Encoded


def encoded(patches_PC, pixel_values):
  P = len(patches_PC)
  tokens, zeros = np.zeros(1, np.int32), np.zeros(P, np.int32)
  hw, positions = np.zeros((P, 2), np.int32), np.zeros((1, 3), np.int32)
  return Encoded(
    id="a",
    tokens=tokens,
    positions=positions,
    visual=tokens - 1,
    next_position=1,
    patches_per_token=4,
    patches=patches_PC,
    hw=hw,
    windows=zeros + 1,
    frames=zeros + 1,
    pixel_values=pixel_values,
  )


def test_each_channel_of_a_patch_is_looked_up_in_its_own_table():
  tables_KI = np.stack([np.arange(256), np.arange(256) * -2]).astype(np.float32)
  patches_PC = np.array([[1, 2, 3, 4], [255, 0, 0, 255]], np.uint8)  # two pixels of two channels
  out_PC = np.zeros((2, 4), np.float32)
  encoded(patches_PC, tables_KI).write_pixels(out_PC)
  np.testing.assert_array_equal(out_PC, [[1, 2, -6, -8], [255, 0, 0, -510]])


def test_patches_that_are_numbers_already_are_copied():
  patches_PC = np.array([[0.5, -1.0]], np.float32)
  out_PC = np.zeros((1, 2), np.float32)
  encoded(patches_PC, None).write_pixels(out_PC)
  np.testing.assert_array_equal(out_PC, patches_PC)


def test_a_prompt_without_pictures_writes_nothing():
  tables_KI = np.zeros((3, 256), np.float32)
  encoded(np.zeros((0, 12), np.uint8), tables_KI).write_pixels(np.zeros((0, 12), np.float32))


def test_the_first_tokens_of_an_answer_follow_the_prompt_as_text():
  prompt = encoded(np.zeros((2, 4), np.uint8), None)
  longer = prompt.extended([7, 8, 9])
  assert longer.tokens.tolist() == [0, 7, 8, 9] and longer.tokens.dtype == np.int32
  assert longer.positions.tolist() == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]
  assert longer.positions.dtype == np.int32
  assert longer.visual.tolist() == [-1] * 4 and longer.next_position == 4
  assert longer.patches is prompt.patches and prompt.tokens.tolist() == [0]
