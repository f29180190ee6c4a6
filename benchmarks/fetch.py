"""Fetching 2,000 images of about 100 KB from one server: this project's Fetcher compared with img2dataset's downloader.

    python -m venv peer && peer/bin/pip install img2dataset
    python benchmarks/fetch.py --peer peer/bin/python

The comparison covers the part of each program that requests images and reads their bytes into memory, without
decoding: for img2dataset `download_image_with_retry` in a thread pool, which never reuses connections; for this
project `FetchLoop`, as the images stage calls it, including robots.txt and X-Robots-Tag. The server runs in a
separate process, and so does each run, whose CPU seconds are measured while it fetches, after a hundred images to
warm up. Neither keeps bodies. The two take turns. "fresh" means that the server closes each connection after its
response. HTTPS is verified against a certificate made here, the only one in the store: with a system's own store of
more than a hundred, img2dataset would take longer because it reads the store for each connection.

The last line is JSON with medians: images per CPU second, and the ratio of the two; `kept_alive_ratio` is the ratio for
the images of both schemes together, with connections kept.
"""

import argparse
import asyncio
import datetime as dt
import hashlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

IMAGES = 2000
REFUSED = 40  # in addition to the images: this many with 404, and this many with X-Robots-Tag: noai
OPEN = 32  # concurrent requests
CASES = {
    "http": ("http", True),
    "https": ("https", True),
    "http_fresh": ("http", False),
    "https_fresh": ("https", False),
}
PEER = """
import hashlib, json, sys, time
from multiprocessing.pool import ThreadPool
from img2dataset.downloader import download_image_with_retry
urls, count = json.load(sys.stdin), int(sys.argv[1])
directives = ["noai", "noimageai", "noindex", "noimageindex"]
def download(row):
    key, stream, _ = download_image_with_retry(row, 30, 2, "img2dataset", directives)
    if stream is None:
        return row[1], None
    body = stream.getbuffer()
    return row[1], f"{len(body)} {hashlib.sha256(body[-1024:]).hexdigest()}"
with ThreadPool(count) as pool:
    for part in (urls[:100], urls):
        started, cpu = time.perf_counter(), time.process_time()
        kept = {url: mark for url, mark in pool.imap_unordered(download, enumerate(part)) if mark}
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps([seconds, cpu, kept]))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="python", help="a Python that has img2dataset")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--fetch", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(Path(arguments.serve)))
    elif arguments.fetch:
        fetch()
    else:
        print(json.dumps(compare(arguments.peer, arguments.repeats, arguments.cases)))


def compare(peer: str, repeats: int, cases: list[str]) -> dict[str, object]:
    """Run both on each case, in turn."""
    if subprocess.run([peer, "-c", "import img2dataset"], capture_output=True, check=False).returncode:
        sys.exit(f"--peer {peer}: has no img2dataset; run python -m venv peer && peer/bin/pip install img2dataset")
    rates: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    result: dict[str, object] = {"images": IMAGES, "open": OPEN, "repeats": repeats}
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        command = [sys.executable, __file__, "--serve", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            ports, truth = json.loads(server.stdout.readline())
            environment = {**os.environ, "SSL_CERT_FILE": f"{folder}/ca.pem", "SSL_CERT_DIR": folder}
            for repeat in range(repeats):
                for case in cases:
                    scheme, _ = CASES[case]
                    urls = [f"{scheme}://127.0.0.1:{ports[case]}/{name}" for name in truth]
                    turns = [[sys.executable, __file__, "--fetch"], [peer, "-c", PEER, str(OPEN)]]
                    both = [run(turn, urls, environment) for turn in turns[:: 1 if repeat % 2 else -1]]
                    ours, theirs = both[:: 1 if repeat % 2 else -1]
                    require_truth(case, urls, truth, ours[2], theirs[2])
                    rates[case].append((IMAGES / ours[1], IMAGES / theirs[1]))
                    print(
                        f"{case}: {rates[case][-1][0]:.0f} images per CPU second, img2dataset {rates[case][-1][1]:.0f}"
                    )
            server.communicate("\n", timeout=60)
    for case, pairs in rates.items():
        result[case] = {
            "per_cpu_s": round(statistics.median(own for own, _ in pairs)),
            "per_cpu_s_img2dataset": round(statistics.median(other for _, other in pairs)),
            "ratio": round(statistics.median(own / other for own, other in pairs), 2),
        }
    if {"http", "https"} <= rates.keys():
        rounds = zip(rates["http"], rates["https"], strict=True)
        of_both = [(1 / http[1] + 1 / https[1]) / (1 / http[0] + 1 / https[0]) for http, https in rounds]
        result["kept_alive_ratio"] = round(statistics.median(of_both), 2)
    return result | {"same_images": True}


def run(command: list[str], urls: list[str], environment: dict[str, str]) -> tuple[float, float, dict[str, str]]:
    """Fetch in a separate process; return seconds, CPU seconds, and the fingerprints of the kept images, by URL."""
    done = subprocess.run(
        command,
        input=json.dumps(urls),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=600,
    )
    seconds, cpu, kept = json.loads(done.stdout.splitlines()[-1])
    return seconds, cpu, kept


def require_truth(
    case: str, urls: list[str], truth: dict[str, str | None], ours: dict[str, str], theirs: dict[str, str]
) -> None:
    """Exit with a message unless both kept exactly the images that exist."""
    expected = {url: mark for url, mark in zip(urls, truth.values(), strict=True) if mark}
    for name, kept in (("Fetcher", ours), ("img2dataset", theirs)):
        if kept != expected:
            wrong = Counter(kept.get(url) == expected.get(url) for url in urls)
            sys.exit(f"{case}: {name} kept {len(kept)} of {len(expected)} images; {wrong[False]} are wrong or missing")


def fetch() -> None:
    """Fetch the URLs read from standard input with this project's Fetcher."""
    from filters.consent import Consent
    from mmc4_pipeline.images.fetching.fetch_loop import FetchLoop
    from mmc4_pipeline.images.fetching.fetcher import Fetcher
    from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
    from mmc4_pipeline.images.fetching.settings import FetchSettings
    from schemas.image import Image
    from schemas.reasons import Drop

    urls = json.load(sys.stdin)
    settings = FetchSettings(max_open_per_host=OPEN, delay_per_host=0, allow_private_hosts=True)
    moment = dt.datetime.now(dt.UTC)
    consent = Consent()

    class KeepConsented:
        def denies(self, _url: str) -> bool:
            return False

        def refuse(self, robots_tag: str, _declarations: str) -> Drop | None:
            reason = consent.decide(Image(key="", position=0, url="", robots_tag=robots_tag))
            return Drop(reason, "consent") if reason else None

        async def receive(self, _result: FetchResult) -> str | None:
            return None

    class Job:
        site = "site.example"
        mark: str | None = None

        def __init__(self, url: str) -> None:
            self.request = ImageRequest(url, moment)

        async def fetch(self, fetcher: Fetcher, deadline: float) -> None:
            result = await fetcher.fetch(self.request, KeepConsented(), deadline)
            self.mark = None if result.reason else fingerprint(result.body)

    async def fetch_all(wanted: list[str]) -> dict[str, str]:
        jobs = [Job(url) for url in wanted]
        async with Fetcher.open(settings) as fetcher:
            await FetchLoop(fetcher).fetch_all(jobs, seconds=3600)
        return {job.request.url: job.mark for job in jobs if job.mark}

    for part in (urls[:100], urls):
        started, cpu = time.perf_counter(), time.process_time()
        kept = asyncio.run(fetch_all(part))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps([seconds, cpu, kept]))


