from hybrid.core.jobs.gil_evidence import ENOUGH, GilEvidence


def feed(evidence, jobs, late, moments=ENOUGH, computed=0.0, queued=0.0):
    return [evidence.moment(set(jobs), late, computed, queued) for _ in range(moments)]


def test_a_job_that_makes_the_loop_wait_is_found_once():
    evidence = GilEvidence()

    found = feed(evidence, {"m:f"}, 0.005, 3 * ENOUGH)

    assert [name for name in found if name] == ["m:f"]
    assert round(evidence.waited("m:f"), 4) == 0.005


def test_a_punctual_loop_accuses_nobody():
    assert feed(GilEvidence(), {"m:f"}, 0.0005, 100) == [None] * 100


def test_a_loop_that_computes_itself_is_its_own_fault():
    assert feed(GilEvidence(), {"m:f"}, 0.050, 100, computed=0.049) == [None] * 100


def test_a_machine_without_a_free_cpu_is_nobodys_fault():
    assert feed(GilEvidence(), {"m:f"}, 0.050, 100, queued=0.049) == [None] * 100


def test_with_two_kinds_of_job_there_is_no_evidence_against_either():
    assert feed(GilEvidence(), {"m:f", "m:g"}, 0.050, 100) == [None] * 100


def test_a_few_slow_moments_are_not_enough():
    evidence = GilEvidence()
    for k in range(100):
        assert evidence.moment({"m:f"}, 0.02 if k % 3 == 0 else 0.0, 0.0, 0.0) is None
