"""The shares of a cohort, by the option and by the variables of SLURM."""

from pathlib import Path

import pytest

from chiasm.cohort.shard import Shard, shard_of
from chiasm.errors import UsageError


def test_the_shares_hold_every_case_once():
    cases = list(range(23))
    shares = [Shard(number, 5).of(cases) for number in range(1, 6)]
    assert sorted(case for share in shares for case in share) == cases
    assert {len(share) for share in shares} == {4, 5}


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (None, {}, Shard()),
        ("2/8", {}, Shard(2, 8)),
        ("2/8", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "6"}, Shard(2, 8)),
        (None, {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, Shard(1, 4)),
        (
            None,
            {
                "SLURM_ARRAY_TASK_ID": "12",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "10",
            },
            Shard(3, 4),
        ),
    ],
)
def test_the_share_of_a_job(words, environment, expected):
    assert shard_of(words, environment) == expected


@pytest.mark.parametrize("words", ["0/8", "9/8", "2", "2/0", "a/b", "-1/8", "1/8/2", ""])
def test_what_is_no_share_is_refused(words):
    with pytest.raises(UsageError, match="is not a share; legal: NUMBER/COUNT"):
        shard_of(words, {})


def test_tasks_that_are_not_consecutive_are_refused():
    job = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}
    with pytest.raises(UsageError, match="SLURM_ARRAY_TASK_ID 8/2: is not a share"):
        shard_of(None, job)


def test_every_share_has_a_report_of_its_own():
    path = Path("a/report.json")
    assert Shard(2, 8).named(path) == Path("a/report_shard-2of8.json")
    assert Shard().named(path) == path
