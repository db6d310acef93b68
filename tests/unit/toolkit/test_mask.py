"""Secrets: filled in on the node, shown nowhere, and a diff that can still be read."""

from __future__ import annotations

import pytest
from ansible.module_utils.vrrpd_mask import diagnostic_lines, filled, masked, masked_after

TEMPLATE = """vrrp_instance VI_1 {
    interface eth0
    authentication {
        auth_type PASS
        auth_pass @@VI_1.auth_pass@@
    }
}
"""
MARK = "@@VI_1.auth_pass@@"


@pytest.mark.parametrize("secret", ["hunter2", "eth0", "a", "1", "PASS", "auth", r"\1", "*"])
def test_only_the_secret_is_hidden_whatever_it_is(secret: str) -> None:
    text = filled(TEMPLATE, {MARK: secret})
    assert f"auth_pass {secret}\n" in text
    assert masked(text) == TEMPLATE.replace(MARK, "********")


def test_one_line_blocks_and_quotes() -> None:
    assert masked('authentication { auth_type PASS auth_pass "a b" }') == (
        "authentication { auth_type PASS auth_pass ******** }"
    )


def test_the_key_of_the_second_path_is_a_secret_too() -> None:
    assert masked("    peer_path 10.9.0.3\n    peer_path_key 0123456789abcdef\n") == (
        "    peer_path 10.9.0.3\n    peer_path_key ********\n"
    )


def test_a_new_secret_is_marked_and_an_old_one_is_not() -> None:
    before = filled(TEMPLATE, {MARK: "hunter2"})
    assert masked_after(TEMPLATE, {MARK: "hunter2"}, before) == masked(before)
    assert "auth_pass ******** (changed)\n" in masked_after(TEMPLATE, {MARK: "hunter3"}, before)
    assert masked_after(TEMPLATE, {MARK: "hunter2"}, "") == masked(before)


def test_secrets_that_change_places_are_a_change() -> None:
    template = "auth_pass @@a.auth_pass@@\nauth_pass @@b.auth_pass@@\n"
    before = "auth_pass one\nauth_pass two\n"
    after = masked_after(template, {"@@a.auth_pass@@": "two", "@@b.auth_pass@@": "one"}, before)
    assert after == "auth_pass ******** (changed)\n" * 2


def test_a_text_without_secrets_is_untouched() -> None:
    text = "vrrp_instance VI_1 {\n    interface eth0\n}\n"
    assert (filled(text, {}), masked(text), masked_after(text, {}, "")) == (text, text, text)


def test_a_diagnostic_names_the_final_place_and_hides_the_secret() -> None:
    found = {
        "file": "/tmp/x/vrrpd.conf",
        "line": 5,
        "column": 19,
        "severity": "error",
        "message": "auth_pass 'toolongpass' has 11 bytes",
        "hint": "did you mean 'toolong'?",
        "source_line": "        auth_pass toolongpass",
    }
    assert diagnostic_lines([found], TEMPLATE, {"/tmp/x/vrrpd.conf": "/etc/vrrpd/vrrpd.conf"}) == [
        "/etc/vrrpd/vrrpd.conf:5:19: error: auth_pass ******** has 11 bytes\n    auth_pass ********"
    ]


def test_a_diagnostic_elsewhere_keeps_everything() -> None:
    found = {
        "file": "/tmp/x/vrrpd.conf",
        "line": 2,
        "column": 5,
        "severity": "warning",
        "message": "interface: there is no eth0",
        "hint": "here are ens3",
        "source_line": "    interface eth0",
    }
    assert diagnostic_lines([found], TEMPLATE, {"/tmp/x/vrrpd.conf": "/etc/vrrpd/vrrpd.conf"}) == [
        "/etc/vrrpd/vrrpd.conf:2:5: warning: interface: there is no eth0\n    interface eth0\n    hint: here are ens3"
    ]
