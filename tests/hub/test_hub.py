"""Models as folders and by name: written, read back, uploaded to a local server, fetched."""

import dataclasses
import json
import pathlib
import sys

import hub_server
import jax
import numpy as np
import pytest

from jax3dgan import config_json, hub, trained
from jax3dgan.apps import samples
from jax3dgan.errors import UserError
from jax3dgan.evaluation import report
from jax3dgan.runs import hub_files, model_folders

safetensors = pytest.importorskip('safetensors.numpy')

_METRICS = {
  'step': 12,
  'metrics': {'FID-768': 3.25, 'KID-768': None},
  'protocols': {'fid': '100 fakes against 100 photos, seed 0'},
  'seed': 0,
  'version': '0.1',
  'commit': '',
  'data': {'source': '/home/someone/cars'},
}


@pytest.fixture
def library():
  pytest.importorskip('huggingface_hub.constants')
  return pytest.importorskip('huggingface_hub')


@pytest.fixture
def server(library, tmp_path, monkeypatch):
  monkeypatch.setattr(library.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(library.constants, 'HF_HUB_DISABLE_PROGRESS_BARS', True)
  monkeypatch.setenv('HF_TOKEN', 'hf_of_a_test')
  with hub_server.serving() as (state, address):
    monkeypatch.setenv('HF_ENDPOINT', address)
    yield state


def _same(model, other):
  assert model.step == other.step
  assert config_json.plain(model.config) == config_json.plain(other.config)
  jax.tree.map(np.testing.assert_array_equal, model.variables, other.variables)


def test_a_folder_gives_the_same_model(tiny_model, tmp_path):
  folder = hub.save_pretrained(tiny_model, tmp_path / 'models' / 'mine', pictures=False)
  assert sorted(p.name for p in folder.iterdir()) == [
    'README.md',
    'config.json',
    'model.safetensors',
  ]
  _same(trained.from_pretrained(folder), tiny_model)
  loaded = trained.load(pretrained=str(folder), step=12)
  assert loaded.name == 'tiny'  # not the folder's
  with pytest.raises(UserError, match=r'--step=5: .*mine is no run but a stored model'):
    trained.load(pretrained=str(folder), step=5)
  # Readable without this package: plain names, one array each.
  arrays = safetensors.load_file(folder / 'model.safetensors')
  assert sum(x.size for x in arrays.values()) == sum(
    x.size for x in jax.tree.leaves(tiny_model.params)
  )
  assert {x.dtype for x in arrays.values()} == {np.dtype('float32')}


def test_half_precision_and_places_of_the_machine(tiny_model, tmp_path):
  config = tiny_model.config.copy_and_resolve_references()
  config.data.update(source='/home/someone/cars', cache_dir='~/secret')
  model = trained.Trained(config, tiny_model.generator, tiny_model.variables, 12, 'cars')
  folder = hub.save_pretrained(model, tmp_path / 'x', dtype=np.float16, pictures=False)
  text = (folder / 'config.json').read_text() + (folder / 'README.md').read_text()
  assert 'someone' not in text and '~' not in text
  loaded = trained.from_pretrained(folder)
  assert (loaded.config.data.source, loaded.config.data.cache_dir) == ('cars', '')
  for a, b in zip(*map(jax.tree.leaves, (loaded.params, model.params)), strict=True):
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
  huge = model.with_params(jax.tree.map(lambda x: x + 1e6, model.params), 1)
  with pytest.raises(UserError, match='values that float16 cannot hold. Use float32'):
    hub.save_pretrained(huge, tmp_path / 'y', dtype=np.float16, pictures=False)


def test_the_card_says_what_is_known_and_what_is_not(tiny_model, tmp_path):
  folder = hub.save_pretrained(
    tiny_model, tmp_path / 'a', license='mit', metrics=_METRICS, limits='Grey.', pictures=False
  )
  card = (folder / 'README.md').read_text(encoding='utf-8')
  assert card.startswith('---\nlibrary_name: jax3dgan\n') and '\nlicense: "mit"\n' in card
  for words in ('| `FID-768` | 3.25 |', '| `KID-768` | not measurable |', 'against `cars`'):
    assert words in card
  assert '100 fakes against 100 photos' in card and '- Grey.' in card and 'y up' in card
  assert '- Weights: mit.' in card and 'Data: not stated' in card
  bare = hub.save_pretrained(tiny_model, tmp_path / 'b', pictures=False) / 'README.md'
  text = bare.read_text(encoding='utf-8')
  assert '\nlicense' not in text and 'None are given.' in text and 'Weights: not stated' in text
  with pytest.raises(UserError, match='metrics are of step 13, and the model is of step 12'):
    hub.save_pretrained(tiny_model, tmp_path / 'c', metrics={**_METRICS, 'step': 13})


def test_the_metrics_of_a_report_fit_the_card(tiny_model, tmp_path):
  from jax3dgan.evaluation.results import Result

  results = {'fid': Result({'FID-9': 1.5}, 'of nothing')}
  about = report.record(tiny_model, tiny_model.config, results, {'fid': 1.0})
  folder = hub.save_pretrained(tiny_model, tmp_path / 'a', metrics=about, pictures=False)
  assert '| `FID-9` | 1.5 |' in (folder / 'README.md').read_text(encoding='utf-8')


def test_what_is_no_model(tiny_model, tmp_path):
  for folder in ('empty', 'run/checkpoints', 'mine'):
    (tmp_path / folder).mkdir(parents=True)

  def refused(name, words):
    with pytest.raises(UserError, match=words) as error:
      trained.from_pretrained(tmp_path / name)
    assert '\n' not in str(error.value)

  refused('empty', 'has no model.safetensors. Name a folder that')
  refused('run', r'It is a run: give --workdir=.*run')
  with pytest.raises(UserError, match='is the folder of a run'):
    hub.save_pretrained(tiny_model, tmp_path / 'run')
  folder = hub.save_pretrained(tiny_model, tmp_path / 'mine', pictures=False)
  config, weights = folder / 'config.json', folder / 'model.safetensors'
  whole, text = weights.read_bytes(), config.read_text(encoding='utf-8')
  weights.write_bytes(whole[:-10])
  refused('mine', 'model.safetensors is damaged')
  arrays = safetensors.load(whole)
  first = sorted(arrays)[0]
  broken = {**arrays, first: arrays[first] * np.nan}
  weights.write_bytes(safetensors.save(broken))
  refused('mine', 'are not finite')
  weights.write_bytes(safetensors.save({**arrays, first: arrays[first][:1]}))
  refused('mine', f'{first} is of shape .* it has shape')
  weights.write_bytes(safetensors.save({k: v for k, v in arrays.items() if k != first}))
  refused('mine', f'{first} is missing')
  config.write_text('{"architectures": []}')
  refused('mine', 'model of another library')
  config.write_text('{')
  refused('mine', 'cannot be read')
  config.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != 'step'}))
  refused('mine', 'has no step')
  with pytest.raises(UserError, match='No pretrained model is called .carz.. There are: .*toys'):
    trained.from_pretrained('carz')


