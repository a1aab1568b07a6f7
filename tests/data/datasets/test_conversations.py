"""A judge's chats, and chats with a rejected answer, in the formats of those who train on them."""

import dataclasses

import pytest

from cot_rm import prompts
from cot_rm.data import bad_examples
from cot_rm.schema import Example, Media
from tests.published_sets import CHOSEN, QUESTION, REJECTED, encoded, preferred

ASKED = Example(
  "", "", "image_understanding", QUESTION, (Media("image", "a.jpg"),), (CHOSEN, REJECTED)
)
THOUGHT = "<think>Response 1 counts one box.</think><answer>1</answer>"
SCORED = (
  "<think>\n1. Semantic consistency: Image 1 (9/10) - a box; Image 2 (6/10) - none.\n"
  "Total score:\nImage 1: 9=9\nImage 2: 6=6\n</think>\n<answer>Image 1 is better</answer>"
)
PAIR = Example("", "", "image_generation", "a box")


def prompt(example, grammar):
  if example.generation:  # the media do not matter for the text
    kind = example.task.split("_")[0]
    example = dataclasses.replace(example, media=(Media(kind, "a"), Media(kind, "b")))
  return prompts.get(grammar).render(example)[0]["content"][-1]["text"]


def sharegpt(asked, answer):
  return [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]


def openai(asked, answer):
  return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("key, chat", [("conversations", sharegpt), ("messages", openai)])
@pytest.mark.parametrize("mark", ["<image>", "<image>\n"])
@pytest.mark.parametrize("media", [{"image": "a.jpg"}, {"images": ["a.jpg"]}])
def test_llava_ms_swift_and_llama_factory(folder, key, chat, mark, media):
  folder.media("a.jpg")
  (one,) = folder.open([{**media, key: chat(mark + prompt(ASKED, "r1_reward"), THOUGHT)}])
  assert one.question == QUESTION and one.responses == (CHOSEN, REJECTED) and one.gold == 1
  assert one.reasoning == THOUGHT and one.media[0].source.endswith("a.jpg")


def test_unified_reward(folder):
  folder.media("images/0.jpg", "images/1.jpg")
  asked = "<image>\n<image>\n" + prompt(PAIR, "think")
  record = {"conversations": sharegpt(asked, SCORED), "images": ["images/0.jpg", "images/1.jpg"]}
  (one,) = folder.open([record])
  assert (one.task, one.question, one.gold, one.reasoning) == (PAIR.task, "a box", 1, SCORED)
  assert [m.source[-5:] for m in one.media] == ["0.jpg", "1.jpg"]


def test_videos_of_eight_frames_each(folder):
  names = [f"{i}.jpg" for i in range(16)]
  folder.media(*names)
  asked = "<image>\n" * 16 + prompt(dataclasses.replace(PAIR, task="video_generation"), "think")
  answer = SCORED.replace("Image", "Video").replace("Video 1 is", "Video 2 is")
  (one,) = folder.open([{"conversations": sharegpt(asked, answer), "images": names}])
  assert one.task == "video_generation" and one.gold == 2
  assert [m.kind for m in one.media] == ["video", "video"]
  assert [[f[-5:] for f in m.source] for m in one.media] == [
    [f"/{i}.jpg"[-5:] for i in part] for part in (range(8), range(8, 16))
  ]


def test_frames_of_a_question_are_one_video(folder):
  names = [f"{i}.jpg" for i in range(8)]
  folder.media(*names)
  asked = "<image>\n" * 8 + prompt(
    dataclasses.replace(ASKED, task="video_understanding", media=()), "direct"
  )
  answer = "Because. Overall Judgment: Answer 2 is better than Answer 1."
  (one,) = folder.open([{"conversations": sharegpt(asked, answer), "images": names}])
  assert one.task == "video_understanding" and one.gold == 2 and one.reasoning == answer
  assert len(one.media) == 1 and len(one.media[0].source) == 8


def test_videodpo_for_qwen(folder):
  folder.media("winvideos/0.mp4", "losevideos/0.mp4")
  asked = "<video><video>" + prompt(dataclasses.replace(PAIR, task="video_generation"), "think")
  record = {"conversations": sharegpt(asked, "Video 1 is better")}
  (one,) = folder.open([{**record, "videos": ["winvideos/0.mp4", "losevideos/0.mp4"]}])
  assert one.gold == 1 and preferred(one).endswith("winvideos/0.mp4")


