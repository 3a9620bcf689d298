"""Two hundred names that people could really type: every form, table, export, mail and file name has to stand them.

``NAMES`` are all that PostgreSQL and UTF-8 can hold (no NUL, no lone surrogate: those are ``UNSTORABLE``, refused with a
sentence, never cut); each is different, and each is whole when it comes back byte for byte.
"""

_FORMULAS = (
    "=1+1", "=cmd|' /C calc'!A0", "=HYPERLINK(\"http://evil.example\",\"Open\")", "+1+1", "-2+3", "@SUM(1,1)", "\t=1+1", "\r=1+1", "\n=1+1",
    " =1+1", "=1+1;=2", "x;=1+1", "x,=1+1", "'=1+1", "\"=1+1", "\"\";=1+1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(1)", "\ufeff=1+1", "\u200b=1+1",
    "\u00a0=1+1", "=DDE(\"cmd\";\"/C calc\";\"x\")", "=IMPORTXML(\"http://evil.example\",\"//a\")", "-", "+", "=", "@", "--", "+49 30 123456", "-1e9",
    "%0A=1+1", "|=1+1", "=WEBSERVICE(\"http://evil.example\")",
)  # fmt: skip
_HTML = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "</title><script>1</script>", "</script><b>", "<!--", "-->", "]]>",
    "<b>Bold</b>", "&lt;i&gt;", "&amp;", "&#x3C;script&#x3E;", "\" onmouseover=\"alert(1)", "' onfocus='alert(1)", "javascript:alert(1)", "<iframe src=//evil.example>",
    "<a href=//evil.example>x</a>", "<style>*{display:none}</style>", "<base href=//evil.example>", "<meta http-equiv=refresh content=0>", "{{7*7}}", "${7*7}",
    "<%= 7*7 %>", "#{7*7}", "%s%s%s%n", "%(name)s", "{name}", "{0.__class__}", "{{", "}}", "$$", "\\", "\\n", "\\u0000", "`id`", "$(id)",
)  # fmt: skip
_MARKDOWN = (
    "**bold**", "_under_", "[x](javascript:alert(1))", "![x](http://evil.example/p.png)", "# Heading", "1. item", "> quote", "`code`", "```", "| a | b |",
    ":material/delete:", ":red[alarm]", ":smile:", "$x^2$", "$$x$$", "* * *", "<http://evil.example>", "http://evil.example", "www.evil.example", "\\*star\\*",
    ":rainbow[x]", "&nbsp;", "a  \nb",
)  # fmt: skip
_SQL = (
    "Robert'); DROP TABLE student;--", "' OR '1'='1", "\"; select 1; --", "O'Neill", "d'Arc", "O\u2019Brien", "100%", "a_b", "%", "_", "\\'", "$1", ":name", "?",
    "E'\\\\x'", "/* x */", "null", "NULL", "None", "true", "NaN", "0", "1/0", "1e309", "0x1F", "2026-11-24",
)  # fmt: skip
_HEADERS = (
    "Asha\r\nBcc: all@evil.example", "Asha\nSubject: Hello", "Asha\r\n\r\nbody", "a@b.example, c@d.example", "\"Asha\" <x@evil.example>", "Asha; filename=x.exe",
    "../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x", "CON", "NUL", "aux.txt", "a/b", "a:b", "a|b", "a?b", "a*b", "\"quoted\"", "x.html.exe", ".hidden", "trailing.", "~", "x\ty",
)  # fmt: skip
_SCRIPTS = (
    "\u0639\u0627\u0626\u0634\u0629", "\u05d3\u05d5\u05d3 \u05dc\u05d5\u05d9", "\u738b\u5c0f\u660e", "\u5c71\u7530 \u592a\u90ce", "\uae40\ubbfc\uc900", "\u0906\u0936\u093e", "\u0e2d\u0e23\u0e38\u0e13", "\u0410\u043d\u043d\u0430 \u0418\u0432\u0430\u043d\u043e\u0432\u0430",
    "\u0393\u03b9\u03ce\u03c1\u03b3\u03bf\u03c2", "\u0532\u0561\u0580\u0565\u0582", "\u10d2\u10d8\u10dd\u10e0\u10d2\u10d8", "\u1208\u121d\u1208\u121d", "Nguy\u1ec5n Th\u1ecb \u00c1nh", "\u0141ukasz \u017b\u00f3\u0142\u0107", "\u0130pek I\u015f\u0131k", "Stra\u00dfe",
    "Zo\u00eb", "Zoe\u0308", "\ufb01sh", "\uff21\uff53\uff48\uff41", "\U0001d4d0\U0001d4fc\U0001d4f1\U0001d4ea", "\U00020000\U0002a6d6",
)  # fmt: skip
_INVISIBLE = (
    "\u202etxt.exe", "abc\u202ddef", "\u2066x\u2069", "\u2067\u05d3", "\u200fx", "a\u200db", "a\u200cb", "\u200b", "a\u00adb", "\u2060x", "a\u2028b", "a\u2029b", "\u180ex",
    "\u0301x", "x" + "\u0301" * 60, "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\u263a\ufe0f", "\u0007x", "\u001b[31mred", "\u0008x", "\u007f", "\u0085x",
    "\ufffdx", "\ufffex", "\ue000",
)  # fmt: skip
_LONG = (
    "a" * 500, "\u00e4" * 300, "\U0001f600" * 100, "word " * 80, "x" * 255 + ".pdf", "<" * 120, "\"" * 120, "A B C D E F G H I J K L M N O P",
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(
    dict.fromkeys(_FORMULAS + _HTML + _MARKDOWN + _SQL + _HEADERS + _SCRIPTS + _INVISIBLE + _LONG)
)
UNSTORABLE = ("nul\x00byte", "lone\ud800surrogate", "\udfffx")
HUGE = "x" * 100_000
