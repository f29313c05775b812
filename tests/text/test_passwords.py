"""Passwords: the value goes, the word that names it and the sentence around it stay."""

from __future__ import annotations

import pytest

from tunekeeper.text.passwords import passwords


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password: Tr0ub4dor&3x", "password: "),
        ("CREATE USER x WITH PASSWORD 'S3cr3t!pw'", "CREATE USER x WITH PASSWORD ''"),
        ("machine api login ana password zt9FzgUGPoqI", "machine api login ana password "),
        ("<password>zt9FzgUGPoqI</password>", "<password></password>"),
        ("Contraseña: zt9FzgUGPoqI", "Contraseña: "),
        ("密码：zt9FzgUGPoqI", "密码："),
        ("Neues PW 7jFv9J%CLVHq", "Neues PW "),
        ("Is the password Sommer2024?", "Is the password ?"),
        ("My password is Sommer2024! Please change it", "My password is ! Please change it"),
        ("Ist das Passwort Kaffee_2024!? Danke", "Ist das Passwort !? Danke"),
        ("password=Abc12345?", "password="),
        ("smtp_password: 'DmvAAyhykiHh'", "smtp_password: ''"),
        ("[mysqld]\npasswd = ^&TEUsTjsdH$^tOC", "[mysqld]\npasswd = "),
        ("Mein Passwort lautet Tiger6605!, es", "Mein Passwort lautet , es"),
        ("La password è Monkey4117! da ieri", "La password è  da ieri"),
        ("Moje hasło to YdLkeuztmXzj, ale", "Moje hasło to , ale"),
        ("パスワードはHdlpjzsY5jPU", "パスワードは"),
        ("**Password:** `kQ-vXr!Zpw`", "**Password:** ``"),
        ("user bob, pw: Xk9vLq2", "user bob, pw: "),
        ("A jelszó jYixVm%qHRlQ, de nem enged be.", "A jelszó , de nem enged be."),
        ("Şifrem Dragon5389! ama giremiyorum.", "Şifrem  ama giremiyorum."),
        ("Мій пароль 8gkRFV#QVBC2.", "Мій пароль ."),
        ("รหัสผ่านคือ P@ssqDQTm!", "รหัสผ่านคือ "),
        ("Mật khẩu là 8G2jFM?uDfSO.", "Mật khẩu là ."),
        ("رمز عبور odyWf5?IXzfM است", "رمز عبور  است"),
        ("mi clave es horse-battery-winter-dragon47", "mi clave es "),
        ("密码是P@sswFtTC!，登不上。", "密码是，登不上。"),
        ("パスワードは4wCfq5&xNcqlです。", "パスワードはです。"),
        ("Lösenordet är cr7ikt!SJkM8. Tack", "Lösenordet är . Tack"),
        ("(password: Tr0ub4dor&3x)", "(password: )"),
        ('{"key": "passphrase", "value": "GGKGZK%gUEZx"}', '{"key": "passphrase", "value": ""}'),
        ("| redis_password | purple-staple-summer-winter27 |", "| redis_password |  |"),
        ('set("ansible_become_pass", "Dragon5869!");', 'set("ansible_become_pass", "");'),
        ("Server=sql1;User Id=svc;Password=XJSommnx;", "Server=sql1;User Id=svc;Password=;"),
        ("host=db user=svc password=qwertzui dbname=app", "host=db user=svc password= dbname=app"),
        ("jdbc:oracle:thin:scott/eqgAjRGn@//ora1:1521/XE", "jdbc:oracle:thin:scott/@//ora1:1521/XE"),
        ("docker login -u ana -p vLdwzjvtFfFHXD registry.example", "docker login -u ana -p  registry.example"),
        (
            "az login --service-principal -u app -p vjRpijixsDIzkd --tenant corp",
            "az login --service-principal -u app -p  --tenant corp",
        ),
        ("ldapsearch -x -D cn=admin,dc=ex -w PD09apUM -b dc=ex", "ldapsearch -x -D cn=admin,dc=ex -w  -b dc=ex"),
        ("openssl enc -d -in a -pass pass:hunterxx -out b", "openssl enc -d -in a -pass pass: -out b"),
        ("curl -u ana:zt9FzgUGPoqI https://x", "curl -u ana: https://x"),
        ("db --password YGGmRwhJQlvoTl --host x", "db --password  --host x"),
        ("<smtp_password>\n  abpZXCQUlkUoZm\n</smtp_password>", "<smtp_password>\n  \n</smtp_password>"),
        ("<td>passwd</td><td>P@ssuwjvy!</td>", "<td>passwd</td><td></td>"),
        ("ENV DB_PASS GGKGZK%gUEZx\n", "ENV DB_PASS \n"),
        ("password ..... Harbor5869!", "password ..... "),
        ("keytool -list -storepass changeittoo -v", "keytool -list -storepass  -v"),
        ("WIFI:T:WPA;S:Office;P:sunnyday;;", "WIFI:T:WPA;S:Office;P:;;"),
    ],
)
def test_a_password_is_found_from_its_first_to_its_last_character(text: str, left: str) -> None:
    (span,) = passwords(text)
    assert text[: span[0]] + text[span[1] :] == left


@pytest.mark.parametrize(
    "text",
    [
        "password reset required", "password: required", "Passwort vergessen? mot de passe oublié",
        "the password is at least 8 characters", "password = getpass.getpass()", "password: Optional[str] = None",
        "password=${DB_PASSWORD}", "password: ********", "La password è sbagliata", "パスワードは8文字以上で入力",
        "Пароль: обязательное поле", "password: HTMLInputElement", "rs_pass = _get_rs_pass()",
        "{'(?i)password': 'mypassword\\n'}", "f(password='mypassword')", "PASS: test_user_login2 (0.03s)",
        "All tests pass: 128passed", "the boarding pass is at gate B22x", 'the password "secret"',
        "user, password = split_user(url)", "def f(name, mode='r', pwd=None, *, x=1)", "connect(user,password=None)",
        "| password | required |", "| Passwort | mindestens 8 Zeichen |", '"password", "Enter your password"',
        "Heslo musí mít alespoň 8 znaků", "la clave del éxito es la constancia", "clave primaria id_pedido",
        "Парольная политика 2024 года", "docker login -u ana -p $TOKEN", "mysql -u root -p shop", "docker login --help",
        "/login?next=a&password=&x=1", "?password=required", "hasło do Windows 10", "ldapsearch -x -W -b dc=ex",
    ],
)  # fmt: skip
def test_words_about_passwords_are_none(text: str) -> None:
    assert passwords(text) == []