def test_llava_critic(folder):
  asked = (
    "<image>\nGiven an image and a corresponding question, please serve as an unbiased judge. "
    f"Question: [{QUESTION}]\nThe first response: [{CHOSEN}]\nThe second response: [{REJECTED}]\n"
    "ASSISTANT:\n"
  )
  image = {"bytes": encoded(), "path": None}
  records = [
    {"id": str(i), "source": "VLFeedback", "image": image, "conversations": sharegpt(asked, answer)}
    for i, answer in enumerate(
      (
        "The first response is right. Therefore, the first response is better.",
        "The first response is better at counting, but overall the second response is better.",
        "Both responses are equally good.",
      )
    )
  ]
  point = f"Question: [{QUESTION}]\nResponse: [{CHOSEN}]\nProvide the rate after 'Final Score:'."
  records.append({**records[0], "conversations": sharegpt("<image>\n" + point, "Final Score: 90")})
  source = folder.open(records, "train-00000-of-00001.parquet")
  assert [(e.gold, e.reasoning) for e in source] == [(1, None), (2, None)]
  assert source[0].extra["answer"] == records[0]["conversations"][1]["value"]
  assert source[0].source == "VLFeedback" and source[0].responses == (CHOSEN, REJECTED)
  assert source.counts.left_out == {"tie": 1, "pointwise: one candidate is scored": 1}
  kept = folder.open(records, "train-00000-of-00001.parquet", ties="keep")
  assert [(e.gold, e.tie) for e in kept] == [(1, False), (2, False), (None, True)]


def test_an_answer_that_contradicts_the_solution_is_left_out(folder):
  folder.media("a.jpg")
  record = {"image": "a.jpg", "conversations": sharegpt(prompt(ASKED, "r1_reward"), THOUGHT)}
  source = folder.open([{**record, "solution": "2"}, {**record, "solution": "1"}])
  assert len(source) == 1
  assert source.counts.left_out == {"the answer's verdict is not the record's solution": 1}


def test_llama_factory_preferences(folder):
  folder.media("a.jpg")
  record = {
    "conversations": [{"from": "human", "value": f"<image>{QUESTION}"}],
    "chosen": {"from": "gpt", "value": CHOSEN},
    "rejected": {"from": "gpt", "value": REJECTED},
    "images": ["a.jpg"],
  }
  (one,) = folder.open([record])
  assert (one.question, preferred(one)) == (QUESTION, CHOSEN)
  assert set(one.responses) == {CHOSEN, REJECTED}


@pytest.mark.parametrize(
  "rejected",
  [
    {"rejected_response": REJECTED},
    {"rejected_messages": openai(f"<image>{QUESTION}", REJECTED)},
  ],
)
def test_ms_swift_preferences(folder, rejected):
  folder.media("a.jpg")
  record = {"messages": openai(f"<image>{QUESTION}", CHOSEN), "images": ["a.jpg"], **rejected}
  (one,) = folder.open([record])
  assert (one.question, preferred(one), len(one.media)) == (QUESTION, CHOSEN, 1)
  assert set(one.responses) == {CHOSEN, REJECTED}


def test_ms_swift_rejected_pictures(folder):
  folder.media("a.jpg", "b.jpg")
  record = {"messages": openai("Draw a box", "<image>"), "images": ["a.jpg"]}
  (one,) = folder.open([{**record, "rejected_images": ["b.jpg"]}])
  assert one.task == "image_generation" and preferred(one).endswith("a.jpg")


@pytest.mark.parametrize(
  "record, message",
  [
    (
      {"conversations": sharegpt("How are you?", "Fine.")},
      "a prompt that no grammar renders: 'How",
    ),
    ({"conversations": sharegpt(prompt(PAIR, "think"), SCORED)}, "compares two images; found 0"),
    ({"messages": [{"role": "user", "content": 5}]}, "its content must be text"),
  ],
)
def test_chats_that_are_no_comparison_are_bad_records(folder, record, message):
  with pytest.raises(bad_examples.TooManyBad, match=f"train.json, record 0.*{message}"):
    folder.open([record])


def test_rejected_conversations(folder):
  folder.media("images/a.jpg")
  chat = lambda answer: [
    {"from": "human", "value": f"<image>\n{QUESTION}"},
    {"from": "gpt", "value": answer},
  ]
  record = {"id": "1", "image": "a.jpg", "conversations": chat(CHOSEN)}
  (one,) = folder.open([{**record, "rejected_conversations": chat(REJECTED)}])
  assert one.question == QUESTION and preferred(one) == CHOSEN
  assert set(one.responses) == {CHOSEN, REJECTED}


def test_a_chat_that_is_null_is_named_by_its_field(folder):
  for name in ("conversations", "messages"):
    with pytest.raises(bad_examples.TooManyBad, match=f"record 0: field '{name}' must be a list"):
      folder.open([{name: None, "image": "a.jpg"}], layout="llava")
