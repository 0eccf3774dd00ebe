"""A local server of what `huggingface_hub` asks to upload and to fetch a model."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading


class Hub:
  """The state of the server.

  Attributes:
    files: {(repository, revision): {path: bytes}}.
    asked: (method, path) of each request.
    private: Of each repository that was created.
    gated: Repositories whose terms must be accepted first.
  """

  def __init__(self):
    self.files, self.asked, self.private, self.gated = {}, [], {}, set()

  def at(self, repo, revision):
    """The files of a branch or commit, or None."""
    if (repo, revision) not in self.files and (repo, 'main') in self.files:
      revision = 'main' if self.commit_of(repo, 'main') == revision else revision
    return self.files.get((repo, revision))

  def commit_of(self, repo, revision):
    return commit_of(self.files[repo, revision])


def commit_of(files):
  return hashlib.sha1(b''.join(k.encode() + v for k, v in sorted(files.items()))).hexdigest()


@contextlib.contextmanager
def serving():
  """Yields (the server's state, its address)."""
  hub = Hub()

  class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
      pass

    def answer(self, status, body=b'', headers=()):
      body = body if isinstance(body, bytes) else json.dumps(body).encode()
      self.send_response(status)
      for name, value in headers:
        self.send_header(name, value)
      self.send_header('Content-Length', str(len(body)))
      self.end_headers()
      if self.command != 'HEAD':
        self.wfile.write(body)

    def do_POST(self):
      hub.asked.append((self.command, self.path))
      body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
      if self.path == '/api/repos/create':
        asked = json.loads(body)
        name = '/'.join(filter(None, (asked.get('organization'), asked['name'])))
        private = asked.get('visibility') == 'private' or bool(asked.get('private'))
        hub.private.setdefault(name, private)
        hub.files.setdefault((name, 'main'), {})
        self.answer(200, {'url': f'{address}/{name}', 'name': name})
      elif self.path == '/api/validate-yaml':
        self.answer(200, {'errors': [], 'warnings': []})
      elif match := re.fullmatch(r'/api/models/(.+/.+)/preupload/main', self.path):
        entries = json.loads(body)['files']
        mode = {'uploadMode': 'regular', 'shouldIgnore': False}
        self.answer(200, {'files': [{'path': entry['path'], **mode} for entry in entries]})
      elif match := re.fullmatch(r'/api/models/(.+/.+)/commit/main', self.path):
        for line in body.splitlines():
          entry = json.loads(line)
          if entry['key'] == 'file':
            value = entry['value']
            hub.files[match[1], 'main'][value['path']] = base64.b64decode(value['content'])
        commit = hub.commit_of(match[1], 'main')
        hub.files[match[1], commit] = dict(hub.files[match[1], 'main'])
        at = f'{address}/{match[1]}/commit/{commit}'
        self.answer(200, {'commitUrl': at, 'commitOid': commit, 'success': True})
      else:
        self.answer(404, {'error': 'no such call'})

    def do_GET(self):
      hub.asked.append((self.command, self.path))
      match = re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', self.path)
      if not match or not any(repo == match[1] for repo, _ in hub.files):
        self.answer(404, {'error': 'no'}, [('X-Error-Code', 'RepoNotFound')])
      elif (files := hub.at(match[1], match[2])) is None:
        self.answer(404, {'error': 'no'}, [('X-Error-Code', 'RevisionNotFound')])
      elif match[1] in hub.gated:
        self.answer(403, {'error': 'no'}, [('X-Error-Code', 'GatedRepo')])
      else:
        content, commit = files.get(match[3]), ('X-Repo-Commit', commit_of(files))
        if content is None:
          self.answer(404, {'error': 'no'}, [('X-Error-Code', 'EntryNotFound'), commit])
        else:
          etag = ('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
          self.answer(200, content, [etag, commit])

    do_HEAD = do_GET

  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  address = f'http://127.0.0.1:{server.server_address[1]}'
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield hub, address
  finally:
    server.shutdown()
    server.server_close()
    thread.join()
