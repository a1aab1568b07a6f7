"""Chosen and rejected answers, pictures and videos."""

import pytest

from cot_rm.data.datasets import chosen_rejected
from cot_rm.schema import BadRecord
from tests.published_sets import CHOSEN, QUESTION, REJECTED, preferred

ANSWERS = {"chosen": CHOSEN, "rejected": REJECTED}


def test_mm_rlhf_has_pictures_and_folders_of_frames(folder, tmp_path):
  folder.media("short/1.jpg", "video/clip/0.jpg")
  records = [
    {"id": "1_2", "image": "short/1.jpg", "prompt": f"<image>\n{QUESTION}", **ANSWERS},
    {"id": "v", "video": "video/clip", "prompt": QUESTION, **ANSWERS},
  ]
  records[0] |= {"chosen_score": 4, "rejected_score": 2}
  picture, video = folder.open(records, "dpo_pairs.jsonl")
  assert picture.task == "image_understanding" and video.task == "video_understanding"
  assert picture.question == video.question == QUESTION and picture.id == "1_2"
  assert picture.media[0].source == str(tmp_path / "short/1.jpg")
  assert video.media[0].source == str(tmp_path / "video/clip")
  assert preferred(picture) == preferred(video) == CHOSEN
  assert picture.extra == {"chosen_score": 4, "rejected_score": 2}
  assert picture.source == "chosen_rejected"


@pytest.mark.parametrize("name", ["clip", "clip.mp4"])
def test_a_video_may_be_named_without_its_suffix_or_be_its_frames(folder, name):
  folder.media("frames/clip/0.jpg")
  (one,) = folder.open([{"id": "a", "video": name, "prompt": QUESTION, **ANSWERS}])
  assert one.media[0].source.endswith("frames/clip") and one.media[0].kind == "video"


@pytest.mark.parametrize("question", ["prompt", "question", "query", "instruction"])
def test_the_question_has_several_names(folder, question):
  folder.media("images/0.jpg")
  (one,) = folder.open([{"image": "0.jpg", question: QUESTION, **ANSWERS}])
  assert one.question == QUESTION and preferred(one) == CHOSEN


def test_the_format_of_earlier_ms_swift(folder):
  record = {"query": QUESTION, "response": CHOSEN, "rejected_response": REJECTED}
  (one,) = folder.open([record])
  assert (one.question, preferred(one)) == (QUESTION, CHOSEN) and len(set(one.responses)) == 2


def test_several_pictures_are_shown_in_order(folder):
  folder.media("a.jpg", "b.jpg")
  record = {"images": ["b.jpg", "a.jpg"], "prompt": f"<image>and <image>: {QUESTION}", **ANSWERS}
  (one,) = folder.open([record])
  assert [m.source[-5:] for m in one.media] == ["b.jpg", "a.jpg"]
  assert one.question == f"and : {QUESTION}"


def test_half_of_the_better_answers_are_shown_first_and_the_seed_decides_which(folder):
  records = [{"id": str(i), "prompt": QUESTION, **ANSWERS} for i in range(200)]
  golds = [e.gold for e in folder.open(records)]
  assert 75 < golds.count(1) < 125
  assert golds == [e.gold for e in folder.open(records[::-1])][::-1]
  assert golds != [e.gold for e in folder.open(records, seed=1)]


def test_videos_and_pictures_are_candidates_of_generation(folder):
  folder.media("win.mp4", "lose.mp4")
  records = [{"id": "1", "caption": "a box", "chosen": "win.mp4", "rejected": "lose.mp4"}]
  (one,) = folder.open(records)
  assert one.task == "video_generation" and one.question == "a box" and not one.responses
  assert preferred(one).endswith("win.mp4")
  image = lambda data: {"bytes": data, "path": None}
  records = [{"prompt": "a box", "chosen": image(b"win"), "rejected": image(b"lose")}]
  (one,) = folder.open(records, "train.parquet")
  assert one.task == "image_generation" and preferred(one) == b"win"


def test_an_input_belongs_to_the_instruction(make_row):
  row = make_row({"instruction": "Count.", "input": "Red boxes", **ANSWERS})
  assert next(chosen_rejected.pairs(row)).question == "Count.\nRed boxes"


def test_a_mark_without_a_picture_is_a_bad_record(folder):
  for images in ({"image": None}, {"images": [None]}, {}):
    with pytest.raises(ValueError, match="has the mark <image>, and the record names no picture"):
      folder.open([{"prompt": f"<image>{QUESTION}", **ANSWERS, **images}])


def test_fields_of_media_that_are_empty_are_passed_over(folder):
  folder.media("a.jpg")
  for images in (None, [], "", [None], [""]):
    (one,) = folder.open([{"images": images, "image": "a.jpg", "prompt": QUESTION, **ANSWERS}])
    assert len(one.media) == 1


@pytest.mark.parametrize("text", ["['a.jpg', 'b.jpg']", '["a.jpg", "b.jpg"]'])
def test_a_list_of_pictures_may_be_text(folder, text):
  folder.media("a.jpg", "b.jpg")
  (one,) = folder.open([{"images": text, "prompt": QUESTION, **ANSWERS}])
  assert [m.source[-5:] for m in one.media] == ["a.jpg", "b.jpg"]


def test_a_question_may_be_in_the_second_field_or_the_field_input(folder):
  for fields in ({"prompt": "", "question": QUESTION}, {"input": QUESTION}):
    (one,) = folder.open([{**fields, **ANSWERS}])
    assert one.question == QUESTION


def test_answers_that_differ_by_white_space_alone_are_the_same(folder):
  with pytest.raises(ValueError, match="both candidates are the same"):
    folder.open([{"prompt": QUESTION, "chosen": "one", "rejected": " one\n"}])


def test_a_picture_that_is_missing_among_others_is_a_bad_record(folder):
  for images in (["a.jpg", None], ["", "a.jpg"]):
    with pytest.raises(ValueError, match="record 0, field 'images': must be a picture's path"):
      folder.open([{"images": images, "prompt": QUESTION, **ANSWERS}])


def test_a_history_is_part_of_the_question(make_row):
  history = [["Is it red?", "Yes."], ["And a box?", "Yes."]]
  for given in (history, str(history)):
    row = make_row({"query": QUESTION, "response": "a", "rejected_response": "b", "history": given})
    (one,) = chosen_rejected.pairs(row)
    before = "User: Is it red?\n\nAssistant: Yes.\n\nUser: And a box?\n\nAssistant: Yes."
    assert one.question == f"{before}\n\nUser: {QUESTION}"
  (one,) = chosen_rejected.pairs(make_row({"query": QUESTION, "history": [], **ANSWERS}))
  assert one.question == QUESTION
  for wrong in ([["Is it red?"]], ["Is it red?"], [["?", None]]):
    with pytest.raises(BadRecord, match="record 3: field 'history' must have pairs"):
      [*chosen_rejected.pairs(make_row({"query": QUESTION, "history": wrong, **ANSWERS}))]
