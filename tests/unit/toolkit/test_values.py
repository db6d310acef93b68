"""Values in every form that YAML has: each arrives in the daemon as it was written, or is refused with words."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import yaml
from ansible.module_utils.vrrpd_lines import Findings, lines_of
from ansible.module_utils.vrrpd_planning import Plan
from hypothesis import given, settings
from hypothesis import strategies as st

from vrrpd.conf.lexer import quoted_words
from vrrpd.keywords import table
from vrrpd.model.load import load

from .test_render import VI_1, render

Blocks = dict[str, Any]
KEYWORDS = table()
PLAIN = {key: value for key, value in VI_1.items() if key not in ("authentication", "notify_master")}


def through(blocks: Blocks, keywords: dict[str, Any]) -> tuple[Any, list[str]]:
    """The daemon's model of these blocks; None and why where somebody refuses them."""
    findings = Findings()
    lines = lines_of("top", {"vrrp_instance": {"VI_1": PLAIN}, **blocks}, keywords, "x", findings, ())
    if findings.errors:
        return None, findings.errors
    loaded = load("x", text=render(Plan({"": {"blocks": lines}}, {}, [], [], []), ""), node_name="node1")
    return loaded.model, [found.message for found in loaded.diagnostics if found.severity == "error"]


# keyword -> (blocks with this value, where the model has it)
Target = tuple[Callable[[Any], Blocks], Callable[[Any], Any]]
TARGETS: dict[str, Target] = {
    "string": (lambda value: {"global_defs": {"router_id": value}}, lambda model: model.global_defs.router_id),
    "path": (
        lambda value: {
            "track_file": {"f": {"file": value}},
            "vrrp_instance": {"VI_1": {**PLAIN, "track_file": ["f weight 1"]}},
        },
        lambda model: model.track_files[0].file,
    ),
    "script": (
        lambda value: {"vrrp_instance": {"VI_1": {**PLAIN, "notify_master": value}}},
        lambda model: model.vrrp_instances[0].notify_master.argv,
    ),
    "arguments": (
        lambda value: {
            "vrrp_track_process": {"p": {"process": ["/bin/x", value]}},
            "vrrp_instance": {"VI_1": {**PLAIN, "track_process": ["p"]}},
        },
        lambda model: model.track_processes[0].process[-1],
    ),
    "entry": (
        lambda value: {"global_defs": {"notification_email": [value]}},
        lambda model: " ".join(model.global_defs.notification_email),
    ),
}
ODD = st.text(st.sampled_from("ab /#!$@~\"'\\{}();=%-.0\t\n\x01"), min_size=1, max_size=8)


@pytest.mark.parametrize("kind", TARGETS)
@settings(max_examples=100, deadline=None)
@given(text=ODD)
def test_a_text_arrives_or_is_refused(kind: str, text: str) -> None:
    made, get = TARGETS[kind]
    text = f"/{text}" if kind in ("path", "script") else text
    model, why = through(made(text), KEYWORDS)
    if model is None:
        assert why
        return
    if kind == "script":  # keepalived's own language of commands (keepalived.conf(5), "Quoted strings")
        assert list(get(model)) == quoted_words(text.strip())
    elif kind == "entry":  # a line of words: blanks between them are one
        assert get(model).split() == text.replace('"', " ").split()
    elif text[0] == text[-1] == '"' and len(text) > 1:  # quotes as in the file
        assert get(model) == (text[1:-1] if kind != "arguments" else quoted_words(text)[-1])
    else:
        assert get(model) == (text.strip("\n") if kind != "arguments" else text)


FORMS: dict[str, tuple[str, Any]] = {
    # YAML of an instance's keyword: what the daemon's instance has, or what is said
    "nopreempt: true": ("preempt", False),
    "nopreempt: 'yes'": ("preempt", False),
    "nopreempt: false": ("preempt", True),
    "nopreempt: 'no'": ("preempt", True),
    "nopreempt: null": ("preempt", True),
    "nopreempt: 1": ("", "1 is neither true nor false"),
    "nopreempt: perhaps": ("", "'perhaps' is neither true nor false"),
    "nopreempt: [true]": ("", "list is neither true nor false"),
    "priority: '90'": ("priority", 90),
    "priority: 90": ("priority", 90),
    "priority: 90.5": ("", "priority: '90.5' is not a whole number"),
    "priority: [90]": ("", "is a list: write a value"),
    "priority: {90: null}": ("", "is a dictionary: write a value"),
    "priority: 9x": ("", "'9x' is not a whole number"),
    "preempt_delay: 1.234567": ("preempt_delay", 1.234567),
    "preempt_delay: 0.00001": ("preempt_delay", 0.00001),
    "preempt_delay: 12": ("preempt_delay", 12.0),
    "preempt_delay: 12.0": ("preempt_delay", 12.0),
    "interface: yes": ("", "True is no value: write one, in quotes if it is the word yes, no, on or off"),
    "interface: no": ("", "False is no value: write one, in quotes if it is the word yes, no, on or off"),
    "interface: ''": ("", "is empty: write a value"),
    "interface: [a, b]": ("", "is a list: write a value"),
    "garp_master_repeat: '5\n'": ("garp_master_repeat", 5),
    "garp_master_repeat: |\n  5": ("garp_master_repeat", 5),
    "notify_master: >\n  /bin/echo a\n  b": ("notify_master", ("/bin/echo", "a", "b")),
    "notify_master: |\n  /bin/echo a\n  b": ("", "has several lines: write a value"),
    """notify_master: >-\n  /bin/sh -c 'echo "$1" # {x} ! \\\\n'""": (
        "notify_master",
        ("/bin/sh", "-c", 'echo "$1" # {x} ! \\n'),
    ),
    'notify_master: "/bin/echo \\"a  b\\" c"': ("notify_master", ("/bin/echo", "a  b", "c")),
    "virtual_ipaddress: 192.0.2.9/24": ("virtual_ipaddress", 1),
    "virtual_ipaddress: [192.0.2.9/24, 192.0.2.8/24 label render0:x]": ("virtual_ipaddress", 2),
    "virtual_ipaddress: {192.0.2.9/24: label render0:x, 192.0.2.8/24: null}": ("virtual_ipaddress", 2),
    "virtual_ipaddress: |\n  192.0.2.9/24\n  192.0.2.8/24": ("", "has several lines: write one line of text per entry"),
    "virtual_ipaddress: ['@other 192.0.2.9/24']": ("", "begins with '@other', which keepalived.conf has a meaning"),
    "virtual_ipaddress: [include /etc/passwd]": ("", "begins with 'include', which keepalived.conf has a meaning"),
    "virtual_ipaddress: [{192.0.2.9/24: null}]": ("", "is a dictionary: write one line of text per entry"),
    "authentication: PASS": ("", "is a string: write keyword: value"),
}


@pytest.mark.parametrize("text", FORMS)
def test_a_form_of_yaml(text: str, keywords: dict[str, Any]) -> None:
    where, wanted = FORMS[text]
    instance = {key: value for key, value in {**PLAIN, **yaml.safe_load(text)}.items() if value is not None}
    model, why = through({"vrrp_instance": {"VI_1": instance}}, keywords)
    if not where:
        assert model is None
        assert wanted in "\n".join(why), why
        return
    assert model is not None, why
    found = getattr(model.vrrp_instances[0], where)
    found = getattr(found, "argv", len(found) if isinstance(found, tuple) else found)
    assert found == wanted


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"vrrp_script": {"my check": {"script": "/bin/true"}}}, "x.vrrp_script.my check: 'my check' is no name"),
        ({"vrrp_script": {"a{b": {"script": "/bin/true"}}}, "x.vrrp_script.a{b: 'a{b' is no name: write one word"),
        ({"vrrp_script": {"@a": {"script": "/bin/true"}}}, "'@a' is no name"),
        ({"global_defs": {"umask": yaml.safe_load("022")}}, "x.global_defs.umask: is the number 18 for YAML, which"),
        ({"global_defs": {"router_id": ["a", "b"]}}, "x.global_defs.router_id: is a list: write a value"),
        ({"global_defs": {"router_id": 'a"b'}}, 'has a " in it, for which the file has no place here'),
        ({"global_defs": {"router_id": "a\x07"}}, "has the character '\\x07', for which the file has no place"),
        ({"static_routes": ['default via "192.0.2.1']}, 'x.static_routes: has a " that is not closed'),
    ],
)
def test_what_no_file_can_hold_is_said(blocks: Blocks, said: str, keywords: dict[str, Any]) -> None:
    model, why = through(blocks, keywords)
    assert model is None
    assert any(said in line for line in why), why


def test_a_mode_in_quotes_is_octal(keywords: dict[str, Any]) -> None:
    model, why = through({"global_defs": {"umask": "022"}}, keywords)
    assert model is not None, why
    assert model.global_defs.umask == 0o22
