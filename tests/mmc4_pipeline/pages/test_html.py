"""Character sets: which declaration is used, and that no declaration prevents a page from being read."""

import encodings
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.html import decode_html

META = '<html><head><meta charset="{}"></head>Йцжщ</html>'
OLD_META = "<html><head><meta http-equiv='Content-Type' content='text/html; charset={}'></head>Йцжщ</html>"


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("Йцжщ".encode("cp1251"), "text/html; charset=windows-1251", "Йцжщ"),
        ("Йцжщ".encode("koi8-r"), 'text/html; Charset="KOI8-R"', "Йцжщ"),
        ("日本".encode("shift_jis"), "text/html;charset=Shift_JIS", "日本"),
        ("Йцжщ".encode(), "text/html; charset=utf-8", "Йцжщ"),
        ("Йцжщ".encode(), "", "Йцжщ"),
        ("Йцжщ".encode(), "text/html; charset=x-no-such-thing", "Йцжщ"),
        ("Йцжщ".encode(), "text/html; charset=", "Йцжщ"),
        ("café “quoted”".encode("cp1252"), "", "café “quoted”"),
        ("café “quoted”".encode("cp1252"), "text/html; charset=iso-8859-1", "café “quoted”"),
        ("café".encode("cp1252"), "text/html; charset=us-ascii", "café"),
        ("\ufeffЙцжщ".encode(), "text/html; charset=windows-1251", "Йцжщ"),
        ("\ufeffЙцжщ".encode("utf-16-le"), "text/html; charset=utf-8", "Йцжщ"),
        ("\ufeffЙцжщ".encode("utf-16-be"), "", "Йцжщ"),
        (META.format("windows-1251").encode("cp1251"), "text/html", META.format("windows-1251")),
        (OLD_META.format("windows-1251").encode("cp1251"), "text/html", OLD_META.format("windows-1251")),
        (META.format("windows-1251").encode(), "text/html; charset=utf-8", META.format("windows-1251")),
        (META.format("windows-1251").encode("cp1251"), "text/html; charset=x-no", META.format("windows-1251")),
        (META.format("utf-16").encode(), "text/html", META.format("utf-16")),
        (META.format("base64").encode(), "text/html", META.format("base64")),
        (b"", "text/html", ""),
        ("日本".encode("cp932"), "text/html; charset=x-sjis", "日本"),
        ("①髙".encode("cp932"), "text/html; charset=Shift_JIS", "①髙"),  # characters that only Windows' table has
        ("日本".encode("euc-jp"), "text/html; charset=euc-jp", "日本"),
        ("한글 똠".encode("cp949"), "text/html; charset=euc-kr", "한글 똠"),
        ("한글".encode("cp949"), "text/html; charset=ks_c_5601-1987", "한글"),
        ("中文镕€".encode("gb18030"), "text/html; charset=gb2312", "中文镕€"),
        ("中文".encode("gbk"), "text/html; charset=x-gbk", "中文"),
        ("中文".encode("big5"), "text/html; charset=Big5", "中文"),
        ("ไทย".encode("cp874"), "text/html; charset=tis-620", "ไทย"),
        ("שלום".encode("iso8859-8"), "text/html; charset=iso-8859-8-i", "שלום"),
        ("Йц".encode("mac-cyrillic"), "text/html; charset=x-mac-cyrillic", "Йц"),
        ("<p>Йц".encode("utf-16-le"), "text/html; charset=utf-16", "<p>Йц"),
        ("<p>Йц".encode("utf-16-le"), "text/html", "<p>Йц"),
        ("<p>Йц".encode("utf-16-be"), "text/html", "<p>Йц"),
        (b"<p>plain", "text/html; charset=hz-gb-2312", "<p>plain"),  # browsers show nothing; links are in ASCII
        # The header takes precedence over the page, even if it is wrong.
        (META.format("utf-8").encode("cp1251"), "text/html; charset=windows-1251", META.format("utf-8")),
        (
            META.format("windows-1251").encode("cp1251"),
            "text/html; charset=utf-8",
            META.format("windows-1251")[:-11] + "\ufffd" * 4 + "</html>",
        ),
        # These only look like declarations.
        ("<!-- <meta charset=koi8-r> --><p>Йц".encode(), "", "<!-- <meta charset=koi8-r> --><p>Йц"),
        ("<meta name=d content='charset=koi8-r'><p>Йц".encode(), "", "<meta name=d content='charset=koi8-r'><p>Йц"),
        ("<meta name=a><meta charset=koi8-r>Йц".encode("koi8-r"), "", "<meta name=a><meta charset=koi8-r>Йц"),
        (
            "<META CHARSET = 'no-such' ><meta charset=koi8-r>Й".encode("koi8-r"),
            "",
            "<META CHARSET = 'no-such' ><meta charset=koi8-r>Й",
        ),
        (
            "<?xml version='1.0' encoding='koi8-r'?><p>Й".encode("koi8-r"),
            "",
            "<?xml version='1.0' encoding='koi8-r'?><p>Й",
        ),
        (
            "<?xml version='1.0' encoding='x'?><meta charset=koi8-r>Й".encode("koi8-r"),
            "",
            "<?xml version='1.0' encoding='x'?><meta charset=koi8-r>Й",
        ),
        # Without a declaration: UTF-8 even if the crawl truncated it within a character, or one byte is broken.
        ("café “quoted”".encode()[:-1], "", "café “quoted\ufffd"),
        ("café “quoted”".encode() + b"\xa0", "", "café “quoted”\ufffd"),
        (b"100 \xa9 2019, \x93here\x94", "", "100 © 2019, “here”"),
    ],
)
def test_who_is_believed(body: bytes, content_type: str, text: str) -> None:
    assert decode_html(body, content_type) == text


def test_bytes_that_do_not_fit_are_replaced() -> None:
    assert decode_html(b"a\xffb", "text/html; charset=utf-8") == "a\ufffdb"


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(encodings.__path__)))
def test_no_name_of_a_codec_can_stop_a_page(name: str) -> None:
    assert isinstance(decode_html(b"<p>\x00\x80\xff\xfe abc", f"text/html; charset={name}"), str)
    assert isinstance(decode_html(b"<meta charset=%s>\x00\x80\xff" % name.encode(), ""), str)


@given(st.binary(max_size=60), st.text("charset=;\"' utf-8/x\x00é", max_size=40))
def test_nothing_can_stop_a_page(body: bytes, content_type: str) -> None:
    assert isinstance(decode_html(body, content_type), str)
