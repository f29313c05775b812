"""Personal data as people and programs write it, and clean text that looks like it: seeded, no mirror image of the patterns."""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Callable

DIGITS, CAPS, LOWER = string.digits, string.ascii_uppercase, string.ascii_lowercase
ALNUM, HEX = string.ascii_letters + string.digits, "0123456789abcdef"
CARRIERS = (
    "please write to {} about it",
    "my details: {}",
    "{} is what I use",
    "I gave you {}, did you see it?",
    "Contact ({}) as before.",
    "Bitte an {} senden. Danke!",
    "Sehr geehrte Damen und Herren,\nmeine Daten:\n{}\nMit freundlichen Grüßen",
    '{{"value": "{}", "seen": true}}',
    "<td>{}</td>",
    "| name | {} |",
    "El cliente dio {} ayer",
    "客户的联系方式：{}。",
    "请联系{}谢谢",
    "**{}**",
    "ticket says '{}' (unconfirmed); see above",
)
NAMES = (
    "ana",
    "bo.li",
    "maria-jose",
    "j_doe",
    "o'brien",
    "k.muller",
    "t1000",
    "xu",
    "dr.no",
    "ANNA.SCHMIDT",
    "søren",
    "j.doe+shop",
)
DOMAINS = (
    "example.com",
    "mail.co.uk",
    "sub.dept.example.org",
    "bücher.example",
    "xn--bcher-kva.example",
    "gmail.com",
    "web.de",
    "firma-gmbh.de",
    "EXAMPLE.NET",
    "почта.рф",
    "example.museum",
    "uni-köln.de",
    "a.io",
)


def pick(rng: random.Random, letters: str, n: int) -> str:
    return "".join(rng.choices(letters, k=n))


def number(rng: random.Random, shape: str) -> str:
    """`shape` with every N a digit from 2 to 9 and every # any digit."""
    return "".join(rng.choice("23456789") if c == "N" else rng.choice(DIGITS) if c == "#" else c for c in shape)


def email(rng: random.Random) -> str:
    name, domain = rng.choice(NAMES) + rng.choice(("", "7", "_x", ".b")), rng.choice(DOMAINS)
    dotted = domain.replace(".", " [dot] ")
    return rng.choice(
        (
            *[f"{name}@{domain}"] * 6,
            f"<{name}@{domain}>",
            f"mailto:{name}@{domain}?subject=Hi",
            f"[{name}@{domain}](mailto:{name}@{domain})",
            f"{name}%40{domain}",
            f"{name} [at] {domain}",
            f"{name}(at){domain}",
            f"{name} [at] {dotted}",
            f'"{name} q"@{domain}',
            f"{name}@[192.0.2.{rng.randint(1, 254)}]",
        )
    )


