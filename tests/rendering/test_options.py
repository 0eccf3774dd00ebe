"""The options of the renderer: one default for each, and errors of what does not go together."""

import dataclasses

import pytest

from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.rendering.options import RenderOptions


def test_a_config_and_the_dataclass_have_the_same_defaults():
  render, options = config_lib.base_config().render, RenderOptions()
  shared = [f.name for f in dataclasses.fields(RenderOptions) if f.name in render]
  assert len(shared) > 15
  assert {name: render[name] for name in shared} == {
    name: getattr(options, name) for name in shared
  }


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(density='gelu'), "density.*'gelu'.*softplus, relu, field"),
    (dict(marcher='midpoints', density='relu'), "midpoints.*density='softplus'"),
    (dict(marcher='midpoints', last_back=True), 'midpoints.*last_back=False'),
    (dict(last_interval='inf'), "last_interval.*'inf'.*far, infinite"),
    (dict(near=1.0, far=0.5), 'near.*far'),
    (dict(num_coarse=2, num_fine=2), 'num_coarse 2.*3'),
    (dict(num_coarse=0, num_fine=0), 'num_coarse 0'),
  ],
)
def test_errors(fields, message):
  with pytest.raises(UserError, match=message):
    RenderOptions(**fields)
