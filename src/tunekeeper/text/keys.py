"""Secrets that programs use: keys of the well-known vendors, tokens and passwords that are called so, private keys.

The exact finder and its filter stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import base64
import re

from tunekeeper.text.numbers import ESCAPE, Span, bytes_of, longest

_W, _A, _H = r"[A-Za-z0-9_\-]", "[A-Za-z0-9]", "[a-f0-9]"
_KNOWN = rf"""
    (?:sk|pk|rk)_(?:live|test|prod)_{_A}{{10,255}} gh[pousr]_{_A}{{20,255}} github_pat_[A-Za-z0-9_]{{20,255}}
    gl(?:pat|ptt|dt|rt|cbt|imt|agent|soat|ft|ffct|oas|wt)-[A-Za-z0-9_\-.]{{16,512}} GR1348941{_W}{{20}} npm_{_A}{{30,64}}
    (?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[0-9A-Z]{{16}} ABSK[A-Za-z0-9+/]{{100,280}} bedrock-api-key-[A-Za-z0-9+/=]{{40,2000}}
    AIza{_W}{{30,64}} ya29\.{_W}{{20,512}} GOCSPX-{_W}{{20,64}} 1//0{_W}{{38,160}} AQ\.Ab{_W}{{40,120}} AQVN{_W}{{35,38}}
    hf_{_A}{{20,64}} api_org_{_A}{{34}} gsk_{_A}{{30,128}} (?:xai|pplx|nvapi)-{_W}{{32,160}} r8_{_A}{{30,64}}
    tgp_v1_{_W}{{40,64}} pa-{_W}{{40,64}} lsv2_[a-z][a-z]_{_H}{{32}}_{_H}{{10}} tvly-{_W}{{28,64}}
    fw3?_{_A}{{22,32}} pcsk_[A-Za-z0-9_]{{40,128}} (?:xox[abcdeoprs]|xapp)-[A-Za-z0-9\-]{{10,255}}
    xoxe[.\-](?:xox[bp]-)?[0-9]-{_A}{{100,200}} SG\.{_W}{{16,64}}\.{_W}{{16,64}} eyJrIjoi[A-Za-z0-9_\-=]{{40,400}}
    ops_eyJ{_W}{{100,2000}} [sp]k\.eyJ{_W}{{20,256}}\.{_W}{{20,64}} do[por]_v1_{_H}{{64}} whsec_[A-Za-z0-9+/=]{{20,128}}
    pypi-AgE{_W}{{32,512}} shp(?:at|ss|ca|pa)_[a-fA-F0-9]{{32}} lin_(?:api|oauth)_{_A}{{32,64}} dapi{_H}{{32}}(?:-[0-9])?
    AT(?:A|C)TT3[A-Za-z0-9_\-=]{{32,512}} ATBB{_A}{{32}} (?:pub)?key-{_H}{{32}} dckr_(?:pat|oat)_{_W}{{20,64}} ntn_{_A}{{40,64}}
    secret_{_A}{{43,64}} HRKU-{_W}{{30,80}} sbp_{_H}{{40,64}} sb_(?:secret|publishable)_{_W}{{20,64}}
    NR(?:AK|JS|II|AA|RA)-[A-Za-z0-9\-]{{19,40}} sq0[a-z][a-z][a-z]-{_W}{{22,64}} EAAA{_W}{{22,80}} cmVmd{_A}{{59}}
    EAA{_A}{{80,400}} pat{_A}{{14}}\.{_H}{{64}} (?:SK|AC)[a-fA-F0-9]{{32}} glsa_{_A}{{32}}_[A-Fa-f0-9]{{8}}
    glc_[A-Za-z0-9+/=]{{32,400}} pscale_[a-z]{{2,8}}_[A-Za-z0-9_\-.=]{{32,80}} hv[sbr]\.{_W}{{24,400}}
    sntry[su]_[A-Za-z0-9_\-+=]{{40,512}} dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_\-.]{{40,100}} fig[dour]_{_W}{{30,80}}
    PMAK-{_H}{{24}}-{_H}{{34}} xkeysib-{_H}{{64}}-{_A}{{16}} LTAI{_A}{{16,24}} re_{_A}{{8}}_{_A}{{24}}
    sgp_[A-Za-z0-9_]{{40,80}} nfp_{_A}{{36,48}} pul-{_H}{{40}} apify_api_{_A}{{30,48}} AGE-SECRET-KEY-1[A-Z0-9]{{58}}
    tskey-[a-z]{{3,8}}-{_A}{{8,24}}-{_A}{{20,48}} fc-{_H}{{32}} ph[cx]_{_A}{{32,64}} v1\.0-{_H}{{24}}-{_H}{{146}}
    sl\.(?:u\.)?{_W}{{130,1500}} A3-[A-Z0-9]{{6}}-(?:[A-Z0-9]{{5,11}}-){{3,4}}[A-Z0-9]{{5}} EZ[AT]K{_A}{{54}}
    FLWSECK(?:_TEST)?-{_A}{{12,40}}(?:-X)? fm[12][ar]?_[A-Za-z0-9+/=]{{100,800}} fo1_{_W}{{43}} API-[A-Z0-9]{{25,30}}
    rubygems_{_H}{{48}} sm_[aps]at_{_A}{{16}} sha256~{_W}{{43}} tfp_[A-Za-z0-9_\-.=]{{40,64}} AKCp{_A}{{60,80}} p8e-{_A}{{32}}
    CLOJARS_{_A}{{60}} dt0[a-z][0-9][0-9]\.{_A}{{24}}\.{_A}{{64}} dnkey-[A-Za-z0-9=_\-]{{60,90}}
    duffel_(?:test|live)_[A-Za-z0-9_\-=]{{43}} rdme_[a-z0-9]{{70}} shippo_(?:live|test)_[a-fA-F0-9]{{40}} pn[bu]_{_A}{{36}}
    ico-{_A}{{32}} fio-u-[A-Za-z0-9_\-=]{{64}} s-s4t2(?:ud|af)-{_H}{{64}} tk-us-{_W}{{48}}
    (?:pat|sat)\.{_W}{{22}}\.{_A}{{24}}\.{_A}{{20}} 4b1d{_A}{{38}} sq[upa]_{_A}{{40}} (?:live|test)_{_H}{{35}}
    co_{_A}{{40}} wandb_v1_{_A}{{60,100}} e2b_{_H}{{40}} bb_live_{_W}{{20,48}} rpa_[A-Z0-9]{{30,50}} vc[acikpr]_{_A}{{24,80}}
    vercel_blob_rw_{_W}{{20,80}} napi_[a-z0-9]{{50,80}} cf(?:k|ut|at)_{_A}{{36,60}} rnd_{_A}{{28,40}}
    oy2[a-z0-9]{{43}} cio{_A}{{32}} amzn\.mws\.[a-f0-9\-]{{36}} amzn1\.oa2-cs\.v1\.{_H}{{64}} xsmtpsib-{_H}{{64}}-{_A}{{16}}
    mlsn\.{_H}{{64}} esecret_{_A}{{26,40}} cal_live_{_A}{{30,40}}
    pat-(?:na|eu)[0-9]-[a-f0-9\-]{{36}} 00D{_A}{{12,15}}![A-Za-z0-9._]{{80,120}} rzp_(?:live|test)_{_A}{{14}}
    access-(?:sandbox|development|production)-[a-f0-9\-]{{36}} (?:live|test)_{_A}{{30}} hcai[ck]_[a-z0-9]{{40,64}}
    (?:sdk|mob|api)-{_H}{{8}}-[a-f0-9\-]{{27}} snyk_[rsu]at\.[A-Za-z0-9_\-.]{{40,400}} bk(?:ua|ct|aj|at|r)_{_A}{{36,64}}
    CCIP(?:AT|RJ)_{_A}{{22}}_{_H}{{40}} CFPAT-{_W}{{43}} dG9rO[A-Za-z0-9=]{{50,60}} AAAAAAAAAAAAAAAAAAAAA[A-Za-z0-9%]{{50,120}}
    WPL_AP[01]\.[A-Za-z0-9.+/=]{{20,60}} secret-(?:live|test)-{_W}{{35,60}} secret_{_A}{{20}}_{_H}{{32}}
    ory_(?:pat|at|rt|st|wak)_{_W}{{24,120}} dbt[cu]_{_W}{{36,60}} mdb_sa_sk_{_W}{{36,60}} cflt[A-Za-z0-9+/]{{60}}
    SCW[A-Z0-9]{{17}} AKID{_A}{{32}} t1\.{_W}{{40,200}}\.{_W}{{80,90}} AVNS_{_W}{{18,24}} jina_{_W}{{50,70}} llx-{_A}{{40,64}}
    cnvca{_W}{{40,60}} aio_{_A}{{28}} (?:odt|tss|dd[opw]|ion)_{_A}{{32,44}} endr\+{_W}{{16}} u\+{_W}{{18}}
    YC{_W}{{38}} (?:rootly|slk)_{_H}{{64}} cu_{_H}{{32}} BBFF-{_A}{{30}} tkn\.v1_[A-Za-z0-9+/=]{{60,90}} as-{_A}{{22}}
    AKLT{_A}{{36,48}} vtwn_{_A}{{26,44}} unkey_{_A}{{20,40}} CCDB1_{_A}{{22}}_{_A}{{40}}
    b_{_W}{{44}} persona_(?:production|sandbox)_[a-f0-9\-]{{36}}
    AQE[A-Za-z][A-Za-z0-9+/]{{40,120}}-[A-Za-z0-9+/]{{30,80}}={{0,2}}-[A-Za-z0-9]{{8,20}} y[0-3]_{_W}{{40,64}} db-{_A}{{29}}
    LS0tLS1CRUdJTiB(?:SU0Eg|PUEVO|QUklW|FQyBQ|FTkNS)[A-Za-z0-9+/=]{{60,8000}}
    access_token\$(?:production|sandbox)\$[a-z0-9]{{16}}\${_H}{{32}}
