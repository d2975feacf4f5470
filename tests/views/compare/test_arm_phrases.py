"""What a comparison is, in phrases."""

from dataclasses import replace

from gradcli.comparison.results import ArmInfo
from gradcli.views.compare.arm_phrases import describe_comparison


def arms(*overrides):
    return tuple(ArmInfo(f"adam {one}", "adam", (one,), (0.1,)) for one in overrides)


def test_an_engine_is_named_if_it_is_not_the_usual_one(make_comparison_info):
    info = make_comparison_info()
    assert "2 jobs with 1 thread" in describe_comparison(info)
    assert "2 jobs with 1 thread (serial)" in describe_comparison(replace(info, engine="serial"))


def test_what_the_arms_differ_in_is_left_to_their_names(make_comparison_info):
    info = make_comparison_info()
    clip = f"clip {info.clip}"
    assert clip in describe_comparison(info)
    for words in (("clip=none", "clip=norm"), ("clip.max_norm=1", "clip.max_norm=2")):
        varied = describe_comparison(replace(info, arms=arms(*words)))
        assert not any(phrase.startswith("clip") for phrase in varied)
        assert any("parameters" in phrase for phrase in varied)
    models = describe_comparison(replace(info, arms=arms("model=mlp", "model=cnn")))
    assert clip in models
    assert not any("parameters" in phrase for phrase in models)
