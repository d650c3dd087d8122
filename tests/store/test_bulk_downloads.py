"""The downloads of bulk results: links, ranges, and all that goes wrong on the way."""

import http.client
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import requests

from .conftest import Bulk, eventually, get


def test_a_download_is_the_same_bytes_every_time_and_needs_no_token(bulk: Bulk):
    url = bulk.finish()["url"]
    first, second = get(url), get(url)
    assert first.content == second.content
    assert first.headers["Content-Type"] == "application/jsonl"
    assert first.headers["Accept-Ranges"] == "bytes"
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.headers["Last-Modified"]
    assert not bulk.told()["downloads"][-1]["hasToken"]
    get(url, **{"X-Shopify-Access-Token": "shpat_leaked"})
    assert bulk.told()["downloads"][-1]["hasToken"]


def test_a_range_gives_a_part(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url)
    size = len(whole.content)
    for asked, start, end in (
        ("bytes=10-19", 10, 20),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=3-{size * 2}", 3, size),
    ):
        answer = get(url, Range=asked)
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert answer.content == whole.content[start:end]
    beyond = get(url, Range=f"bytes={size}-")
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    # Another version of the file than the one begun is sent whole
    assert get(url, Range="bytes=10-", **{"If-Range": '"other"'}).status_code == 200
    assert get(url, Range="bytes=10-", **{"If-Range": whole.headers["ETag"]}).status_code == 206


def test_a_link_is_signed_and_ends(bulk: Bulk):
    operation = bulk.finish()
    url = operation["url"]
    assert get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    assert get(url.replace("Expires=1", "Expires=2")).status_code == 403
    assert get(url.partition("?")[0]).status_code == 403
    bulk.store.control("POST", bulk.path + "/expire", {"id": operation["id"]})
    gone = get(url)
    assert gone.status_code == 403
    assert "<Code>ExpiredToken</Code>" in gone.text
    # And still when the next operation has cleared its file away
    bulk.finish('{orders(query:"id:1"){edges{node{id}}}}')
    assert not bulk.shop.bulk.path(bulk.shop.bulk.all()[0]).exists()
    assert get(url).status_code == 403
    assert bulk.store.control("DELETE", bulk.path) == {"forgotten": 2}
    assert get(url).status_code == 404


def test_a_link_may_have_expired_at_its_first_use(bulk: Bulk):
    bulk.break_(bulk_link_expired={"next": 1})
    assert get(bulk.finish()["url"]).status_code == 403
    # Or only once
    bulk.break_(download_expired={"next": 1})
    url = bulk.finish()["url"]
    assert [get(url).status_code for _ in range(2)] == [403, 200]


def test_a_download_may_break_off(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url).content
    bulk.break_(download_cut={"next": 1, "bytes": 100})
    with requests.get(url, stream=True, timeout=10) as answer:
        assert answer.headers["Content-Length"] == str(len(whole))
        assert answer.raw.read(100, decode_content=False) == whole[:100]
        began = time.monotonic()
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            list(answer.iter_content(50))
        assert time.monotonic() - began < 5, "the connection was left open"
    assert get(url).content == whole


def test_a_download_may_end_early_as_if_it_were_whole(bulk: Bulk):
    done = bulk.finish()
    bulk.break_(download_short={"next": 1, "bytes": 100})
    short = get(done["url"])
    assert (short.status_code, len(short.content), short.headers["Content-Length"]) == (200, 100, "100")
    assert done["fileSize"] != "100"


def test_a_download_may_be_unavailable_trickle_or_ignore_ranges(bulk: Bulk):
    url = bulk.finish('{orders(query:"order_number:<1010"){edges{node{id}}}}')["url"]
    whole = get(url).content
    bulk.break_(download_unavailable={"next": 1})
    assert [get(url).status_code for _ in range(2)] == [503, 200]
    bulk.break_(download_ignores_range={"next": 1})
    ignored = get(url, Range="bytes=5-")
    assert (ignored.status_code, ignored.content) == (200, whole)
    bulk.break_(download_slow={"next": 1, "bytes_per_second": len(whole) * 2})
    began = time.monotonic()
    assert get(url).content == whole
    assert time.monotonic() - began > 0.4
    assert bulk.told()["downloads"][-1]["faults"] == ["download_slow"]


def test_a_held_download_waits_between_two_lines_until_released(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url).content.splitlines(keepends=True)
    bulk.break_(download_held={"next": 1, "lines": 4})
    taken: list[bytes] = []
    thread = threading.Thread(target=read, args=(url, taken.append))
    thread.start()
    eventually(lambda: bulk.is_held("downloads"))
    eventually(lambda: b"".join(taken) == b"".join(whole[:4]))
    bulk.release(lines=1)
    eventually(lambda: b"".join(taken) == b"".join(whole[:5]))
    eventually(lambda: bulk.is_held("downloads"))
    assert bulk.told()["downloads"][-1]["lines"] == 5
    bulk.release()
    thread.join(10)
    assert b"".join(taken) == b"".join(whole)


def read(url: str, take: Callable[[bytes], None]) -> None:
    """Take what comes as it comes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    while data := answer.read1(65536):
        take(data)
    connection.close()


@pytest.mark.parametrize(("line", "held_behind"), [(2, 2), (2, 5), (5, 2)])
def test_a_download_that_resumes_is_held_at_an_end_of_a_line(bulk: Bulk, line: int, held_behind: int):
    """Behind the line of the file that was told, or the first that it sends the end of."""
    url = bulk.finish()["url"]
    whole = get(url).content.splitlines(keepends=True)
    start = len(b"".join(whole[: line - 1])) + 3
    bulk.break_(download_held={"next": 1, "lines": held_behind})
    taken: list[bytes] = []
    thread = threading.Thread(target=lambda: taken.append(get(url, Range=f"bytes={start}-").content))
    thread.start()
    eventually(lambda: bulk.is_held("downloads"))
    sent = len(b"".join(whole[: max(line, held_behind)])) - start
    assert bulk.told()["downloads"][-1]["bytes"] == sent
    bulk.release()
    thread.join(10)
    assert taken == [b"".join(whole)[start:]]
