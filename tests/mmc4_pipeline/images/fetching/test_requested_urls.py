"""The URL that is requested is the one that robots.txt and deny-lists were asked about, in WHATWG's form."""

import pytest

from filters.deny_list import DenyList
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.fetching.raw_server import answers_of, response
from tests.mmc4_pipeline.images.web_server import Receiver

IMAGE = b"\xff\xd8\xff an image"
SENT_AS_IT_IS = [
    "/a%27b.jpg",
    "/thumb/http%3A%2F%2Fx.org%2Fa.jpg",
    "/a%28b%29.jpg",
    "/q.jpg?url=https%3A%2F%2Fx.org%2Fa.jpg&Signature=a%2Fb%3D",
    "/w_2560%2Cc_limit/a.jpg",
    "/a%40b.jpg",
    "/s.jpg?X-Amz-Credential=AK%2F2019%2Fus",
    "/%e2%82%ac.jpg",
    "/a//b.jpg",
    "/a.jpg?",
    "/a.jpg?x=1?y=2&&z",
    "/100%.jpg",
    "/%zz.jpg",
    "/a;v=1/b:c@d!$&'()*+,=.jpg",
    "/~joe/%7Ejoe/a|b.jpg",
    "/a.jpg?x=a+b%20c&y=[1]",
]
REWRITTEN = {  # as browsers do
    "/a b.jpg": "/a%20b.jpg",
    "/ü.jpg?q=ü": "/%C3%BC.jpg?q=%C3%BC",
    "/x\\b.jpg": "/x/b.jpg",
    "/x/../b.jpg": "/b.jpg",
    "/x/%2e%2E/b.jpg": "/b.jpg",
    "/x/./b.jpg": "/x/b.jpg",
    '/"a".jpg': "/%22a%22.jpg",
    "/a.jpg?x='1'": "/a.jpg?x=%271%27",
    "/a.jpg#part": "/a.jpg",
    "/a\t.jpg": "/a.jpg",
}


@pytest.mark.parametrize("path", SENT_AS_IT_IS)
def test_what_is_a_valid_url_goes_out_byte_for_byte(path: str) -> None:
    (image,), server = answers_of(lambda _target, _before: response(IMAGE), path)
    assert (image.body, server.targets) == (IMAGE, [path])


@pytest.mark.parametrize(("path", "sent"), REWRITTEN.items())
def test_everything_else_goes_out_as_browsers_send_it(path: str, sent: str) -> None:
    (image,), server = answers_of(lambda _target, _before: response(IMAGE), path)
    assert (image.body, server.targets) == (IMAGE, [sent])


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        (b"/b.jpg?Policy=a%2Fb", "/b.jpg?Policy=a%2Fb"),
        (b"/x\\b.jpg", "/x/b.jpg"),
        (b"../../b.jpg", "/b.jpg"),
        (b"b.jpg?x=1#y", "/dir/b.jpg?x=1"),
        ("/ü.jpg".encode(), "/%C3%BC.jpg"),
        (b"/caf\xe9.jpg", "/caf%C3%A9.jpg"),
        (b"  /b c.jpg ", "/b%20c.jpg"),
        (b"?x", "/dir/a.jpg?x"),
    ],
)
def test_a_redirect_is_followed_as_browsers_do(location: bytes, sent: str) -> None:
    def answer(_target: str, before: int) -> bytes:
        return response(IMAGE) if before else response(b"", b"Location: " + location, status=b"HTTP/1.1 302 Found")

    (image,), server = answers_of(answer, "/dir/a.jpg")
    assert (image.body, server.targets) == (IMAGE, ["/dir/a.jpg", sent])


HIDDEN = [
    "/x/../private/a.jpg",
    "/x/%2e%2e/private/a.jpg",
    "/x/.%2E/private/a.jpg",
    "/./private/a.jpg",
    "/x\\..\\private/a.jpg",
    "/pri\nvate/a.jpg",
    "/%70rivate/a.jpg",
    "\\private\\a.jpg",
]


@pytest.mark.parametrize("path", HIDDEN)
def test_no_form_of_a_url_passes_robots_txt(path: str) -> None:
    def answer(target: str, _before: int) -> bytes:
        return response(b"User-agent: *\nDisallow: /private/\n" if target == "/robots.txt" else IMAGE)

    (image,), server = answers_of(answer, path, robots_txt=True)
    assert (image.reason, server.targets) == (Reason.ROBOTS, ["/robots.txt"])


@pytest.mark.parametrize("path", HIDDEN)
def test_no_redirect_leads_to_a_denied_url(path: str) -> None:
    def denied(url: str) -> bool:
        listed = f"http://{url.split('/')[2]}/private/a.jpg\n".encode()
        return DenyList("x").load(lambda _: listed).denies(url)

    def answer(_target: str, _before: int) -> bytes:
        location = b"Location: " + path.replace("\n", "").encode()
        return response(b"", location, status=b"HTTP/1.1 302 Found")

    (image,), server = answers_of(answer, "/a.jpg", receiver=Receiver(denied=denied))
    assert (image.reason, server.targets) == (Reason.DENIED, ["/a.jpg"])