""".split()
"""Keys that are known by how they begin and how long they are, told by the exact expression and by its filter alike."""
_JWT = rf"eyJ{_W}{{8,4096}}\.(?:eyJ{_W}{{8,8192}}\.(?:{_W}{{8,2048}})?|{_W}{{16,2048}}(?:\.{_W}{{8,4096}}){{3}})"
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?<![A-Za-z0-9][_\-])(?=[A-Za-z0-9_\-.:/~$+|]{15})"
    r"(?:(?:sk|pk|rk|tk|ak|csk)[-_](?=[A-Za-z_\-]{0,511}\d)[A-Za-z0-9_\-]{16,512}"
    rf"|{_JWT}|[MNO]{_W}{{23,27}}\.{_W}{{6}}\.{_W}{{27,40}}|{_A}{{14}}\.atlasv1\.[A-Za-z0-9_\-=]{{60,80}}"
    rf"|{_W}{{11}}:APA91b{_W}{{100,200}}"
    rf"|[A-Za-z0-9_~.]{{3}}[0-9]Q~[A-Za-z0-9_~.\-]{{31,34}}|{_A}{{6}}_{_A}{{29}}_mmk|{_H}{{32}}-us[0-9]{{1,2}}"
    rf"|s\.(?=[A-Za-z]{{0,23}}[0-9]){_A}{{24}}|(?:sc|ext|scauth|authress)_[A-Za-z0-9]{{5,30}}\.[A-Za-z0-9]{{4,6}}\.acc[_-]{_W}{{10,32}}[.a-z0-9_+/=\-]{{30,120}}"
    rf"|2{_A}{{26}}_{_A}{{21}}|(?:LLM\|)?[0-9]{{15,17}}\|{_W}{{26,40}}"
    rf"|[A-Za-z0-9+/]{{76,80}}\+ASt[A-Za-z0-9+/]{{6,10}}={{0,2}}|[12]/[0-9]{{16}}(?:/[0-9]{{16}})?:{_H}{{32}}"
    rf"|{_A}{{32,86}}(?:JQQJ9|AzSe|AzCa|AZDO|ACDb|APIM){_A}{{4,30}}|{_H}{{36}}NRAL"
    rf"|(?:bot)?\d{{8,10}}:AA{_W}{{30,40}}"
    rf"|{'|'.join(_KNOWN)})(?![_\-]?[A-Za-z0-9])"
)
_UNLISTED = re.compile(
    r"(?<![A-Za-z0-9_\-./+%])([A-Za-z][A-Za-z0-9]{1,15}(?:[_\-][A-Za-z0-9]{1,12}){0,3}?)([_\-])([A-Za-z0-9]{20,255})"
    r"(?![A-Za-z0-9_\-/]|\.[A-Za-z0-9])"
)
"""A short name and a long run, as most vendors make keys."""
_BEHIND_NAME = re.compile(r"[_\-][A-Za-z0-9]{20}")
_TELLING = re.compile(r"(?:[_\-]|\b)(?:test|tok|api|auth|access|sbx|sandbox|dev|stg|admin|svc|priv|prv|sec)\Z", re.IGNORECASE)
_THINGS = re.compile(
    r"(?:sha\d+|md5|etag|chatcmpl|cmpl|call|msg|req|resp|run|users?|usr|cus|evt|files?|img|docs?|thread|trace|span|sess|org|team|"
    r"proj|order|task|job|tool|batch|item|upload|asset|build|dpl|prj|txn|pi|ch|sub|in|price|acct|cs)(?![A-Za-z])",
    re.IGNORECASE,
)
"""How the names of things begin that are no secrets."""
_SMALL_AND_LARGE = re.compile("[a-z].*[A-Z]|[A-Z].*[a-z]")
SWITCHES = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
"""Where letters and digits meet."""
_HOOK = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks|hooks\.zapier\.com/hooks/catch"
    r"|\.webhook\.office\.com/webhookb2|outlook\.office\.com/webhook|/open-apis/bot/v2/hook)/([A-Za-z0-9_\-/@]{12,256})"
)
OF_KEYS = "access|account|private|signing|encryption|subscription|storage|deploy|master|license|client|shared|consumer|admin"
_ELSEWHERE = (
    "geheimnis", "schlüssel", "jeton", "clave", "chave", "chiave", "klucz", "adgangskode", "salasana", "секрет", "密钥",
    "令牌", "토큰", "トークン", "contraseña", "mot_de_passe", "пароль", "senha", "密码", "パスワード", "비밀번호", "hasło",
    "wachtwoord", "lösenord", "heslo", "şifre",
)  # fmt: skip
"""What keys, tokens and passwords are called in other languages, also as the beginning of a longer name."""
_SECRETS = (
    "secret", "passw", "pwd", "passphrase", "credential", "kennwort", "geheim", "clef d'", "clef secr", "clé api", "clé d'",
    "clé secr", "clé d’", "secreto", "segreto", "segredo", "gettone", "sleutel", "sekret", "tajn", "klíč", "kľúč", "nyckel",
    "hemlig", "nøgle", "nøkkel", "passord", "kodeord", "avain", "salaisuu", "tunnus", "anahtar", "parola", "gizli", "ключ",
    "пароль", "секрет", "токен", "κλειδί", "κωδικ", "διακριτικ", "kulcs", "jelszó", "titk", "cheie", "cheia", "キー", "鍵",
    "秘密", "口令", "密鑰", "権杖", "키", "시크릿", "암호", "مفتاح", "رمز", "كلمة المرور", "כלמת", "מפתח", "סיסמה", "אסימון",
    "कुंजी", "टोकन", "पासवर्ड", "kunci", "sandi", "mật khẩu", "khóa", "mã bí mật", "กุญแจ", "โทเค็น", "รหัสผ่าน",
)  # fmt: skip
"""What secrets are called, as the beginning of a word, besides `_ELSEWHERE`, *key* and *token*."""
NAMING = (*_SECRETS, *_ELSEWHERE)
"""What secrets are called, as the beginning of a word, besides *key* and *token*."""
_CALLED = re.compile(
    rf"(?:(?i:\bauthorization|\bbearer|\bbasic|\bssws|api[-_ ]?key|(?:{OF_KEYS})[-_ ]?key(?:[-_]id|-data)?|secret[\w\-]{{0,24}}|"
    rf"(?<!publickey)token|signingkey|passw(?:or[dt]|d)|passphrase|(?:{'|'.join(_ELSEWHERE)})[\w\-]{{0,16}})|[A-Z0-9]_KEY|[\"']auth|\b_auth)"
    r"(?:[\"']?\s{0,3}[:=]\s{0,3}|[\"'] value=|\s)[\"']?([A-Za-z0-9_\-./+=~]{16,2048})"
)
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
"""How code calls a value that is kept elsewhere."""
_QUOTED = re.compile(r"(?i:secret[\w\-]{0,24})[\"']?\s{0,3}[:=]\s{0,3}[\"']((?=[^,;]{8})[^\s\"'<>]{16,256})[\"']")
_IN_ENV = re.compile(r"SECRET[A-Z0-9_]{0,24}=(?![${%\[<])([^\s\"'<>,;]{24,256})")
_IN_QUERY = re.compile(r"[?&](?:key|appid|auth|sig)=([A-Za-z0-9_\-]{24,512})")
_COOKIE = re.compile(r"(?i:sessid|session(?:[_-]?(?:id|token))?|\bsid|_sess|aspxauth)=([A-Za-z0-9_\-.%+/=~:]{20,512})")
_TYPED = re.compile(r"(?i:\blogin )([A-Za-z0-9]{32,128})|--(?:token|secret)[ =][\"']?([^\s\"'<>$/.\-\[{][^\s\"'<>]{7,256})")
"""At a prompt: behind an option, or a word of a command."""
_SIGNED = re.compile(r"(?:[?&;]sig=|[-\s]Signature=)([A-Za-z0-9%+/=]{40,512})")
_IN_URL = re.compile(r"://[^\s/@:\"']{0,64}:([^\s/@\"']{3,128})@")
_PEM = re.compile(r"----[ -]BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?[ -]----|\bPrivate-Lines: \d{1,4}\b")
_PEM_END = re.compile(r"----[ -]END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?[ -]----|\bPrivate-MAC: [0-9a-f]{40,64}\b")

BLANK = rb"(?:[\x00-\x20\x22\x27\x80-\xff]|" + ESCAPE + rb"|\\\x22)"
_ENOUGH = 10
"""Signs of a key behind its beginning that the filter asks for: with all of them RE2 would run out of memory, and say no."""


def _beginning(key: str) -> bytes:
    """How a key of `_KNOWN` begins, as far as the filter looks; a slash may be escaped."""
    head, _, rest = key.partition("{")
    few = min(_ENOUGH, int(rest[: re.search(r"\D", rest).start()]))  # type: ignore[union-attr]
    if head.endswith(("/=]", "/]")):
        at = head.rindex("[")
        head = rf"{head[:at]}(?:{head[at:]}|\\/)"
    return f"{head}{{{few}}}".replace("//", r"(?:\\?/){2}").encode()


LETTERS = rb"(?:[A-Za-z0-9_\-\x80-\xff]|\\u[0-9A-Fa-f]{4})*"
COLON = rb"[:=\x22\x27]|\xef\xbc\x9a|\\u[fF][fF]1[aA]"
AFTER = rb"(?:" + BLANK + rb"|[:=>`*\]\)\\]|now|jetzt|[rbfuRBFU][\\\x22'`])"
ALONE_FILTER = rb"|".join(
    (
        rb"(?:^|[^0-9A-Za-z]|"
        + ESCAPE
        + rb")(?:eyJ[A-Za-z0-9_\-]{8}|(?:sk|pk|rk|tk|ak|csk)[-_][A-Za-z0-9_\-]{10}|s\.[A-Za-z0-9]{24}|"
        + rb"|".join(map(_beginning, _KNOWN))
        + rb")",
        rb"_[A-Za-z0-9]{30}|-[A-Za-z0-9]{32}|(?i:test|tok|api|auth|access|sbx|sandbox|dev|stg|admin|svc|priv|prv|sec)_[A-Za-z0-9]{20}",
        rb"\.atlasv1\.|:APA91b|\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27}",
        # The digits of a Telegram token may be those of another script.
        rb":AA[A-Za-z0-9_\-]{30}|slack\.com\\?/|discord(?:app)?\.com\\?/api|hooks\.zapier\.com|(?:webhook|outlook)\.office\.com|/v2\\?/hook\\?/",
        rb"\+ASt|2[A-Za-z0-9]{26}_[A-Za-z0-9]{10}|[0-9]{8}\|[A-Za-z0-9_\-]{10}|\.acc[_\-][A-Za-z0-9]",
        rb"[12]\\?/[0-9]{16}|JQQJ9|AzSe|AzCa|AZDO|ACDb|APIM|NRAL",
        rb"[0-9]Q~[A-Za-z0-9_~.\-]{8}|[A-Za-z0-9]_mmk|[a-f0-9]{8}-us[0-9]|[?&](?:key|appid|auth|sig)=[A-Za-z0-9_\-]{24}",
        rb"(?i:sess(?:id|ion(?:[_\-]?(?:id|token))?)?|sid|aspxauth)=(?:[A-Za-z0-9_\-.%+/=~:]|\\/){16}",
        rb"(?i:login )[A-Za-z0-9]{32}|--(?:token|secret)[ =]",
        rb"(?:sig|Signature)=(?:[A-Za-z0-9%+/=]|\\/){16}",
        rb":(?:\\?/){2}[^\x00-\x20/@:\x22\x27]*:[^\x00-\x20@]{3,}@",
        rb"----[ -]BEGIN |Private-Lines: ",
        rb"SECRET[A-Z0-9_]{0,24}=[^\x00-\x20\x22'<>,;]{24}|(?:[\x22']|\b_)auth" + BLANK + rb"*(?:[:=]|value)",
        rb"(?i:secret)" + LETTERS + BLANK + rb"*(?:" + COLON + rb"|>)" + BLANK + rb"*[^\x00-\x20\x22',;<>]{8}",
    )
)  # fmt: skip
"""Secrets that no word need lead to, and passwords, however short."""
KEY_FILTER = (
    ALONE_FILTER
    + rb"|(?i:authorization|bearer|basic|ssws|key(?:[\-_]id|-data)?|token|passw(?:or[dt]|d)|passphrase|(?:secret|"
    + rb"|".join(map(bytes_of, _ELSEWHERE))
    + rb")"
    + LETTERS
    + rb")(?:"
    + BLANK
    + rb"|[:=]|value)+(?:[A-Za-z0-9_\-./+=~]|\\/){16}"
)
"""The same, and what stands directly behind a name."""


_SHOWN = (
    (("hook",), _HOOK, True),
    (("sig=", "signature="), _SIGNED, True),
    (("://",), _IN_URL, True),
    (("bearer", "basic", "ssws", "key", "secret", "token", "passw", "passphrase", "auth", *_ELSEWHERE), _CALLED, False),
    (("secret",), _QUOTED, False),
    (("secret",), _IN_ENV, False),
    (("key=", "appid=", "auth=", "sig="), _IN_QUERY, False),
    (("sess", "sid=", "aspxauth="), _COOKIE, False),
    (("login ", "--"), _TYPED, False),
)
"""Words without which an expression finds nothing, the expression, and whether a value needs no letters and digits."""


def keys(text: str) -> list[Span]:
    """Where secrets stand; of a password and a token only the value, without the word that names it."""
    spans, lower = [_sentence_left(m, 0) for m in _KEY.finditer(text)], text.lower()
    if _BEHIND_NAME.search(text) is not None:
        spans += [m.span() for m in _UNLISTED.finditer(text) if _is_unlisted(*m.groups())]
    for words, pattern, sure in _SHOWN:
        if any(word in lower for word in words):
            for match in pattern.finditer(text):
                value = match[match.lastindex or 0]
                if sure or _is_pair(match[0], value) or (mixed(value) and not (pattern is _CALLED and _is_code(value))):
                    spans.append(_sentence_left(match, match.lastindex or 0))
    at = 0
    while (begin := _PEM.search(text, at)) is not None:
        end = _PEM_END.search(text, begin.end())
        at = len(text) if end is None else end.end()
        spans.append((begin.start(), at))
    return longest(spans)


def _sentence_left(match: re.Match[str], group: int) -> Span:
    """Where a secret stands without the full stop behind it; an unsigned JWT ends in one of its own."""
    start, end = match.span(group)
    value = match[group]
    return start, end if value.startswith("eyJ") else start + len(value.rstrip("."))


def mixed(value: str) -> bool:
    """Letters and digits: a word alone is no secret, nor is a number."""
    return any(c.isdecimal() for c in value) and any(c.isalpha() for c in value)


def _is_pair(named: str, value: str) -> bool:
    """Whether a value behind *Basic* is a user and a password in base64, which may have no digit."""
    if named[:5].lower() != "basic" or not value.isascii():
        return False
    try:
        return b":" in base64.b64decode(value, validate=True)
    except ValueError:
        return False


def _is_unlisted(name: str, sign: str, run: str) -> bool:
    """Whether a name and a run are a key of a vendor that is not listed: random letters, large and small, and digits."""
    enough = 20 if sign == "_" and _TELLING.search(name) is not None else 30 if sign == "_" else 32
    random = len(SWITCHES.findall(run)) > 2 and _SMALL_AND_LARGE.search(run) is not None
    return random and len(run) >= enough and _THINGS.match(name) is None


def _is_code(value: str) -> bool:
    """Whether a value is the name of one, such as `settings.secret_v2`."""
    return DOTTED.fullmatch(value) is not None and sum(map(str.isdecimal, value)) < 4
