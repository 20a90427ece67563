"""Strangers name addresses; the worker follows those of the open internet, however they are written."""

from __future__ import annotations

import pytest

from offchain.errors import BadInput
from offchain.store.addresses import NEVER, WEB, Forbidden, is_loopback, is_public, parse
from offchain.store.fetch import FetchOptions

INSIDE = [
    *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("0.0.0.0", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:a00:1::"),
]
OUTSIDE = ["8.8.8.8", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("host", INSIDE)
def test_inside(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize("host", OUTSIDE)
def test_outside(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize("host", ["", "localhost", "2130706433", "0x7f.1", "017700000001", "127.1", "example.org"])
def test_what_is_no_address_is_not_public(host: str) -> None:
    """A connection is made to an address; a name that reached this far was not resolved."""
    assert not is_public(host)


@pytest.mark.parametrize(
    "uri",
    [
        "http://host",
        "https://host.example:8443/a/b?c=d#e",
        "http://[2001:db8::1]:80/x",
        "http://host/a%20b",
        "http://host/a::b",  # chains are fsspec's, which does not see these
    ],
)
def test_addresses_of_the_web_are_followed(uri: str) -> None:
    assert parse(uri, WEB, private=False).hostname


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "//host/x",
        "../" * 170,
        "http:///x",
        "http:host",
        "http://user:secret@host/x",
        "http://@host/x",
        "http://host:0/x",
        "http://host:99999/x",
        "http://host:x/",
        "http://host/a b",
        "http://host/\x1b[2J",
        "http://host/\t",
        "http://host\\@inside/",
        "http://host/\\xff",
        "http://höst/",
        "http://host/\u202e",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "gopher://host/x",
        "javascript:alert(1)",
        "simplecache::http://host/x",
        "zip://a::http://host/x",
        "reference://::http://host/x",
        "filecache::file:///etc/passwd",
        "s3://bucket/x",
    ],
)
def test_others_are_not(uri: str) -> None:
    with pytest.raises(Forbidden):
        parse(uri, WEB, private=True)


def test_files_need_their_scheme_and_a_private_network() -> None:
    schemes = WEB | {"file"}
    assert parse("file:///x", schemes, private=True).path == "/x"
    with pytest.raises(Forbidden):
        parse("file:///x", schemes, private=False)
    with pytest.raises(Forbidden):
        parse("file:///x", WEB, private=True)


def test_an_operator_s_scheme_is_followed_but_not_through_another_one() -> None:
    assert parse("s3://bucket/x", WEB | {"s3"}, private=False).netloc == "bucket"
    for uri in ("s3://bucket/x::http://inside/x", "s3::http://inside/x", "zip://x::s3://bucket/y"):
        with pytest.raises(Forbidden):
            parse(uri, WEB | {"s3"}, private=False)


@pytest.mark.parametrize("scheme", sorted(NEVER))
def test_no_operator_can_allow_what_reads_through_something_else(scheme: str) -> None:
    with pytest.raises(BadInput, match="never fetched through"):
        FetchOptions(schemes=WEB | {scheme})


@pytest.mark.parametrize(
    ("host", "wanted"),
    [("localhost", True), ("LOCALHOST.", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False),
     ("node.example", False), (None, False), ("", False)],
)  # fmt: skip
def test_this_machine(host: str | None, wanted: bool) -> None:
    assert is_loopback(host) is wanted
