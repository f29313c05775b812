"""Passwords: what follows their name in any notation, language or sentence, and what commands and addresses of databases hold.

The exact finder and its filter stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tunekeeper.text.keys import AFTER, BLANK, COLON, DOTTED, LETTERS, mixed
from tunekeeper.text.numbers import ESCAPE, Span, bytes_of, longest

PASSWORDS = (
    "contraseña", "contrasenya", "mot de passe", "пароль", "senha", "palavra-passe", "密码", "密碼", "口令",
    "パスワード", "비밀번호", "암호", "hasło", "hasła", "wachtwoord", "lösenord", "heslo", "şifre", "parola",
    "adgangskode", "kodeord", "passord", "salasana", "kennwort", "jelszó", "jelszav", "mật khẩu", "kata sandi",
    "รหัสผ่าน", "كلمة المرور", "סיסמה", "पासवर्ड", "lozinka", "κωδικός", "парола", "رمز عبور", "گذرواژه",
)  # fmt: skip
"""What passwords are called elsewhere."""
_TOLD_BY = (*PASSWORDS, "clave")
"""The same, and what means a password only where one follows."""
VERBS = (
    "is", "was", "ist", "lautet", "est", "es", "è", "é", "to", "as", "är", "er", "on", "je", "jest", "este", "είναι", "là",
    "adalah", "คือ", "היא", "هي",
)  # fmt: skip
"""What stands between a name and its value in a sentence."""
_ASSIGNED = r"[\"'`*\])\\]{0,3}\s{0,3}(?:=>|:=|[:=：])[*_]{0,2}\s{0,3}[rbfu]?[\"'`*\\]{0,3}"
_CELLS = r"</\w{1,8}>\s{0,20}<\w{1,8}>"
_PW = r"[^\s\"'`,;<>“”„«»\u3001-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff00-\uffef]"
"""What passwords are made of: nothing that ends a value, and no sign of a script without blanks."""
_PHRASE = re.compile(r"[A-Za-z]{3,12}(?:[-_.][A-Za-z]{3,12}){2,6}[-_.]?[0-9]{1,4}!?")
_MANY_CLASSES, _TURN = 3, re.compile("[a-z][A-Z]")
_CLASSES = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"), re.compile(r"[!#$%&*+=?@^~]"))
"""Of these a password has `_MANY_CLASSES`, or letters that turn large more than once."""
_NAMED = re.compile(
    rf"(?:(?i:passw(?:or[dt]|d)|passphrase|passcode|pwd|{'|'.join(PASSWORDS)})[^\W\d_]{{0,4}}"
    rf"(?:{_ASSIGNED}|\s{{1,2}}[\"'`]|>\s{{0,20}}|{_CELLS}|[はが이가는은] ?(?=[!-~]{{6}})"
    rf"|[\"'`*]? (?i:{'|'.join(VERBS)})(?: now| jetzt)?:? "
    r"[\"'`*]{0,2})"
    rf"|(?:(?i:(?<![A-Za-z])(?:pass|pw|psw|mdp))|(?<=[a-z])Pass){_ASSIGNED})({_PW}{{6,128}})"
    rf"|(?i:\bpassw(?:or[dt]|d)|\bpassphrase) ({_PW}{{8,128}})"
)
_WORD = r"(?:[^\W\d_]|[^\x00-\x7f])"
_TOLD = re.compile(
    rf"(?i:{'|'.join(_TOLD_BY)}){_WORD}{{0,6}}(?: {_WORD}{{1,6}}){{0,2}}(?: |[はが이가는은是])(?=[!-~]{{8}})({_PW}{{8,64}})"
)
"""A password behind its name and a word or two, with no sign between that says so."""
_BESIDE = re.compile(
    r"(?i:passw(?:or[dt]|d)|passphrase|pwd|_pass)(?: ?\| {1,2}|\\?[\"']\s?(?:,\s{0,2}|>\s{0,2})\\?[\"']?"
    rf"|{_CELLS}|\\?[\"']?,?\s{{0,16}}\\?[\"']?value\\?[\"']?\s?[:=] ?\\?[\"']?|{_ASSIGNED})({_PW}{{8,64}})"
)
"""A password in the cell or the argument behind its name."""
_AFTER_NAME = re.compile(
    rf"(?:(?i:passw(?:or[dt]|d)|passphrase|pwd|_pass)|\bPW)"
    rf"(?:\s{{1,3}}| ?\.{{3,}} ?| ?(?:->|→|=>) ?|\(\\?[\"']| to |>\s{{0,20}}|:\s?[|>]-?\s{{1,12}}"
    rf"|\\?[\"']?\s{{0,16}}value: ?)({_PW}{{8,64}})"
)
"""A password behind what stands between a name and other things as well."""
_PART = (
    r"(?:(?:[A-Z]?[a-z]{2,}|[A-Z]{2,}(?=[A-Z][a-z]{2}))(?:\d?[A-Z][a-z]{2,})*|[A-Z]{2,}(?:\d{1,3}[A-Z]{2,})?|[a-z]{3,}[24][a-z]{3,}|"
    r"[A-Za-z])\d{0,5}|\d{1,4}"
)
PLAIN = re.compile(
    rf"(?:{_PART})(?:[\-_./+@=|:&]{{1,3}}(?:{_PART}))*"
    r"|\d[\d.\-_/+]{0,7}[A-Za-z%]{0,8}|\d{4}-\d\d-\d\d.*|[$@#%]+[{(]{0,2}[\w.\- ]+[)}]{0,2}%?|[^@]*@[^@]*\.[a-z]{2,}"
)
"""What a person or a program calls something: words with numbers, measures, dates, variables, addresses."""
_CODE = re.compile(r"[A-Za-z_][\w.:>!\-]*[(\[{]|[{\[(%]")
_PASSED, _A_RESULT = re.compile("pass", re.IGNORECASE), re.compile(r"\d|\w*[_/]")
_ENOUGH_ALONE = 8
"""Characters of a password without digits."""
_WORDS = r"(?: [^\s]{1,40}){0,6}"
_GIVEN = re.compile(
    rf"(?:(?:docker|az|podman|helm registry) login{_WORDS} -p |(?:mysql\w{{0,8}}|mariadb|sshpass){_WORDS} -p|sshpass -p "
    rf"|redis-cli{_WORDS} -a |ldap[a-z]{{3,10}}{_WORDS} -w |7z[a-z]?{_WORDS} -p|htpasswd -\w{{1,6}} [^\s]{{1,80}} [^\s]{{1,64}} "
    r"|\spass:|-(?:store|key)pass |/user:[^\s]{1,64} |\blogin [^\s]{1,64} password |\bWIFI:[^\s]{0,80}?;P:)"
    rf"[\"']?(?![$%<{{\[*/\-])((?:(?!\)){_PW}){{6,128}})"
    r"|(?:jdbc:oracle:\w{1,5}:|\bsqlplus )[\w$#]{1,30}/([^\s\"'/]{6,128})@(?:[A-Za-z(]|//)"
    r"|(?i:(?:[;?&]\s?|,)(?:password|passwd|pwd)|\buser(?:name)?=[^\s]{1,64} password)=(?![$%<{\[*])"
    rf"((?:(?!&){_PW}){{6,128}})"
)
"""Where a command or the address of a database has a password, whatever it looks like."""
_OPTION = re.compile(rf"(?:--password[ =]|\s-u [A-Za-z0-9_.\-]{{1,64}}:)[\"']?(?![<$/.\-\[{{])({_PW}{{8,128}})")
"""An option that has a password; its name is known to prose as well."""
_LEAST, _NOTATION = 6, re.compile("[:=：\"'`>|]")
_OF_SENTENCE = re.compile(r"\?(?!\S)|!\?(?!\S)|!(?= [A-ZÀ-Þ])")
_NONE = frozenset(("none", "null", "password", "passwd", "required", "undefined", "string"))
_CLOSED = {")": "(", "]": "[", "}": "{"}
"""How brackets are opened that may end a value."""

PASSWORD_FILTER = rb"|".join(
    (
        rb"(?:(?i:passw(?:or[dt]|d)|passphrase)|PW) [^\x00-\x20\x22',;<>]{6}",
        rb"(?i:(?:passw(?:or[dt]|d)|passphrase|passcode|pwd|" + rb"|".join(map(bytes_of, PASSWORDS)) + rb")" + LETTERS
        + rb"(?:" + BLANK + rb"*(?:" + COLON + rb"|[>`*\]\)\\]|(?:" + rb"|".join(map(bytes_of, "はが이가는은")) + rb"))"
        + rb"|\\?[\x22'`*]? (?:" + rb"|".join(map(bytes_of, VERBS)) + rb")[: ])"
        + rb"|(?:^|[^a-z]|" + ESCAPE + rb"|[a-z])(?:pass|pw|psw|mdp)" + BLANK + rb"*(?:" + COLON + rb"|[`*\]\)\\]))"
        + AFTER + rb"*[^\x00-\x20\x22'`,;<>]{6}",
        rb"(?i:" + rb"|".join(map(bytes_of, _TOLD_BY)) + rb")" + LETTERS
        + rb"(?: (?:[A-Za-z\x80-\xff]|\\u[0-9A-Fa-f]{4})+){0,2} ?"
        + rb"[!#-&(-+\-./0-:=?-~]{8}",
        rb"(?i:passw(?:or[dt]|d)|passphrase|pwd|_pass)[^A-Za-z0-9_][\x00-\xff]{0,32}?[!#-&(-+\-./0-:=?-~]{8}",
        rb"(?i:[;,?&] ?(?:passw(?:ord|d)|pwd)|password) ?=|(?:docker|az|podman|registry) login|ldap[a-z]{3,10} "
        rb"|htpasswd -|sqlplus |:oracle:|7z[a-z]? |pass:|(?:store|key)pass |/user:|WIFI:",
        rb"(?:mysql[a-z]{0,8}|mariadb|sshpass|redis-cli) |--password[ =]|-u [A-Za-z0-9_.\-]{1,64}:[^\x00-\x20]{8}",
    )
)  # fmt: skip
"""Where a password could be in bytes. Apart from other secrets, whose automaton is large enough."""


def passwords(text: str) -> list[Span]:
    """Where passwords stand, without the word that names them, the sign that ends their sentence and the brackets around them."""
    spans: list[Span] = []
    for pattern, test in (
        (_NAMED, _is_named),
        (_TOLD, _is_strong),
        (_BESIDE, _is_odd),
        (_AFTER_NAME, _is_strong),
        (_OPTION, _is_odd),
        (_GIVEN, _is_given),
    ):
        for match in pattern.finditer(text):
            group = match.lastindex or 0
            value = _ended(match[group])
            if test(match, value):
                spans.append((match.start(group), _told_end(match, group, value)))
    return longest(spans)


@lru_cache(maxsize=512)
def is_of_password(field: str) -> bool:
    """Whether a field is called a password."""
    lower = field.lower()
    return any(word in lower for word in ("pass", "pwd", *PASSWORDS))


def _ended(value: str) -> str:
    value = value.rstrip(".:\\…")
    return value[:-1] if value[-1:] in _CLOSED and _CLOSED[value[-1]] not in value else value


def _told_end(match: re.Match[str], group: int, value: str) -> int:
    """Where a value ends: before the question mark, or the exclamation mark before a capital, of the sentence that tells it."""
    start, end = match.start(group), match.start(group) + len(value)
    if _NOTATION.search(match.string, match.start(), start) is not None:
        return end
    left = _OF_SENTENCE.search(match.string, start + _LEAST, end + 3)
    return end if left is None or left.end() > end else left.start()


def _is_named(match: re.Match[str], value: str) -> bool:
    """Whether a value is a password, and no code or what passed: `PASS: test_login_2`."""
    passed = _PASSED.match(match[0]) is not None and _A_RESULT.match(value) is not None and PLAIN.fullmatch(value) is not None
    return (mixed(value) and (not passed or _classes(value) >= _MANY_CLASSES)) or _is_alone(match)


def _is_alone(match: re.Match[str]) -> bool:
    """Whether what stands for a password is none of the things a word could be, though it has no digit."""
    return match.lastindex == 1 and _CODE.match(match[1]) is None and _is_unusual(match[1])


def _is_given(match: re.Match[str], value: str) -> bool:
    """Whether a value is no code, and no word that stands for a password."""
    return value.lower() not in _NONE and _CODE.match(value) is None and DOTTED.fullmatch(value) is None


def _is_strong(match: re.Match[str], value: str) -> bool:
    """Whether nobody writes a value but as a password: signs of three classes, or words with a number behind them."""
    if not value.isascii() or len(value) < _ENOUGH_ALONE or _CODE.match(value) is not None:
        return False
    if _PHRASE.fullmatch(value) is not None:
        return True
    mixed_up = _classes(value) >= _MANY_CLASSES or len(_TURN.findall(value)) > 1
    return mixed_up and PLAIN.fullmatch(value) is None


def _is_odd(match: re.Match[str], value: str) -> bool:
    """Whether nobody calls anything so: where a notation says that a password is here."""
    return (_CODE.match(value) is None and _is_unusual(value)) or _is_strong(match, value)


def _is_unusual(value: str) -> bool:
    value = value.partition("\\")[0].strip("*!.:?(){}[]")
    return len(value) >= _ENOUGH_ALONE and value.isascii() and PLAIN.fullmatch(value) is None


def _classes(value: str) -> int:
    return sum(each.search(value) is not None for each in _CLASSES)
