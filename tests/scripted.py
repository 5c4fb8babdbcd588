"""A chat server on loopback that answers, or fails, as a script says."""

import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = "Thought: on\nAction: move_left"
STATUS = {
    "400": 400,
    "429": 429,
    "429 after 1": 429,
    "500": 500,
    "502": 502,
    "503": 503,
    "401": 401,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body, sent apart, wait for each other 40 ms

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send(404, b"")

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            number = len(server.requests)
            server.paths.append(self.path)
            server.requests.append((time.monotonic(), dict(self.headers), body))
            server.live += 1
            server.most = max(server.most, server.live)
        try:
            self.fault(server.script(number, body), body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.live -= 1

    def fault(self, kind, body):
        good = json.dumps(
            {
                "model": body.get("model"),
                "choices": [
                    {"message": {"role": "assistant", "content": self.server.answer(body)}}
                ],
                "usage": {"prompt_tokens": 11, "completion_tokens": 7},
            }
        ).encode()
        if isinstance(kind, bytes):
            self.send(200, kind)
        elif kind == "ok":
            time.sleep(self.server.latency)
            self.send(200, good)
        elif kind in STATUS:
            key = self.headers.get("authorization", "")
            said = json.dumps({"error": {"message": f"no\x1b[31m luck for {key}"}}).encode()
            self.send(STATUS[kind], said, {"Retry-After": "1"} if "after" in kind else {})
        elif kind == "reset":
            self.head(200, len(good))
            self.wfile.write(good[:20])
            self.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        elif kind == "stall":
            self.server.ended.wait(5)
            self.close_connection = True
        elif kind == "drip":
            self.head(200, len(good))
            for byte in good:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.ended.wait(0.1):
                    break
            self.close_connection = True
        elif kind == "huge":
            self.send(200, b" " * (9 * 2**20) + good)
        else:
            bodies = {
                "empty": b"",
                "html": b"<html>Bad gateway</html>",
                "json": good[:-9],
                "schema": b'{"choices": [{"text": "x"}]}',
                "null": b'{"choices": [{"message": {"content": null}}]}',
                "error": b'{"error": {"message": "overloaded"}}',
            }
            self.send(200, bodies[kind])

    def head(self, status, length, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status, body, headers=()):
        self.head(status, len(body), headers)
        self.wfile.write(body)


@contextmanager
def serving(script=lambda number, body: "ok", answer=lambda body: ANSWER, latency=0.0):
    """Serve on a free port; `script` names what becomes of each request, by number and body.

    Bytes are the body of an answer, whatever they are.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.script, server.answer, server.latency = script, answer, latency
    server.requests, server.live, server.most = [], 0, 0
    server.paths = []
    server.lock, server.ended = threading.Lock(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
