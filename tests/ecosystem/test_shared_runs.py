from gradcli import load_run
from gradcli.runs import find_any


def test_there_are_a_run_and_a_comparison(runs_dir_with_runs):
    run = find_any("one", runs_dir_with_runs)
    assert load_run(run.path).status == "finished"
    assert len(find_any("arms", runs_dir_with_runs).trials()) == 4