def fingerprint(body: bytes) -> str:
    """Return a cheap fingerprint of an image: its length, and the sha256 of its end."""
    return f"{len(body)} {hashlib.sha256(body[-1024:]).hexdigest()}"


async def serve(folder: Path) -> None:
    """Serve every case until a line is read; first print the ports, and the fingerprint of each image by its name."""
    from aiohttp import web

    images = make_images()
    truth: dict[str, str | None] = {name: fingerprint(body) for name, body in images.items()}
    truth |= {f"{kind}-{number}.jpg": None for number in range(REFUSED) for kind in ("gone", "noai")}

    def responding(*, keep: bool) -> Any:
        async def respond(request: web.Request) -> web.Response:
            name = request.path.removeprefix("/")
            if name.startswith("noai"):
                response = web.Response(body=images["0.jpg"], headers={"X-Robots-Tag": "noai"})
            else:
                response = web.Response(body=images[name]) if name in images else web.Response(status=404)
            if not keep:
                response.force_close()
            return response

        return respond

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    ports = {}
    for case, (scheme, keep) in CASES.items():
        app = web.Application()
        app.router.add_get("/{path:.*}", responding(keep=keep))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context if scheme == "https" else None).start()
        ports[case] = runner.addresses[0][1]
    print(json.dumps([ports, truth]), flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def make_images() -> dict[str, bytes]:
    """Return pictures similar to photographs: gradients with noise, as JPEGs of about 100 KB."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    slope = np.linspace(0, 120, 480, dtype=np.float32)[None, :, None]
    images = {}
    for number in range(IMAGES):
        noise = random.integers(0, 110, (360, 480, 3), np.uint8)
        colour = random.uniform(0, 1, 3).astype(np.float32)
        pixels = cv2.blur(noise, (2, 2)) + (slope * colour).astype(np.uint8)
        images[f"{number}.jpg"] = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    print(f"{IMAGES} images, {sum(map(len, images.values())) / IMAGES / 1000:.0f} kB on average", file=sys.stderr)
    return images


def make_certificates(folder: Path) -> None:
    """Write ca.pem, and server.pem with the certificate and key for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def made(name: str, issuer: Any = None, *extensions: Any) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        signing_name, signing_key = issuer or (subject, key)
        builder = x509.CertificateBuilder(
            signing_name, subject, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1)
        )
        signing = signing_key.public_key()
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing), critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(signing_key, hashes.SHA256()), key

    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    sign = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False, **usage
    )
    ca, ca_key = made("a CA of this benchmark", None, x509.BasicConstraints(ca=True, path_length=0), sign)
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    server, key = made("127.0.0.1", (ca.subject, ca_key), names)
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        server.public_bytes(pem) + key.private_bytes(pem, private, serialization.NoEncryption())
    )


if __name__ == "__main__":
    main()