def test_upload_fetch_and_use_without_the_network(server, tiny_model, monkeypatch):
  address = hub.push_to_hub(
    tiny_model, 'me/tiny-cars', private=True, notes='A test.', pictures=False
  )
  assert address.endswith('/me/tiny-cars') and server.private == {'me/tiny-cars': True}
  files = server.files['me/tiny-cars', 'main']
  assert sorted(files) == ['README.md', 'config.json', 'model.safetensors']
  assert b'# tiny-cars' in files['README.md'] and b'A test.' in files['README.md']
  model = trained.from_pretrained('me/tiny-cars')
  assert model.name == 'tiny-cars'
  _same(model, tiny_model)
  commit = server.commit_of('me/tiny-cars', 'main')
  hub.push_to_hub(tiny_model.with_params(tiny_model.params, 13), 'me/tiny-cars', pictures=False)
  assert trained.from_pretrained('me/tiny-cars').step == 13
  assert trained.from_pretrained(f'me/tiny-cars@{commit}').step == 12
  # What was fetched is there without the hub.
  monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
  asked = len(server.asked)
  assert trained.from_pretrained('me/tiny-cars').step == 13
  with pytest.raises(UserError, match="'me/other' is no folder here, and cannot be fetched"):
    trained.from_pretrained('me/other')
  assert len(server.asked) == asked


def test_names_that_the_hub_does_not_have(server, tiny_model, monkeypatch):
  with pytest.raises(
    UserError, match="'me/absent' is neither a folder here nor a model on the hub"
  ):
    trained.from_pretrained('me/absent')
  server.files['me/bert', 'main'] = {'config.json': b'{}'}
  with pytest.raises(UserError, match='is no model of jax3dgan: it lacks'):
    trained.from_pretrained('me/bert')
  server.files['me/asks', 'main'] = {'config.json': b'{}'}
  server.gated.add('me/asks')
  with pytest.raises(UserError, match='Accept them on its page on the hub, then log in with hf'):
    trained.from_pretrained('me/asks')
  monkeypatch.setattr(hub, 'save_pretrained', None)  # names are looked at before it is called
  for name in ('tiny', 'me/tiny@v1'):
    with pytest.raises(UserError, match='is no name of a model on the hub'):
      hub.push_to_hub(tiny_model, name)


@pytest.mark.parametrize(
  'field',
  ['recipe', 'model.name', 'model.template', 'model.blocks.0', 'discriminator.name'],
)
def test_a_download_starts_no_code_of_another_package(field, server, tiny_model, tmp_path):
  folder = model_folders.write(tiny_model, tmp_path / 'a')
  facts = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
  *groups, last = field.split('.')
  group, value = facts['config'], 'this:Generator'
  for key in groups[:1]:
    group = group[key]
  if last == '0':
    last, value = groups[1], [value]
  group[last] = value
  weights = (folder / 'model.safetensors').read_bytes()
  files = {'config.json': json.dumps(facts).encode(), 'model.safetensors': weights}
  server.files['me/theirs', 'main'] = files
  with pytest.raises(UserError, match=f"{field} = 'this:Generator', a class of another package"):
    trained.from_pretrained('me/theirs')
  assert 'this' not in sys.modules


