"""The toys as a TFDS data set, from the same generator; the only file here that imports TFDS.

`Builder(config='images')` has image and label in the splits train and test; `config='truth'` has
the split test with depth, mask and the second view, see `generate.truth`.
"""

import dataclasses
import io

import numpy as np
import tensorflow_datasets as tfds

from jax3dgan.data.builders.toys import generate, scene

_SIZE = scene.RESOLUTION


@dataclasses.dataclass
class ToysConfig(tfds.core.BuilderConfig):
  """Which features, and how many images of a split (all where it is not named)."""

  truth: bool = False
  num_images: dict = dataclasses.field(default_factory=dict)


def _view_features():
  return {
    'image': tfds.features.Image(shape=(_SIZE, _SIZE, 3), encoding_format='png'),
    'label': tfds.features.Tensor(shape=(25,), dtype=np.float32),
  }


def _truth_features():
  return {
    'depth': tfds.features.Tensor(shape=(_SIZE, _SIZE), dtype=np.float32),
    'mask': tfds.features.Tensor(shape=(_SIZE, _SIZE), dtype=np.bool_),
  }


class Builder(tfds.core.GeneratorBasedBuilder):
  """Toy cars with their cameras; made on this machine, nothing is downloaded."""

  VERSION = tfds.core.Version(f'{generate.VERSION}.0.0')
  RELEASE_NOTES = {f'{generate.VERSION}.0.0': 'Toy cars.'}
  BUILDER_CONFIGS = [
    # pyrefly: ignore [unexpected-keyword]  # TFDS's own dataclass decorator is not understood
    ToysConfig(name='images', description='Images and cameras.'),
    # pyrefly: ignore [unexpected-keyword]
    ToysConfig(name='truth', description='With depth, mask and a second view.', truth=True),
  ]

  def _info(self):
    features = _view_features()
    if self.builder_config.truth:
      second = {**_view_features(), **_truth_features()}
      features = {**features, **_truth_features(), 'second': second}
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      description='Toy cars in front of a white ground, from cameras all around them.',
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing to download.
    splits = ('test',) if self.builder_config.truth else ('train', 'test')
    return {split: self._generate_examples(split) for split in splits}

  def _generate_examples(self, split):
    for example in generate.examples(split, self.builder_config.num_images.get(split)):
      features = {'image': io.BytesIO(example['image']), 'label': example['label']}
      if self.builder_config.truth:
        features.update(generate.truth(example['extras']))
      yield example['key'], features