PHONES = (
    "+49 (0)30 / N#####",
    "+49 (0) 30 N##### - 0",
    "030-N#####",
    "030 / N## ## ##",
    "(030) N#####",
    "0049 30 N######",
    "004930N######",
    "+4930N######",
    "+49.30.N######",
    "0170/N######",
    "0170-N######",
    "0171 N## ## ##",
    "+49 170 N######",
    "(415) 555-01## ext. 4",
    "(N##) N##-####",
    "N##-N##-####",
    "N##.N##.####",
    "N## N## ####",
    "+1 (N##) N##-####",
    "+1-N##-N##-####",
    "+1 N## N## ####",
    "+1N##N######",
    "1-800-N##-####",
    "1 (800) N##-####",
    "(N##)N##-####",
    "N##-N##-#### x12",
    "N##-N##-#### extension 123",
    "+1.N##.N##.####",
    "+44 20 7946 0###",
    "+44 (0)20 7946 0###",
    "020 7946 0###",
    "(020) 7946 0###",
    "07700 900###",
    "+447700900###",
    "00447700900###",
    "07700-900-###",
    "06 12 34 5# ##",
    "06.12.34.5#.##",
    "+33 6 12 34 5# ##",
    "+33 (0)6 12 34 5# ##",
    "06-12-34-5#-##",
    "+34 612 34 5# ##",
    "0034 612 34 5# ##",
    "+39 06 1234 5###",
    "+39 347 123 4###",
    "06-1234567#",
    "+31 6 1234567#",
    "020-123 45 6#",
    "+41 44 668 18 ##",
    "044 668 18 ##",
    "+43 1 58858-0",
    "+48 600 123 ###",
    "+46 8 123 45 6#",
    "08-123 45 6#",
    "+47 22 33 44 ##",
    "+45 12 34 56 ##",
    "+358 40 123 456#",
    "+91 98765 43###",
    "+91-9876543###",
    "+86 138 0013 8###",
    "+86 13800138###",
    "+81 3-1234-5###",
    "03-1234-5###",
    "090-1234-5###",
    "+81-90-1234-5###",
    "+61 412 345 ###",
    "0412 345 ###",
    "(02) 9876 5###",
    "+55 (11) 91234-5###",
    "(11) 91234-5###",
    "+52 55 1234 5###",
    "+7 (495) 123-45-##",
    "8 (495) 123-45-##",
    "+380 44 123 4###",
    "+90 532 123 45 ##",
    "+971 50 123 4###",
    "+972-3-123-4###",
    "+27 82 123 4###",
    "+82 2-123-4###",
    "010-1234-5###",
    "+65 6123 4###",
    "+852 2345 6###",
    "+353 1 234 5###",
    "+32 2 123 45 ##",
    "0032 2 123 45 ##",
    "+351 21 123 45##",
    "+420 601 123 ###",
    "+36 1 234 5###",
    "+30 21 0123 4###",
    "tel:+1-201-555-01##",
    "+1\u00a0N##\u00a0N##\u00a0####",
    "+49\u2011170\u2011N######",
    "+49–30–N######",
    "+49 30 N######-12",
    "0470 12 34 5#",
    "0470/12.34.5#",
    "0470 02 05 1#",
    "8-912-345-67-##",
    "8 912 345 67 ##",
    "0 532 123 45 ##",
    "347 1234 5##",
    "347 123456#",
    "０９０－１２３４－５###",
    "０３（１２３４）５###",
    "https://wa.me/49151N######",
    "06151N#####",
    "015#N#######",
    "011349604##",
    "0 802 843 7##",
    "0 7349 8###",
    "N## - N## - ####",
    "(2) 2106 9###",
)
ALONE = (
    "N##N######",
    "1N##N######",
    "69N#######",
    "1193219####",
    "605 42N ###",
    "8185 4N##",
)
"""What stands for a number by itself only: in a cell, a field, on a line of its own."""
LONE = (
    "{}",
    "Kaj Lund ({}) wrote",
    '{{"contact": "{}"}}',
    "Kaj\t{}\tOslo",
    "17,Kaj,{},open",
    "| 3 | Kaj | {} |",
    "Kaj - {}",
    "ok: {}, thanks",
)


def phone(rng: random.Random) -> str:
    if rng.random() < 0.1:
        return rng.choice(LONE).format(number(rng, rng.choice(ALONE)))
    if rng.random() < 0.12:  # bare digits say what they are only by the words before them
        said = rng.choice(
            (
                "call me on {}", "Tel. {}", "phone: {}", "mobile {}", "Telefon: {}", "my number is {}", "fax {}", "Handy {}",
                "Rückruf bitte unter {}", "позвоните по номеру {}", "llámame al {}", "rappelez-moi au {}", "mi número es {}",
                "meine Nummer ist {}", "chiamami al {}", "bel me op {}", "proszę dzwonić {}",
            )
        )  # fmt: skip
        return said.format(
            number(rng, rng.choice(("N##N######", "0170N######", "07700900###", "138001380##", "N## - N## - ####")))
        )
    return number(rng, rng.choice(PHONES))


