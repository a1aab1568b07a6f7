"""EvalMuse."""

from tests.published_sets import preferred


def records(*scores):
  return [
    {
      "prompt_id": 7,
      "prompt": "a box",
      "img_path": f"{i}.jpg",
      "total_score": score,
      "type": "real",
    }
    for i, score in enumerate(scores)
  ]


def test_pictures_of_a_prompt_are_compared_by_their_mean_scores(folder):
  folder.media("images/0.jpg", "images/1.jpg", "images/2.jpg")
  every = folder.open(records([1, 2, 3], [4, 4], [2]), "train_list.json")
  assert [e.id for e in every] == ["7-0-1", "7-1-2"] and every.counts.left_out == {"tie": 1}
  assert all(preferred(e).endswith("1.jpg") for e in every)
  (one,) = folder.open(records([1, 2, 3], [4, 4], [1]), "train_list.json", pairs="best_worst")
  assert {m.source[-5:] for m in one.media} == {"1.jpg", "2.jpg"} and preferred(one)[-5:] == "1.jpg"


def test_scores_may_be_text_and_one_picture_is_no_pair(folder):
  folder.media("0.jpg", "1.jpg")
  (one,) = folder.open(records("[1, 2]", "[3]"))
  assert preferred(one).endswith("1.jpg")
  alone = {**records([1])[0], "prompt_id": "8"}
  source = folder.open([*records([1], [2]), alone])
  assert len(source) == 1 and source.counts.left_out == {"one picture of its prompt": 1}
