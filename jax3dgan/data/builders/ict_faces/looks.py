"""What varies from image to image, each drawn from (seed, split, number) alone."""

import dataclasses
import math

import numpy as np
import scipy.special

SEED = 0
HAIRLINE_CM = -0.6, 0.7  # by which the hairline is higher than usual: the range
SPLITS = ('train', 'test')
_TRUNCATION = 2.0  # Standard deviations of identities; beyond, features begin to intersect.
RADIUS = 2.7
FOCAL = 4.2647  # Of EG3D's FFHQ, in widths of the picture.
INTRINSICS = FOCAL, 0.0, 0.5, 0.0, FOCAL, 0.5, 0.0, 0.0, 1.0  # of a label, row by row
FOV_DEGREES = math.degrees(2 * math.atan(0.5 / FOCAL))
# The angles of the cameras, as of FFHQ; in the terms of `cameras.PosePrior`.
POSE_PRIOR = dict(
  name='truncated_gaussian',
  yaw_mean=math.pi / 2,
  yaw_std=0.3,
  pitch_mean=math.pi / 2,
  pitch_std=0.15,
)
# Skin from light to dark, hair, irises: sRGB.
_SKIN = np.array(
  [(236, 200, 178), (226, 182, 152), (208, 155, 118), (166, 112, 78), (122, 78, 54), (84, 53, 40)]
)
_HAIR = np.array(
  [(28, 22, 20), (48, 32, 24), (84, 54, 34), (128, 86, 50), (190, 148, 92), (150, 145, 140)]
)
_IRIS = np.array([(70, 42, 24), (104, 66, 36), (96, 112, 66), (88, 128, 150), (112, 130, 138)])


@dataclasses.dataclass(frozen=True)
class Look:
  """One image's person, light and ground; colours are linear RGB in [0, 1].

  Attributes:
    identity, expression: float32 [100] and [57], the model's weights.
    skin, hair, iris, lips: [3].
    hairline: cm by which the hairline is higher than usual.
    volume: cm of the hair, 0 for a shaven head.
    brow: how dense the brows are; blush: how red the cheeks are; beard: how dense it is, 0 to 1.
    ambient: [3] light from everywhere; lamps: [l, 3] and directions: [l, 3] towards them.
    ground: [2, 3] at the top and at the bottom of the picture.
  """

  identity: np.ndarray
  expression: np.ndarray
  skin: np.ndarray
  hair: np.ndarray
  iris: np.ndarray
  lips: np.ndarray
  hairline: float
  volume: float
  brow: float
  blush: float
  beard: float
  ambient: np.ndarray
  lamps: np.ndarray
  directions: np.ndarray
  ground: np.ndarray


def to_linear(srgb):
  """Linear values of sRGB ones, both in [0, 1] (IEC 61966-2-1)."""
  srgb = np.asarray(srgb, np.float64)
  return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear):
  """sRGB values of linear ones, both in [0, 1]."""
  linear = np.clip(linear, 0.0, 1.0)
  return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def generator(split, i) -> np.random.Generator:
  """Random numbers of image i of a split."""
  return np.random.default_rng([SEED, SPLITS.index(split), i])


def draw(rng, names, num_identity, background='white') -> Look:
  """A person from random numbers; names are the expressions'."""
  identity = _normal(rng, num_identity)
  expression = _expression(rng, list(names))
  tone = rng.uniform()
  skin = _palette(_SKIN, tone) * rng.uniform(0.94, 1.06, 3)
  hair = _palette(_HAIR, min(rng.uniform() * (1.25 - tone), 1.0)) * rng.uniform(0.85, 1.15)
  iris = _palette(_IRIS, rng.uniform() * (1.0 - 0.7 * tone)) * rng.uniform(0.8, 1.2)
  lips = skin * (np.array([0.80, 0.52, 0.55]) + rng.uniform(-0.06, 0.06, 3))
  bearded = rng.uniform() < 0.3
  look = dict(
    identity=identity,
    expression=expression,
    skin=skin,
    hair=hair,
    iris=iris,
    lips=lips,
    hairline=rng.uniform(*HAIRLINE_CM),
    volume=0.0 if rng.uniform() < 0.06 else rng.uniform(0.15, 1.1),
    brow=rng.uniform(0.45, 0.95),
    blush=rng.uniform(0.2, 1.0),
    beard=rng.uniform(0.15, 0.6) if bearded else 0.0,
  )
  look |= _light(rng)
  ground = np.ones((2, 3))
  if background == 'varied':
    middle = rng.uniform(0.1, 0.9, 3)
    ground = to_linear(np.clip(middle + rng.uniform(-0.1, 0.1, (2, 3)), 0.0, 1.0))
  return Look(**look, ground=ground)


def camera_label(rng) -> np.ndarray:
  """float32 [25], a camera of the pose prior that looks at the origin."""
  yaw = POSE_PRIOR['yaw_mean'] + POSE_PRIOR['yaw_std'] * _normal(rng, 1)[0]
  pitch = POSE_PRIOR['pitch_mean'] + POSE_PRIOR['pitch_std'] * _normal(rng, 1)[0]
  return label_of(yaw, pitch)


def label_of(yaw, pitch) -> np.ndarray:
  """float32 [25] of π-GAN's angles in radians.

  As `cameras.from_yaw_pitch(yaw, pitch, RADIUS, FOV_DEGREES).label()`, in NumPy and float64: the
  same bits on every machine and in processes without JAX.
  """
  back = np.array(
    [math.sin(pitch) * math.cos(yaw), math.cos(pitch), math.sin(pitch) * math.sin(yaw)]
  )
  right = np.cross(-back, (0.0, 1.0, 0.0))
  right /= np.linalg.norm(right)
  matrix = np.eye(4)
  matrix[:3] = np.stack([right, np.cross(-back, right), -back, RADIUS * back], axis=1)
  return np.concatenate([matrix.ravel(), INTRINSICS]).astype(np.float32)