def luhn(digits: str) -> int:
    doubled = [int(c) * (1 + place % 2) for place, c in enumerate(reversed(digits))]
    return sum(d // 10 + d % 10 for d in doubled) % 10


ISSUED = (
    ("4", 16, (4, 4, 4, 4)),
    ("51", 16, (4, 4, 4, 4)),
    ("55", 16, (4, 4, 4, 4)),
    ("2221", 16, (4, 4, 4, 4)),
    ("37", 15, (4, 6, 5)),
    ("34", 15, (4, 6, 5)),
    ("6011", 16, (4, 4, 4, 4)),
    ("65", 16, (4, 4, 4, 4)),
    ("3530", 16, (4, 4, 4, 4)),
    ("36", 14, (4, 6, 4)),
    ("62", 16, (4, 4, 4, 4)),
    ("62", 19, (6, 13)),
    ("6304", 16, (4, 4, 4, 4)),
    ("4", 13, (4, 4, 5)),
    ("2131", 15, (15,)),
    ("1800", 15, (15,)),
    ("3599", 16, (16,)),
    ("5018", 12, (12,)),
    ("0604", 12, (12,)),
    ("4", 16, (8, 8)),
    ("55", 16, (6, 10)),
    ("4", 16, (1,) * 16),
)


def card(rng: random.Random) -> str:
    prefix, length, sizes = rng.choice(ISSUED)
    body = prefix + pick(rng, DIGITS, length - 1 - len(prefix))
    whole = next(body + d for d in DIGITS if luhn(body + d) == 0)
    groups, at = [], 0
    for size in sizes:
        groups.append(whole[at : at + size])
        at += size
    odd = ("\u00a0", ".", " - ", "  ", ",", ":", ";", "*", "/", "~", "\u2013") if sizes == (4, 4, 4, 4) else ("", "-")
    written = rng.choice(("", "", " ", " ", "-", "-", rng.choice(odd))).join(groups)
    return rng.choice(("{}", "{}", "{} 12/27", "Visa {}", "card:{}", "#{}", "{} CVV 123")).format(written)


BBAN = {
    "DE": "0" * 18, "GB": "AAAA" + "0" * 14, "FR": "0" * 10 + "C" * 11 + "00",
    "NL": "AAAA" + "0" * 10, "ES": "0" * 20, "NO": "0" * 11,
    "CH": "0" * 5 + "C" * 12, "AT": "0" * 16, "IT": "A" + "0" * 10 + "C" * 12, "MT": "AAAA" + "0" * 5 + "C" * 18, "BE": "0" * 12,
    "PL": "0" * 24, "IE": "AAAA" + "0" * 14, "SE": "0" * 20, "DK": "0" * 14, "PT": "0" * 21,
    "TR": "0" * 22, "SA": "00" + "C" * 18,
}  # fmt: skip


def iban(rng: random.Random) -> str:
    country = rng.choice(list(BBAN))
    kinds = {"0": DIGITS, "A": CAPS, "C": CAPS + DIGITS}
    body = "".join(rng.choice(kinds[c]) for c in BBAN[country])
    left = int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    whole = f"{country}{98 - left:02}{body}"
    groups = [whole[at : at + 4] for at in range(0, len(whole), 4)]
    written = rng.choice((whole, " ".join(groups), " ".join(groups), "-".join(groups), "\u00a0".join(groups), whole.lower()))
    written = written.lower() if rng.random() < 0.15 else written
    return rng.choice(("{}", "{}", "IBAN: {}", "IBAN:{}", "IBAN {} BIC COBADEFFXXX", "iban={}")).format(written)


def ip(rng: random.Random) -> str:
    four = ".".join(str(rng.randint(1, 254)) for _ in range(4))
    group = lambda: f"{rng.randint(1, 65535):x}"  # noqa: E731
    full = ":".join(group() for _ in range(8))
    return rng.choice(
        (
            four,
            four,
            four,
            f"{four}:8080",
            f"{four}/24",
            f"http://{four}/admin",
            f"[{four}]",
            f"client={four}",
            four.replace(".", "[dot]"),
            four.replace(".", "(.)"),
            full,
            full.upper(),
            ":".join(f"{rng.randint(0, 65535):04x}" for _ in range(8)),
            f"2001:db8::{group()}",
            f"2001:DB8:{group()}::{group()}:{group()}",
            f"fe80::{group()}:{group()}:{group()}:{group()}",
            f"fe80::{group()}%eth0",
            f"::ffff:{four}",
            f"[2a02:{group()}::1]:443",
            f"2001:db8:{group()}::/48",
            f"2a00:1450:4001:{group()}::",
            f"64:ff9b::{four}",
            f"fd{pick(rng, HEX, 2)}:{group()}:{group()}::1",
        )
    )


def _base64(rng: random.Random, n: int) -> str:
    return base64.b64encode(rng.randbytes(n)).decode()


def _web(rng: random.Random, n: int) -> str:
    return base64.urlsafe_b64encode(rng.randbytes(n)).decode().rstrip("=")


def _jwt(rng: random.Random) -> str:
    claims = base64.urlsafe_b64encode(b'{"sub":"%d","name":"x"}' % rng.randint(10**8, 10**9)).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{claims}.{_web(rng, 32)}"


def _pem(rng: random.Random) -> str:
    what = rng.choice(
        (
            "RSA PRIVATE KEY",
            "PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "EC PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "PGP PRIVATE KEY BLOCK",
        )
    )
    lines = "\n".join(_base64(rng, 48) for _ in range(5))
    return f"-----BEGIN {what}-----\n{lines}\n-----END {what}-----"


KEYS: tuple[Callable[[random.Random], str], ...] = (
    lambda r: f"sk-{pick(r, ALNUM, 48)}",
    lambda r: f"sk-proj-{_web(r, 90)}",
    lambda r: f"sk-svcacct-{_web(r, 60)}",
    lambda r: f"sk-ant-api03-{_web(r, 70)}AA",
    lambda r: f"AKIA{pick(r, CAPS + '234567', 16)}",
    lambda r: f"aws_secret_access_key = {pick(r, ALNUM + '/+', 40)}",
    lambda r: f"AWS_SECRET_ACCESS_KEY={pick(r, ALNUM + '/+', 40)}",
    lambda r: f"{r.choice(('ghp', 'gho', 'ghs', 'ghu', 'ghr'))}_{pick(r, ALNUM, 36)}",
    lambda r: f"github_pat_{pick(r, ALNUM, 22)}_{pick(r, ALNUM, 59)}",
    lambda r: f"glpat-{_web(r, 15)}",
    lambda r: f"xoxb-{pick(r, DIGITS, 12)}-{pick(r, DIGITS, 13)}-{pick(r, ALNUM, 24)}",
    lambda r: f"xapp-1-A{pick(r, CAPS + DIGITS, 10)}-{pick(r, DIGITS, 13)}-{pick(r, HEX, 64)}",
    lambda r: f"https://hooks.slack.com/services/T{pick(r, CAPS + DIGITS, 8)}/B{pick(r, CAPS + DIGITS, 8)}/{pick(r, ALNUM, 24)}",
    lambda r: f"{r.choice(('sk', 'rk', 'pk'))}_{r.choice(('live', 'test'))}_{pick(r, ALNUM, 24)}",
    lambda r: f"whsec_{pick(r, ALNUM, 32)}",
    lambda r: f"AIza{_web(r, 26)[:35]}",
    lambda r: f"ya29.{_web(r, 60)}",
    lambda r: f"GOCSPX-{_web(r, 21)}",
    lambda r: f"hf_{pick(r, ALNUM, 34)}",
    lambda r: f"npm_{pick(r, ALNUM, 36)}",
    lambda r: f"pypi-AgEIcHlwaS5vcmc{_web(r, 90)}",
    lambda r: f"SG.{_web(r, 16)}.{_web(r, 32)}",
    lambda r: f"gsk_{pick(r, ALNUM, 52)}",
    lambda r: f"xai-{pick(r, ALNUM, 80)}",
    lambda r: f"r8_{pick(r, ALNUM, 37)}",
    lambda r: f"dop_v1_{pick(r, HEX, 64)}",
    lambda r: f"{pick(r, DIGITS, 10)}:AA{_web(r, 25)[:33]}",
    lambda r: f"AccountKey={_base64(r, 64)}",
    _jwt,
    _jwt,
    _pem,
    _pem,
    lambda r: f"Authorization: Bearer {_web(r, 30)}7a",
    lambda r: f"Authorization: Basic {_base64(r, 24)}",
    lambda r: f"api_key={pick(r, HEX, 32)}",
    lambda r: f'"apiKey": "{pick(r, ALNUM, 31)}9x"',
    lambda r: f"X-Api-Key: {pick(r, HEX, 40)}",
    lambda r: f"client_secret: {pick(r, ALNUM, 30)}4z",
    lambda r: f"access_token={pick(r, ALNUM, 40)}1b",
    lambda r: f"postgres://app:{pick(r, ALNUM, 14)}@db.internal:5432/main",
    lambda r: f"dckr_pat_{_web(r, 20)[:27]}",
    lambda r: f"ntn_{pick(r, ALNUM, 46)}",
    lambda r: f"secret_{pick(r, ALNUM, 43)}",
    lambda r: f"HRKU-{pick(r, HEX, 8)}-{pick(r, HEX, 4)}-{pick(r, HEX, 4)}-{pick(r, HEX, 4)}-{pick(r, HEX, 12)}",
    lambda r: f"sk.eyJ1Ijoi{pick(r, ALNUM, 40)}.{_web(r, 17)[:22]}",
    lambda r: f"sbp_{pick(r, HEX, 40)}",
    lambda r: f"M{pick(r, ALNUM, 25)}.{pick(r, ALNUM, 6)}.{_web(r, 28)[:38]}",
    lambda r: f"NRAK-{pick(r, CAPS + DIGITS, 27)}",
    lambda r: f"sq0atp-{_web(r, 17)[:22]}",
    lambda r: f"pat{pick(r, ALNUM, 14)}.{pick(r, HEX, 64)}",
    lambda r: f"glsa_{pick(r, ALNUM, 32)}_{pick(r, HEX, 8)}",
    lambda r: f"pscale_tkn_{_web(r, 32)}",
    lambda r: f"hvs.{_web(r, 60)}",
    lambda r: f"sntrys_{_web(r, 60)}",
    lambda r: f"dp.pt.{pick(r, ALNUM, 43)}",
    lambda r: f"{r.choice(('SK', 'AC'))}{pick(r, HEX, 32)}",
    lambda r: f"figd_{_web(r, 30)}",
    lambda r: f"lsv2_pt_{pick(r, HEX, 32)}_{pick(r, HEX, 10)}",
    lambda r: f"PMAK-{pick(r, HEX, 24)}-{pick(r, HEX, 34)}",
    lambda r: f"xkeysib-{pick(r, HEX, 64)}-{pick(r, ALNUM, 16)}",
    lambda r: f"gl{r.choice(('agent', 'soat', 'imt', 'rt'))}-{pick(r, ALNUM, 24)}",
    lambda r: f"glc_{_base64(r, 60)}",
    lambda r: f"{pick(r, ALNUM, 3)}8Q~{pick(r, ALNUM, 34)}",
    lambda r: f"{pick(r, HEX, 32)}-us{r.randint(1, 22)}",
    lambda r: f"API-{pick(r, CAPS + DIGITS, 26)}",
    lambda r: f"client-key-data: {_base64(r, 90)}",
    lambda r: f"Contraseña: {pick(r, ALNUM, 12)}7",
    lambda r: f"PHPSESSID={pick(r, LOWER + DIGITS, 26)}",
    lambda r: f"1//04{_web(r, 40)}",
    lambda r: f"pat-na1-{pick(r, HEX, 8)}-{pick(r, HEX, 4)}-{pick(r, HEX, 4)}-{pick(r, HEX, 4)}-{pick(r, HEX, 12)}",
    lambda r: f"CCIPAT_{pick(r, ALNUM, 22)}_{pick(r, HEX, 40)}",
    lambda r: f"vercel_blob_rw_{pick(r, ALNUM, 16)}_{pick(r, ALNUM, 30)}",
    lambda r: f"napi_{pick(r, LOWER + DIGITS, 64)}",
    lambda r: f"{pick(r, ALNUM, 76)}AZDO{pick(r, ALNUM, 4)}",
    lambda r: f"rzp_live_{pick(r, ALNUM, 14)}",
    lambda r: f"mdb_sa_sk_{_web(r, 30)}",
    lambda r: f"e2b_{pick(r, HEX, 40)}",
    lambda r: f"Cookie: session={pick(r, ALNUM, 38)}4z",
    lambda r: f"Authorization: {pick(r, HEX, 40)}",
)


def key(rng: random.Random) -> str:
    return rng.choice(KEYS)(rng)


MAKERS = {"email": email, "phone": phone, "card": card, "iban": iban, "ip": ip, "key": key}
"""Kind → writer of one value, with what is usually written around it."""


def carried(rng: random.Random, value: str) -> str:
    """The value inside a sentence, a table, JSON or markup."""
    return rng.choice(CARRIERS).format(value)


def telling(kind: str, value: str) -> set[str]:
    """Pieces of seven characters that would give the value away; what is written around it (a scheme, a host, `CVV`) is not."""
    bare = re.sub(r"://|@db.*|CVV 123|12/27", "", value)
    pieces = {bare[at : at + 7] for at in range(len(bare) - 6)}
    return {piece for piece in pieces if sum(c.isdecimal() for c in piece) >= (4 if kind in ("card", "phone", "iban") else 2)}


def _isbn(rng: random.Random) -> str:
    body = "978" + rng.choice("0123") + pick(rng, DIGITS, 8)
    whole = body + str(-sum(int(c) * (3 if place % 2 else 1) for place, c in enumerate(body)) % 10)
    cuts = rng.choice((None, "-", " "))
    return whole if cuts is None else cuts.join((whole[:3], whole[3], whole[4:6], whole[6:12], whole[12]))


CLEAN = (
    "Hello team, order §###### has not arrived since {date}.",
    "Invoice INV-§#####, 2026, shows §##.## EUR, due {day}.",
    "Version §.#.#.## crashes at {time}.",
    "Tracking number 1Z¤¤¤¤¤¤¤¤¤¤¤¤¤¤¤¤ was scanned ## times",
    "USPS 9400 1### #### #### #### ## is late",
    "DHL 0034################ delivered",
    "FedEx §########### delivered to the door",
    "ISBN {isbn}, 3rd edition",
    "commit ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~ fixes n§##, see ~~~~~~~",
    "sha256:~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
    "the id is ~~~~~~~~-~~~~-4~~~-a~~~-~~~~~~~~~~~~ in the log",
    "meet @ §pm, ask @ana; ratio §:§",
    "created at 17######## or 17########### ms",
    "{date}T{time}.######Z INFO done in 0.###### s",
    "population §#,###,###, area §# ### km²",
    "lat §#.######, lon -§#.######",
    "x = a[§#::§]; std::vector<int> v(§##); return v[§:§#]",
    "def f(n: int = §####) -> str:  # §##.### ms\n    return self.token or get_password(key)",
    "§#-§# in the 4th quarter, §##-§# overall, 4-4-2 system",
    "prices: §.##, §#.##, §##.## and $§,###.00",
    "Part no. §##-§### replaced by ^§#/§###-^",
    "SKU ^^^-######-^^ and ^^########",
    "EAN #############",
    "VAT DE#########, tax no. §#/###/#####, HRB §####",
    "§# rue de la Paix, 750## Paris; ZIP §####-####",
    "MAC ~~:~~:~~:~~:~~:~~ on port §####",
    "chapter §.§.§#, pages §##-§##, vol. §#",
    "from {day} to {day}, {time}–{time}",
    "case 20##-######, docket §:2#-cv-#####",
    "CVE-20##-§#### and RFC §### section §.§.§",
    "matrix [[§, §], [§#, §#]] = 0.############ ± §.###e-0§",
    "The token budget is §### and the api key page says: secret sauce, password reset required, bearer of news.",
    "image:§#.#-alpine@sha256:~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
    "pip install torch==§.#.#+cu12# numpy>=1.26,<3",
    "§ x §## g at §# °C, serial ^^ ### ###",
    "I would like to return the blue jacket, it does not fit; how long does a refund usually take?",
    "Flight LH§### gate B§#, booking ¤¤¤¤¤¤, seat §#F",
    "customer number §#######, contract §#########, meter reading §###",
    "as section §.§.§.§ says; see chapter §.§#.§.§ and clause §.§.§.§",
    "I called you about order §######## and invoice no. §########",
    "call me about ISBN {isbn}, or my order ###-§######-§######",
    "Ich habe angerufen wegen der Rechnung §#########",
    "phone support asked for the serial number §#########",
    "SIRET ### ### ### #####, SIREN 0## ### ###, BLZ 0## ### ##",
    "UPC 0###########, GTIN 4############, EAN 4############, IMEI 3##############",
    "browser rv:1.9.§.## on Linux, ratio §##/§##/§###",
    "confirmation §#########, PO §#########, tid §#########, hash value §#########",
    "is §######### prime? §#### * §#### = §#########; print(§#########) if n > §######### else 0",
    "the display shows §#########; it rose to 6## ### ### units, of 7## ### ### people",
    "10 20 30 40\n11 22 33 44\n12 24 36 48",
    "§###,§###,§###,§###\n§###,§###,§###,§###",
    "dckr_pat_ is a prefix; ntn_page_properties_of_the_workspace, secret_santa_list_for_the_office_party",
)
"""§: a digit from 1, #: a digit, ~: a hexadecimal digit, ^: a capital, ¤: a capital or a digit."""
LETTERS = {"§": "123456789", "#": DIGITS, "~": HEX, "^": CAPS, "¤": CAPS + DIGITS}


def clean(rng: random.Random) -> str:
    """A text without anything personal."""
    shape = rng.choice(CLEAN)
    text = "".join(rng.choice(LETTERS[c]) if c in LETTERS else c for c in shape)
    year, month, day = rng.randint(1990, 2030), rng.randint(1, 12), rng.randint(1, 28)
    return (
        text.replace("{date}", f"{year}-{month:02}-{day:02}")
        .replace(
            "{day}", rng.choice((f"{day:02}.{month:02}.{year}", f"{month}/{day}/{year}", f"{day:02}.{month:02}.{year % 100:02}"))
        )
        .replace("{time}", f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}")
        .replace("{isbn}", _isbn(rng))
    )


AROUND = (
    ("k='", "'"), ('k="', '"'), ("k=", "&n=2"), ("--k=", " --n"), ('{"k": "', '", "n": 1}'), ("{'k': '", "'}"), ("k: ", "\nn: 1"),
    ("<k>", "</k>"), ("| k | ", " |"), ("f('", "')"), ("[", "]"), ("(", ")"), ("`", "`"), ("**", "**"), ("is ", "."), ("", ","),
    ("„", "“"), ("「", "」"), ("k:", ";"), ("k=>'", "',"), ("<b>", "</b>"), ("{", "}"), ("k={", "}"), ("- ", "\n- n"), ("«", "»"),
)  # fmt: skip
"""What stands before and behind a value in some notation."""
AS_IT_IS = {
    "key": ("ghp_aB3xK9mQ7pL2wZ8vR4tY6nE1cU5sD0fG7hJq", "glpat-aB3xK9mQ7pL2wZ8vR4tY"),
    "email": ("ana.lee@example.com", "o'neil+x_1@mail.co.uk", "ana at example dot com", "ana%40example.com"),
    "iban": ("DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"),
    "card": ("4111111111111111", "3782 822463 10005"),
    "ip": ("203.0.113.9", "2001:db8:85a3::8a2e:370:7334"),
    "phone": ("+49 30 901820-17", "(415) 555-0132", "06 12 34 56 78"),
}
"""Kind → values as they are written."""
