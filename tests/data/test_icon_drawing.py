"""Tables of icons are drawn alike by any number of workers, and failures are counted."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from whyrobust.data.dataset_checks import check_failure_share
from whyrobust.data.icon_drawing import DRAWN_AS, draw_icons
from whyrobust.data.icon_poses import pose_on_background
from whyrobust.data.svg import draw_svg
from whyrobust.study.dataset_settings import POSES

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body: str, view: str = "0 0 20 20") -> str:
    return f'{HEAD} viewBox="{view}">{body}</svg>'


HOUSE = svg('<path d="M2 10 L10 2 L18 10 V18 H2 Z" fill="currentColor"/>')


COIN = svg('<circle cx="10" cy="10" r="8" fill="#ff0"/>')


def drawings() -> pd.DataFrame:
    rows = [(f"s:{i}", svg(f'<circle cx="10" cy="10" r="{1 + i % 9}"/>')) for i in range(600)]
    rows[7] = ("s:blank", svg(""))
    rows[300] = ("s:broken", "<svg")
    return pd.DataFrame(rows, columns=["uid", "svg"])


def test_every_pose_of_the_config_is_drawn():
    assert DRAWN_AS.keys() == POSES.keys()


@pytest.mark.parametrize("pose", DRAWN_AS)
def test_the_number_of_workers_does_not_change_the_images(pose):
    table = drawings().head(600 if pose == "plain" else 310)
    one = draw_icons(table, 8, pose, seed=3, workers=1)
    two = draw_icons(table, 8, pose, seed=3, workers=2)
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])
    pd.testing.assert_frame_equal(one[2], two[2])
    assert list(one[2]["uid"]) == ["s:blank", "s:broken"]
    assert one[0] == [uid for uid in table["uid"] if uid not in ("s:blank", "s:broken")]
    draw = draw_svg if pose == "plain" else lambda document, size: pose_on_background(document, size, "s:9", 3)
    np.testing.assert_array_equal(one[1][one[0].index("s:9")], draw(table["svg"][9], 8))


def test_a_table_that_is_not_right_is_refused():
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        draw_icons(pd.DataFrame({"uid": ["a", "a"], "svg": [HOUSE, COIN]}), 8)
    with pytest.raises(ValueError, match="svg"):
        draw_icons(pd.DataFrame({"uid": ["a"]}), 8)
    with pytest.raises(ValueError, match="workers"):
        draw_icons(drawings(), 8, workers=0)
    with pytest.raises(ValueError, match="pose"):
        draw_icons(drawings(), 8, pose="turned")
    with pytest.raises(ValueError, match="0 pixels"):
        draw_icons(drawings(), 0)


def test_processes_that_draw_start_without_numpy():
    command = [sys.executable, "-c", "import sys, whyrobust.data.icon_drawing; print('numpy' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_no_drawings_give_no_images():
    uids, pixels, failures = draw_icons(drawings().head(0), 8)
    assert uids == []
    assert pixels.shape == (0, 8, 8, 3)
    assert list(failures.columns) == ["uid", "reason"]


def test_failures_above_the_allowed_share_stop_the_study():
    failures = pd.DataFrame({"uid": ["a", "b"], "reason": ["blank", "blank"]})
    check_failure_share(failures, 200)
    with pytest.raises(ValueError, match="blank"):
        check_failure_share(failures, 199)
    check_failure_share(failures, 4, allowed_share=0.5)
    with pytest.raises(ValueError, match="no image"):
        check_failure_share(failures.head(0), 0)