def _normal(rng, count):
  """Normals within `_TRUNCATION` deviations, by their inverse distribution."""
  low = scipy.special.ndtr(-_TRUNCATION)
  return scipy.special.ndtri(rng.uniform(low, 1 - low, count)).astype(np.float32)


def _palette(colours, where):
  """Linear colour at 0..1 along a row of sRGB colours."""
  place = np.clip(where, 0.0, 1.0) * (len(colours) - 1)
  i = min(int(place), len(colours) - 2)
  return to_linear((colours[i] * (i + 1 - place) + colours[i + 1] * (place - i)) / 255)


# Weights of expression of the ICT Face Model Light, in their order.
EXPRESSION_NAMES = tuple(
  """
  PupilDilate_L PupilDilate_R browDown_L browDown_R browInnerUp_L browInnerUp_R browOuterUp_L
  browOuterUp_R cheekPuff_L cheekPuff_R cheekRaiser_L cheekRaiser_R cheekSquint_L cheekSquint_R
  eyeBlink_L eyeBlink_R eyeLookDown_L eyeLookDown_R eyeLookIn_L eyeLookIn_R eyeLookOut_L
  eyeLookOut_R eyeLookUp_L eyeLookUp_R eyeSquint_L eyeSquint_R eyeWide_L eyeWide_R jawForward
  jawLeft jawOpen jawRight mouthClose mouthDimple_L mouthDimple_R mouthFrown_L mouthFrown_R
  mouthFunnel mouthLeft mouthLowerDown_L mouthLowerDown_R mouthPress_L mouthPress_R mouthPucker
  mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmile_L
  mouthSmile_R mouthStretch_L mouthStretch_R mouthUpperUp_L mouthUpperUp_R noseSneer_L noseSneer_R
  """.split()
)
# Weights of full-blown expressions; _L and _R of both sides where a name has them. `draw` takes
# them by their order.
PRESETS = dict(
  smile=dict(mouthSmile=0.9, cheekSquint=0.4, mouthUpperUp=0.25),
  grin=dict(mouthSmile=0.8, mouthUpperUp=0.6, mouthLowerDown=0.5, cheekSquint=0.5, eyeSquint=0.3),
  open=dict(jawOpen=0.6, mouthFunnel=0.2),
  laugh=dict(jawOpen=0.5, mouthSmile=0.7, mouthUpperUp=0.3),
  surprise=dict(browInnerUp=0.9, browOuterUp=0.9, eyeWide=0.6, jawOpen=0.2),
  frown=dict(browDown=0.9, eyeSquint=0.6, noseSneer=0.3),
  sad=dict(mouthFrown=0.9, mouthShrugLower=0.5, browInnerUp=0.4),
  pucker=dict(mouthPucker=0.9),
  puff=dict(cheekPuff=0.8, mouthPress=0.4),
  stretch=dict(mouthStretch=0.7, mouthLowerDown=0.5),
  sneer=dict(noseSneer=0.8, mouthUpperUp=0.5),
)


def weights_of(names, values) -> np.ndarray:
  """float32 [57] of a dict of expressions, a number or (left, right) for those with two sides.

  Names that the model does not have count for nothing.
  """
  names, weights = list(names), np.zeros(len(names), np.float32)
  for name, value in values.items():
    left, right = np.broadcast_to(value, 2)
    for each, w in ((name, (left + right) / 2), (name + '_L', left), (name + '_R', right)):
      if each in names:
        weights[names.index(each)] = min(max(w, 0.0), 1.0)
  return weights


def _expression(rng, names):
  """None in a sixth of the images, else one or two; at times a blink, always a gaze."""
  weights, full_blown = np.zeros(len(names), np.float32), tuple(PRESETS.values())
  for share in (0.75, 0.3):
    which, strength = rng.integers(len(PRESETS)), rng.beta(1.6, 1.6)
    skew = rng.normal(0.0, 0.08)
    if rng.uniform() < share:
      sides = strength * np.array([1 + skew, 1 - skew])
      full = full_blown[which].items()
      weights += weights_of(names, {name: value * sides for name, value in full})
  blink, closed = rng.uniform(), rng.uniform(0.1, 0.4)
  if blink < 0.12:
    weights += weights_of(names, dict(eyeBlink=1.0 if blink < 0.03 else closed))
  aside, up = rng.uniform(-0.5, 0.5), rng.uniform(-0.22, 0.22)
  gaze = dict(eyeLookOut=(aside, -aside), eyeLookIn=(-aside, aside), eyeLookUp=up, eyeLookDown=-up)
  return np.clip(weights + weights_of(names, gaze), 0.0, 1.0)


def _light(rng):
  """A lamp from the front or the side, a weaker one opposite, and the rest from everywhere."""
  azimuth, elevation = rng.normal(0.0, 0.7), rng.uniform(-0.1, 0.9)
  directions = []
  for a, e in ((azimuth, elevation), (azimuth - math.copysign(1.6, azimuth), 0.2)):
    directions.append((math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)))
  warmth = rng.normal(0.0, 0.06)
  tint = np.array([1 + warmth, 1.0, 1 - warmth])
  key = rng.uniform(0.45, 0.75)
  lamps = np.stack([key * tint, rng.uniform(0.05, 0.3) * (2 - tint)])
  ambient = (0.98 - 0.75 * key) * np.ones(3)
  return dict(ambient=ambient, lamps=lamps, directions=np.array(directions))
