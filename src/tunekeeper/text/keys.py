"""Secrets that programs use: keys of the well-known vendors, tokens and passwords that are called so, private keys.

The exact finder and its filter stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import re

from tunekeeper.text.numbers import ESCAPE, Span

_PLAIN_VENDORS = (
    r"dckr_(?:pat|oat)_[A-Za-z0-9_\-]{20,64}|ntn_[A-Za-z0-9]{40,64}|secret_[A-Za-z0-9]{43,64}|HRKU-[A-Za-z0-9_\-]{30,80}",
    r"[sp]k\.eyJ[A-Za-z0-9_\-]{20,256}\.[A-Za-z0-9_\-]{20,64}|sbp_[a-f0-9]{40,64}|NRAK-[A-Z0-9]{27}|sq0[a-z]{3}-[A-Za-z0-9_\-]{22,64}",
    r"[MNO][A-Za-z0-9_\-]{23,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,40}|pat[A-Za-z0-9]{14}\.[a-f0-9]{64}|(?:SK|AC)[a-f0-9]{32}",
    r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|pscale_[a-z]{2,8}_[A-Za-z0-9_\-.]{32,80}|hv[sbr]\.[A-Za-z0-9_\-]{24,256}",
    r"sntry[su]_[A-Za-z0-9_\-+=]{40,512}|dp\.(?:pt|st|ct|sa)\.(?:[a-z0-9_\-]{2,35}\.)?[A-Za-z0-9]{40,64}|fig[dour]_[A-Za-z0-9_\-]{30,80}",
    r"lsv2_[a-z]{2}_[a-f0-9]{32}_[a-f0-9]{10}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}|tvly-[A-Za-z0-9_\-]{28,64}",
    r"LTAI[A-Za-z0-9]{16,24}|re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}|sgp_[A-Za-z0-9_]{40,80}|nfp_[A-Za-z0-9]{36,48}|pul-[a-f0-9]{40}|fw_[A-Za-z0-9]{22,32}",
    r"apify_api_[A-Za-z0-9]{30,48}|AGE-SECRET-KEY-1[A-Z0-9]{58}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-]{60,80}|gl(?:ptt|dt|rt|cbt)-[A-Za-z0-9_\-]{20,64}",
    r"tskey-[a-z]{3,8}-[A-Za-z0-9]{8,24}-[A-Za-z0-9]{20,48}|fc-[a-f0-9]{32}|ph[cx]_[A-Za-z0-9]{32,64}|ops_eyJ[A-Za-z0-9_\-]{100,2000}",
    r"[A-Za-z0-9_\-]{11}:APA91b[A-Za-z0-9_\-]{100,200}|EAA[A-Za-z0-9]{80,400}|1//0[A-Za-z0-9_\-]{38,80}|ABSK[A-Za-z0-9+/]{100,160}",
    r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}|pcsk_[A-Za-z0-9_]{40,128}|sl\.[A-Za-z0-9_\-]{130,400}|do[or]_v1_[a-f0-9]{64}|AQ\.Ab[A-Za-z0-9_\-]{40,120}|ATBB[A-Za-z0-9]{32}",
)
"""Keys that are known by how they begin and how long they are, told by the exact expression and by its filter alike."""
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?<![A-Za-z0-9][_\-])(?:"
    r"(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,255}|(?:sk|pk|rk|tk|ak|csk)[-_](?=[A-Za-z_\-]{0,511}\d)[A-Za-z0-9_\-]{16,512}"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_\-]{16,255}|npm_[A-Za-z0-9]{30,64}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{30,64}|hf_[A-Za-z0-9]{20,64}|(?:xox[abeoprs]|xapp)-[A-Za-z0-9\-]{10,255}"
    r"|SG\.[A-Za-z0-9_\-]{16,64}\.[A-Za-z0-9_\-]{16,64}|eyJ[A-Za-z0-9_\-]{8,4096}\.eyJ[A-Za-z0-9_\-]{8,8192}\.[A-Za-z0-9_\-]{8,2048}"
    r"|dop_v1_[a-f0-9]{64}|ya29\.[A-Za-z0-9_\-]{20,512}|GOCSPX-[A-Za-z0-9_\-]{20,64}|whsec_[A-Za-z0-9+/=]{20,128}"
    r"|pypi-AgE[A-Za-z0-9_\-]{32,512}|gsk_[A-Za-z0-9]{30,128}|(?:xai|pplx|nvapi)-[A-Za-z0-9_\-]{32,160}|r8_[A-Za-z0-9]{30,64}"
    r"|shp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}|lin_api_[A-Za-z0-9]{32,64}|dapi[a-f0-9]{32}|ATATT3[A-Za-z0-9_\-=]{32,512}"
    r"|key-[a-f0-9]{32}|\d{8,10}:AA[A-Za-z0-9_\-]{30,40}|" + "|".join(_PLAIN_VENDORS) + r")(?![_\-]?[A-Za-z0-9])"
)
_HOOK = re.compile(r"(?:hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks)/([A-Za-z0-9_\-/]{20,160})")
_CALLED = re.compile(
    r"(?:(?i:\bbearer|\bbasic|api[-_ ]?key|(?:access|account|private|signing|encryption|subscription|storage)[-_ ]?key|"
    r"secret[\w\-]{0,24}|token|passw(?:or[dt]|d)|passphrase)|[A-Z0-9]_KEY)"
    r"(?:[\"']?\s{0,3}[:=]\s{0,3}|\s)[\"']?([A-Za-z0-9_\-./+=~]{16,512})"
)
_QUOTED = re.compile(r"(?i:secret[\w\-]{0,24})[\"']?\s{0,3}[:=]\s{0,3}[\"']([^\s\"'<>]{16,256})[\"']")
_SIGNED = re.compile(r"(?:[?&;]sig=|-Signature=)([A-Za-z0-9%+/=]{40,512})")
_PASSWORD = re.compile(
    r"(?i:passw(?:or[dt]|d)|pwd|passphrase)(?:[\"']?\s{0,3}[:=]\s{0,3}[\"']?|\s{1,2}[\"'])([^\s\"',;<>]{8,128})"
)
_IN_URL = re.compile(r"://[^\s/@:\"']{0,64}:([^\s/@\"']{3,128})@")
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----")

_W = rb"[A-Za-z0-9_\-]"
_BLANK = rb"(?:[\x00-\x20\x22\x27\x80-\xff]|" + ESCAPE + rb"|\\\x22)"
_VENDORS = (
    rb"(?:sk|pk|rk|tk|ak|csk)[-_]" + _W + rb"{16}",
    rb"gh[pousr]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|glpat-" + _W + rb"{16}|npm_[A-Za-z0-9]{30}",
    rb"(?:AKIA|ASIA)[0-9A-Z]{16}|AIza" + _W + rb"{30}|hf_[A-Za-z0-9]{20}|(?:xox[abeoprs]|xapp)-[A-Za-z0-9\-]{10}",
    rb"SG\." + _W + rb"{16}|eyJ" + _W + rb"{8}|dop_v1_[a-f0-9]{64}|ya29\." + _W + rb"{20}|GOCSPX-" + _W + rb"{20}",
    rb"whsec_|pypi-AgE" + _W + rb"{32}|gsk_[A-Za-z0-9]{30}|(?:xai|pplx|nvapi)-" + _W + rb"{32}|r8_[A-Za-z0-9]{30}",
    rb"shp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}|lin_api_[A-Za-z0-9]{32}|dapi[a-f0-9]{32}|ATATT3" + _W + rb"{8}|key-[a-f0-9]{32}",
    *(re.sub(r"\{(\d+),\d+\}(?=\||\Z)", r"{\1}", vendors).encode() for vendors in _PLAIN_VENDORS),
)
KEY_FILTER = rb"|".join(
    (
        rb"(?:^|[^0-9A-Za-z]|" + ESCAPE + rb")(?:" + rb"|".join(_VENDORS) + rb")",
        # The digits of a Telegram token may be those of another script.
        rb":AA" + _W + rb"{30}|slack\.com\\?/services|discord(?:app)?\.com\\?/api",
        rb"(?i:bearer|basic|key|token|passw(?:or[dt]|d)|passphrase|secret(?:[A-Za-z0-9_\-\x80-\xff]|\\u[0-9A-F]{4})*)"
        rb"(?:" + _BLANK + rb"|[:=])+(?:[A-Za-z0-9_\-./+=~]|\\/){16}",
        rb"(?i:passw(?:or[dt]|d)|pwd|passphrase|secret(?:[A-Za-z0-9_\-\x80-\xff]|\\u[0-9A-F]{4})*)" + _BLANK + rb"*"
        rb"[:=\x22\x27]" + _BLANK + rb"*[^\x00-\x20\x22',;<>]{8}",
        rb"sig=[A-Za-z0-9%+/=]{16}|-Signature=[A-Za-z0-9%+/=]{16}",
        rb":(?:\\?/){2}[^\x00-\x20/@:\x22\x27]*:[^\x00-\x20@]{3,}@",
        rb"-----BEGIN ",
    )
)


def keys(text: str) -> list[Span]:
    """Where secrets stand; of a password and a token only the value, without the word that names it."""
    spans = [m.span() for m in _KEY.finditer(text)]
    spans += [m.span(1) for m in _HOOK.finditer(text)]
    spans += [m.span(1) for m in _SIGNED.finditer(text)]
    spans += [m.span(1) for called in (_CALLED, _PASSWORD, _QUOTED) for m in called.finditer(text) if _mixed(m[1])]
    spans += [m.span(1) for m in _IN_URL.finditer(text)]
    at = 0
    while (begin := _PEM.search(text, at)) is not None:
        end = _PEM_END.search(text, begin.end())
        at = len(text) if end is None else end.end()
        spans.append((begin.start(), at))
    return longest(spans)


def _mixed(value: str) -> bool:
    """Letters and digits: a word alone is no secret, nor is a number."""
    return any(c.isdecimal() for c in value) and any(c.isalpha() for c in value)


def longest(spans: list[Span]) -> list[Span]:
    """The spans without overlaps: of those that begin at one place the longest, else the first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept
