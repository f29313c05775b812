"""Addresses of people and of their machines, as they are written, and what only looks like them."""

from __future__ import annotations

import pytest

from tunekeeper.text.contacts import addresses, emails


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<ana@example.com>,bo@example.com.", ["ana@example.com", "bo@example.com"]),
        ("mailto:o'brien+x@mail.co.uk?subject=x", ["o'brien+x@mail.co.uk"]),
        ("søren@bücher.example and x@почта.рф", ["søren@bücher.example", "x@почта.рф"]),
        ("x@xn--bcher-kva.xn--p1ai", ["x@xn--bcher-kva.xn--p1ai"]),
        ('"ana q"@example.com', ['"ana q"@example.com']),
        ("ana [at] example [dot] com, bo(at)example.com", ["ana [at] example [dot] com", "bo(at)example.com"]),
        ("ana at example dot com", ["ana at example dot com"]),
        ("?to=ana%40example.com&x", ["ana%40example.com"]),
        ("请写信给ana@example.com谢谢", ["ana@example.com"]),
        ("_ana@example.com_ and **bo@example.com**", ["ana@example.com", "bo@example.com"]),
        ("email='ana@example.com', to=o'neil@x.ie", ["ana@example.com", "o'neil@x.ie"]),
        ("users/ana@x.com|bo@x.com|{eva@x.com}?m=jo@x.com", ["ana@x.com", "bo@x.com", "eva@x.com", "jo@x.com"]),
        ("--to=ana@x.com -bo@x.com to%3Deva%40x.com", ["ana@x.com", "bo@x.com", "eva%40x.com"]),
        ("b+ana=mail.com@lists.example.org, r&d@x.de", ["b+ana=mail.com@lists.example.org", "r&d@x.de"]),
        ("ana arroba example punto com, bo @ example.org", ["ana arroba example punto com", "bo @ example.org"]),
        ('"text": "@app.route(x)" and 3 units @ 4.50 each', []),
        ("git clone git@github.com:acme/tool.git or ssh://git@host.example/x", []),
        ("what is available at that point in the text", []),
        ("look at the dot product, meet @ 5pm, ask @ana, a@b, git@ x", []),
    ],
)
def test_an_address_is_found_whole_however_its_sign_is_written(text: str, found: list[str]) -> None:
    assert [text[slice(*span)] for span in emails(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://192.0.2.1:80/, 10.0.0.1.", ["192.0.2.1", "10.0.0.1"]),
        ("[2001:db8::1]:443 fe80::1%eth0", ["2001:db8::1", "fe80::1"]),
        ("::ffff:192.0.2.1", ["::ffff:192.0.2.1"]),
        ("v1.2.3.4, version 1.2.3.4, 1.2.3.4.5, 999.1.1.1", []),
        ("from 192[.]0[.]2[.]1 by ip-10-0-31-7.ec2.internal", ["192[.]0[.]2[.]1", "ip-10-0-31-7"]),
        ("192[dot]0[dot]2[dot]1, 192(.)0(.)2(.)2", ["192[dot]0[dot]2[dot]1", "192(.)0(.)2(.)2"]),
        ("Chrome/126.0.0.0 Safari/537.36, peer/10.2.3.4", ["10.2.3.4"]),
        ('"version": "1.2.3.4", a-1.2.3.4.tar.gz, a==1.2.3.4, AssemblyVersion("4.0.1.2")', []),
        ('ip.addr==10.1.2.3, "v":"10.1.2.4"', ["10.1.2.3", "10.1.2.4"]),
        ("3.8.5.9 Scope\n### 3.8.5.10 Terms\n<h4>3.8.5.11 Parts</h4>", []),
        ("10.8.5.9 Connected\n203.0.113.9 Bye", ["10.8.5.9", "203.0.113.9"]),
        ("Mozilla/5.0 (X11; rv:1.9.6.20) Gecko", []),
        ("Version 8.7.8.12 fixes the crash of 3.0.8.0, and 3.0.8.1 too", []),
        ("upgraded to version 2.4.1.0 on 10.0.0.5 and 192.0.2.1", ["10.0.0.5", "192.0.2.1"]),
        ("Sections 4.5.2.3 and 10.5.1.3 of it, upgrade from 2.6.5.88 to version 9.7.12.33", []),
        ("upgrade path 1.1.2.4 -> 2.0.5.4", []),
        ("8.8.8.8 -> 1.1.1.1", ["8.8.8.8", "1.1.1.1"]),
        ("ping 2606:e683:9baa:77ef::1: timeout", ["2606:e683:9baa:77ef::1"]),
        ("app 23.11.6.37 installed, 203.0.113.9 installed", ["203.0.113.9"]),
        ("section 4.2.1.3, chapters 1.2.3.4, § 1.2.3.4", []),
        ("a[10::2] std::vector db::add 12:34:56 00:1b:44:11:3a:b7", []),
        ("EUI-64 00:1b:44:ff:fe:11:3a:b7, a3::b4, abc::f10(), ::f10", []),
        ("012.034.056.078, 12.034.05.6", ["012.034.056.078"]),
        ("ping 2001:db8:0:1:1:1:1:1: timeout", ["2001:db8:0:1:1:1:1:1"]),
        ("ip:2001:db8::1 and _192.0.2.1_", ["2001:db8::1", "192.0.2.1"]),
    ],
)
def test_an_ip_address_is_found_whole_and_code_is_none(text: str, found: list[str]) -> None:
    assert [text[slice(*span)] for span in addresses(text)] == found
