"""A stand-in for the Hugging Face Hub on loopback: repositories in memory, as far as bundles need them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Hub:
    """What was pushed, and what was asked.

    Attributes:
        files: repository -> name -> content.
        asked: (method, path) of each request.
        token: that writers must send; empty for none.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[tuple[str, str]] = []
        self.messages: list[str] = []
        self.token = "hf_good"
        self.address = ""

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        path = unquote(urlsplit(path).path)
        self.asked.append((method, path))
        if method == "POST" and headers.get("authorization") != f"Bearer {self.token}" and "yaml" not in path:
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.files.setdefault(name, {})
            self.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
            return self._json({"url": f"{self.address}/{name}", "name": name, "id": name})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for one in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "header":
                    self.messages.append(entry["value"]["summary"])
                if entry["key"] == "file":
                    value = entry["value"]
                    self.files[found[1]][value["path"]] = base64.b64decode(value["content"])
            oid = self._sha(found[1])
            url = f"{self.address}/{found[1]}/commit/{oid}"
            return self._json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if found[1] not in self.files:
                return self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            siblings = [{"rfilename": name} for name in self.files[found[1]]]
            sha = self._sha(found[1])
            return self._json({"id": found[1], "modelId": found[1], "sha": sha, "siblings": siblings, "tags": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path):
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files[found[1]].items()
            ]
            return self._json(listed)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            content = self.files.get(found[1], {}).get(found[3])
            if content is None:
                return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            tag = hashlib.sha1(content).hexdigest()
            return 200, {"ETag": f'"{tag}"', "X-Repo-Commit": self._sha(found[1])}, content
        return self._json({"error": f"no such place: {path}"}, 404)

    def _sha(self, name: str) -> str:
        return hashlib.sha1(json.dumps(sorted(self.files[name])).encode()).hexdigest()

    @staticmethod
    def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(data).encode()


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, content = found.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
