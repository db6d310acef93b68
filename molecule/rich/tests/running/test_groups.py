"""A rich inventory at work: groups move as one and take their routes along, weights move an owner, a reload is live."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

FRONT, BACK = ("FRONT_4", "FRONT_6"), ("BACK_4", "BACK_6")
SIDE = ("SIDE_4",)
OWNED = {"router1": FRONT, "router2": BACK, "router3": SIDE}
Until = Callable[..., Any]
Laid = Callable[[Any], set[str]]
Wanted = Callable[..., set[str]]


def owned(cluster: Any, until: Until, group: tuple[str, ...], name: str, among: list[Any] | None = None) -> None:
    """This router comes to own every instance of the group, by state and by address, and alone."""
    nodes = cluster.except_for() if among is None else among

    def look() -> dict[str, tuple[list[str], list[str]]]:
        return {
            instance: (cluster.owners_by_state(instance, nodes), cluster.owners_by_address(instance, nodes))
            for instance in group
        }

    wanted = dict.fromkeys(group, ([name], [name]))
    assert until(look, lambda seen: seen == wanted, 10) == wanted


@pytest.fixture(autouse=True)
def mended(cluster: Any, until: Until) -> Iterator[None]:
    """Every test starts, and leaves the cluster, with the owners that the inventory prefers."""
    yield
    for node in cluster.routers.values():
        node.run("rm -f /run/broken /run/no-gateway; echo 0 > /run/load")
    owned(cluster, until, FRONT, "router1")
    owned(cluster, until, BACK, "router2")


def test_each_group_has_the_owner_that_its_turn_gives_it(
    cluster: Any, until: Until, laid: Laid, wanted: Wanted
) -> None:
    owned(cluster, until, SIDE, "router3")
    for name, instances in OWNED.items():
        assert laid(cluster.routers[name]) == wanted(*instances), name
    for node in cluster.routers.values():
        assert node.run("journalctl -u vrrpd -p err -q --no-pager") == ""


def test_a_group_s_script_that_fails_moves_the_group_with_what_it_has(
    cluster: Any, until: Until, laid: Laid, wanted: Wanted
) -> None:
    router = cluster.routers["router1"]
    router.run("touch /run/broken")
    owned(cluster, until, FRONT, "router2")
    assert laid(router) == wanted()
    assert laid(cluster.routers["router2"]) == wanted(*FRONT, *BACK)
    states = router.states()
    assert {states[name] for name in FRONT} == {"FAULT"}, states
    assert "service" in router.run("vrrpctl status"), "an operator must see why"
    assert router.run("tail -n 1 /run/front") == "GROUP front FAULT 0\n"
    assert cluster.routers["router2"].run("tail -n 1 /run/front") == "GROUP front MASTER 0\n"


def test_a_weight_moves_a_group_and_so_does_the_number_in_a_file(
    cluster: Any, until: Until, laid: Laid, wanted: Wanted
) -> None:
    router = cluster.routers["router2"]
    router.run("touch /run/no-gateway")
    owned(cluster, until, BACK, "router3")
    assert {router.states()[name] for name in BACK} == {"BACKUP"}, "a weight is no fault"
    assert laid(router) == wanted()
    assert laid(cluster.routers["router3"]) == wanted(*BACK, *SIDE)
    router.run("rm /run/no-gateway")
    owned(cluster, until, BACK, "router2")
    router.run("echo 11 > /run/load")
    owned(cluster, until, BACK, "router3")


def test_a_static_item_that_somebody_removes_is_put_back(
    cluster: Any, until: Until, laid: Laid, wanted: Wanted
) -> None:
    router = cluster.routers["router3"]
    router.run("ip route delete 203.0.116.0/24; ip rule delete preference 103")
    assert until(lambda: laid(router), lambda seen: seen == wanted(*SIDE), 10) == wanted(*SIDE)
    assert "static" in router.run("journalctl -u vrrpd --no-pager | grep 'was missing, put back'")
    owned(cluster, until, SIDE, "router3")


@pytest.mark.parametrize(
    ("lost", "heirs"),
    [
        ("router1", {"router2": (*FRONT, *BACK), "router3": SIDE}),
        pytest.param("router2", {"router1": FRONT, "router3": (*BACK, *SIDE)}, marks=pytest.mark.full),
        pytest.param("router3", {"router1": (*FRONT, *SIDE), "router2": BACK}, marks=pytest.mark.full),
    ],
)
def test_an_owner_is_lost_and_comes_back(
    lost: str, heirs: dict[str, tuple[str, ...]], cluster: Any, until: Until, laid: Laid, wanted: Wanted, engine: str
) -> None:
    container = f"{cluster.prefix}-{lost}"
    subprocess.run([engine, "kill", "--signal", "KILL", container], check=True, stdout=subprocess.DEVNULL)
    try:
        for heir, instances in heirs.items():
            owned(cluster, until, instances, heir, cluster.except_for(lost))
            assert laid(cluster.routers[heir]) == wanted(*instances)
    finally:
        subprocess.run([engine, "start", container], check=True, stdout=subprocess.DEVNULL)
        cluster.routers[lost].booted()
    owned(cluster, until, OWNED[lost], lost)
    node = cluster.routers[lost]
    assert until(lambda: laid(node), lambda seen: seen == wanted(*OWNED[lost]), 10) == wanted(*OWNED[lost])


def weights(statuses: list[dict[str, Any]]) -> set[int]:
    """Of the script gateway, wherever it is tracked."""
    return {
        tracker["weight"]
        for status in statuses
        for instance in status["instances"]
        for tracker in instance["trackers"]
        if tracker["name"] == "gateway"
    }


def test_a_reload_changes_a_keyword_live(cluster: Any, site: Callable[..., Any]) -> None:
    routers = cluster.routers.values()
    before = [node.status() for node in routers]
    blocks = json.loads(json.dumps(cluster.variables["vrrpd_blocks"]))
    blocks_weight = blocks["vrrp_script"]["gateway"]["weight"]
    blocks["vrrp_script"]["gateway"]["weight"] = -60
    run = site("-e", json.dumps({"vrrpd_blocks": blocks}))
    assert all(run.counts("changed").values()), run.output
    after = [node.status() for node in routers]
    assert [each["processes"]["guard"] for each in after] == [each["processes"]["guard"] for each in before]
    for old, new in zip(before, after, strict=True):
        assert [(each["name"], each["state"]) for each in new["instances"]] == [
            (each["name"], each["state"]) for each in old["instances"]
        ], "a reload moves nothing"
    assert weights(before) == {blocks_weight}
    assert weights(after) == {-60}, "in effect, not only in the file"
    assert all(site().counts("changed").values())  # back to the inventory's own


def test_status_is_readable(site: Callable[..., Any]) -> None:
    said = site(name="playbooks/status.yml").output
    assert "FRONT_4 MASTER, priority 200, 198.18.53.100/24" in said, said
    assert "BACK_4 BACKUP, priority 180, 198.18.53.101/24 198.18.53.111/24, hears 198.18.53.12" in said, said
    assert "hex:" not in said


def test_no_key_is_shown(cluster: Any, site: Callable[..., Any]) -> None:
    keys = [
        str(key).partition(":")[2]
        for key in cluster.variables["vrrpd_instances"]["BACK_4"]["auth_hmac"]["key"].values()
    ]
    said = site("--check", "--diff", "-vvv").output
    for node in cluster.routers.values():
        said += node.run("vrrpctl status --json; vrrpd -t --json; journalctl -u vrrpd --no-pager")
        assert all(key in node.run("cat /etc/vrrpd/vrrpd.conf") for key in keys), "the file must have them"
    assert not any(key in said for key in keys)


def test_an_impossible_weight_is_refused_before_any_node_is_touched(cluster: Any, site: Callable[..., Any]) -> None:
    blocks = json.loads(json.dumps(cluster.variables["vrrpd_blocks"]))
    blocks["vrrp_script"]["gateway"].update(weight=-5, intervall=3)
    instances = {"BACK_4": {**cluster.variables["vrrpd_instances"]["BACK_4"], "track_file": None}}
    run = site("-e", json.dumps({"vrrpd_blocks": blocks, "vrrpd_instances": instances}), status=2)
    assert "did you mean 'interval'?" in run.output
    assert "weight -5 of gateway can never move BACK_4" in run.output
    assert "no node was touched" in run.output