def test_missing_libraries(tiny_model, tmp_path, monkeypatch):
  folder = hub.save_pretrained(tiny_model, tmp_path / 'x', pictures=False)
  monkeypatch.setitem(__import__('sys').modules, 'safetensors.numpy', None)
  monkeypatch.setitem(__import__('sys').modules, 'huggingface_hub', None)
  with pytest.raises(UserError, match=r"pip install 'jax3dgan\[hub\]'"):
    trained.from_pretrained(folder)
  with pytest.raises(UserError, match=r"need the package huggingface_hub. .*'jax3dgan\[hub\]'"):
    trained.from_pretrained('me/model')


def test_an_app_takes_a_folder_and_repeats_it(tiny_model, tmp_path, monkeypatch, capsys):
  """With the pictures of the card, which are that app's."""
  folder = hub.save_pretrained(tiny_model, tmp_path / 'models' / 'x', resolution=8)
  monkeypatch.chdir(tmp_path)
  samples.main(['--pretrained=models/x', '--out=a.png', '--seeds=0-3', '--resolution=8'])
  assert '4 seeds of tiny, step 12' in capsys.readouterr().out
  monkeypatch.chdir(folder)
  samples.main([f'--repeat={tmp_path / "a.png"}', '--out=b.png'])
  made = [tmp_path / 'a.png', folder / 'b.png', folder / 'samples.png']
  pixels = [_pixels(path) for path in made]
  for other in pixels[1:]:
    np.testing.assert_array_equal(pixels[0], other)


def _pixels(path):
  from PIL import Image

  with Image.open(pathlib.Path(path)) as image:
    return np.asarray(image.convert('RGB'))


def test_names_and_folders():
  assert hub_files.is_name('me/model') and hub_files.is_name('me/model@v1.0')
  assert not any(map(hub_files.is_name, ('toys', '/a/b', 'a/b/c', '../a', 'a/', '')))
  assert model_folders.LIBRARY == 'jax3dgan'


@pytest.mark.parametrize(
  ('written', 'left'),
  [
    ('/home/me/cars', 'cars'),
    ('/home/me/cars/', 'cars'),
    ('~/cars', 'cars'),
    ('ict:/home/me/ict', 'ict:ict'),
    ('file:///home/me/cars', 'cars'),
    (r'C:\Users\me\cars', 'cars'),
    ('ict:D:/me/ict', 'ict:ict'),
    (r'\\server\me\cars', 'cars'),
    (['/home/me/a', {'b': '/home/me/b'}, 3], ['a', {'b': 'b'}, 3]),
    ('gs://bucket/cars', 'gs://bucket/cars'),
    ('data/cars', 'data/cars'),
    ('ict:', 'ict:'),
  ],
)
def test_of_a_place_the_last_part_is_left(written, left):
  assert model_folders._without_places({'source': written}) == {'source': left}


def test_what_a_machine_is_told_a_download_does_not_say(tiny_model, tmp_path):
  folder = model_folders.write(tiny_model, tmp_path / 'a')
  path = folder / 'config.json'
  facts = json.loads(path.read_text(encoding='utf-8'))
  facts['config'] |= {'platform': 'cpu', 'init_from': 'runs/theirs'}
  facts['config']['data'] |= {'cache_dir': '/etc', 'local_copy': '/etc'}
  path.write_text(json.dumps(facts), encoding='utf-8')
  config = trained.config_of(pretrained=str(folder))
  assert (config.platform, config.init_from) == ('auto', '')
  assert (config.data.cache_dir, config.data.local_copy) == ('', '')
  theirs = tiny_model.config.copy_and_resolve_references()
  theirs.update(platform='cpu', init_from='runs/mine')
  model_folders.write(dataclasses.replace(tiny_model, config=theirs), folder)
  written = json.loads(path.read_text(encoding='utf-8'))['config']
  assert (written['platform'], written['init_from']) == ('auto', '')


@pytest.mark.parametrize(
  ('field', 'value', 'words'),
  [
    ('name', 3, 'name is 3, not a text'),
    ('step', True, 'step is True, not a whole number'),
    ('config', [], r'config is \[\], not a group of fields'),
    ('config.recipe', ['pigan'], r"config.recipe is \['pigan'\], not a text"),
    ('config.model', 'pigan', "config.model is 'pigan', not a group"),
    ('config.model.name', None, 'config.model.name is None, not a text'),
    ('config.ema', 0.5, 'config.ema is 0.5, not a group'),
    ('config.ema.display_rate', 'x', "config.ema.display_rate is 'x', not a number"),
  ],
)
def test_fields_of_other_kinds(field, value, words, tiny_model, tmp_path):
  folder = model_folders.write(tiny_model, tmp_path / 'a')
  path = folder / 'config.json'
  facts = json.loads(path.read_text(encoding='utf-8'))
  *groups, last = field.split('.')
  group = facts
  for key in groups:
    group = group[key]
  group[last] = value
  path.write_text(json.dumps(facts), encoding='utf-8')
  with pytest.raises(UserError, match=f'{words}.* Copy the folder again'):
    trained.from_pretrained(folder)
