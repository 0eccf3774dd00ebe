"""Checks that the viewer can listen at an address."""

import errno
import socket

from jax3dgan.errors import UserError


def check_port(host: str, port: int) -> None:
  """Raises a UserError if viser cannot listen there; viser itself would silently take another port.

  Args:
    host: Address or name of this machine.
    port: 0 for any.
  """
  if not 0 <= port < 2**16:
    raise UserError(f'Port {port} does not exist. Set --port between 1 and 65535.')
  try:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    error = _bind_error(family, address)
  except (OSError, UnicodeError):
    raise UserError(
      f'{host} is not an address of this machine. Set --host=127.0.0.1, or 0.0.0.0 for all.'
    ) from None
  if error is None:
    return
  if error.errno == errno.EADDRINUSE:
    others = (p for p in range(port + 1, min(port + 1000, 2**16)))
    free = next((p for p in others if _bind_error(family, (address[0], p)) is None), None)
    remedy = f'Set --port={free}, which is free.' if free else 'Set another --port.'
    raise UserError(f'Port {port} of {host} is in use. {remedy}')
  if error.errno == errno.EACCES:
    raise UserError(f'Port {port} is reserved for the administrator. Set --port=8080 or above.')
  raise UserError(
    f'{host} is not an address of this machine. Set --host=127.0.0.1, or 0.0.0.0 for all.'
  )


def _bind_error(family, address) -> OSError | None:
  with socket.socket(family, socket.SOCK_STREAM) as probe:
    # Like asyncio's servers: a port that was closed a moment ago counts as free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      probe.bind(address)
    except OSError as error:
      return error
  return None
