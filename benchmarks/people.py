"""Names the subjects of a phantom dataset by the person that each was drawn from.

    python benchmarks/people.py --data DIR --part translator

Subjects of one person differ in shape and disease, and share the gyri. A model that was trained on
a person knows this person better than others, so a training in stages that must not see the same
people takes them from different parts. The people are sorted by the name of their label map. The
first 14 of 20 are ``translator``, the next 5 are ``diffusion``, and the last is ``validation``; the
shares are the same for other numbers of people. The names are printed as a YAML list.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

PARTS = ("translator", "diffusion", "validation")
_ENDS = (0.7, 0.95)  # where the first two parts end, as shares of the people


def subjects_of(table: pd.DataFrame, part: str) -> list[str]:
    """The subjects of a part, from the columns participant_id and anatomy."""
    people = sorted(table["anatomy"].unique())
    count = len(people)
    if count < len(PARTS):
        raise SystemExit(f"--data: holds {count} people; legal: at least {len(PARTS)}")
    second = min(round(_ENDS[1] * count), count - 1)
    ends = (0, min(round(_ENDS[0] * count), second - 1), second, count)
    own = people[ends[PARTS.index(part)] : ends[PARTS.index(part) + 1]]
    return sorted(table[table["anatomy"].isin(own)]["participant_id"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", choices=PARTS, required=True)
    chosen = parser.parse_args()
    table = pd.read_csv(chosen.data / "participants.tsv", sep="\t")
    print("[" + ",".join(f"'{one}'" for one in subjects_of(table, chosen.part)) + "]")


if __name__ == "__main__":
    main()
