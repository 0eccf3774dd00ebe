"""The JobSets that launch/gke.sh submits, against the fields of the API.

The names and types of fields are those of the published APIs: JobSet's own from its definition
(kubernetes-sigs/jobset, charts/jobset/crds/jobset.x-k8s.io_jobsets.yaml at commit 01ad1d1,
Apache-2.0), those of jobs and pods written down from Kubernetes' batch/v1 and core/v1. Of the
hundreds there are, those used here and some neighbours.
"""

import pytest
import yaml
from launch_scripts import LAUNCH

# A set: one of these words. A list: of such items. A type: of that type. ANY: any names.
ANY = 'any'
_CONTAINER = {
  'name': str,
  'image': str,
  'command': [str],
  'args': [str],
  'env': [
    {
      'name': str,
      'value': str,
      'valueFrom': {'fieldRef': {'apiVersion': str, 'fieldPath': str}},
    }
  ],
  'ports': [{'containerPort': int, 'name': str, 'protocol': {'TCP', 'UDP', 'SCTP'}}],
  'securityContext': {
    'privileged': bool,
    'runAsUser': int,
    'capabilities': {'add': [str], 'drop': [str]},
  },
  'resources': {'limits': {ANY: (int, str)}, 'requests': {ANY: (int, str)}},
  'volumeMounts': [{'name': str, 'mountPath': str, 'readOnly': bool, 'subPath': str}],
}
_VOLUME = {
  'name': str,
  'csi': {'driver': str, 'readOnly': bool, 'volumeAttributes': {ANY: str}},
  'emptyDir': {'medium': {'', 'Memory'}, 'sizeLimit': (int, str)},
}
_POD = {
  'restartPolicy': {'Always', 'Never', 'OnFailure'},
  'serviceAccountName': str,
  'terminationGracePeriodSeconds': int,
  'hostNetwork': bool,
  'dnsPolicy': str,
  'nodeSelector': {ANY: str},
  'tolerations': [
    {
      'key': str,
      'operator': {'Exists', 'Equal'},
      'value': str,
      'effect': {'NoSchedule', 'PreferNoSchedule', 'NoExecute'},
    }
  ],
  'containers': [_CONTAINER],
  'volumes': [_VOLUME],
}
_JOB = {
  'parallelism': int,
  'completions': int,
  'completionMode': {'Indexed', 'NonIndexed'},
  'backoffLimit': int,
  'activeDeadlineSeconds': int,
  'podFailurePolicy': {
    'rules': [
      {
        'action': {'FailJob', 'FailIndex', 'Ignore', 'Count'},
        'onPodConditions': [{'type': str, 'status': {'True', 'False', 'Unknown'}}],
        'onExitCodes': {'containerName': str, 'operator': {'In', 'NotIn'}, 'values': [int]},
      }
    ]
  },
  'template': {'metadata': {'annotations': {ANY: str}, 'labels': {ANY: str}}, 'spec': _POD},
}
_METADATA = {
  'name': str,
  'namespace': str,
  'annotations': {ANY: str},
  'labels': {ANY: str},
}
JOBSET = {
  'apiVersion': {'jobset.x-k8s.io/v1alpha2'},
  'kind': {'JobSet'},
  'metadata': _METADATA,
  'spec': {
    'failurePolicy': {
      'maxRestarts': int,
      'restartStrategy': {'Recreate', 'BlockingRecreate'},
      'rules': [
        {
          'name': str,
          'action': {'FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts'},
          'onJobFailureReasons': [
            {
              'BackoffLimitExceeded',
              'DeadlineExceeded',
              'FailedIndexes',
              'MaxFailedIndexesExceeded',
              'PodFailurePolicy',
            }
          ],
          'targetReplicatedJobs': [str],
        }
      ],
    },
    'network': {'enableDNSHostnames': bool, 'publishNotReadyAddresses': bool, 'subdomain': str},
    'suspend': bool,
    'ttlSecondsAfterFinished': int,
    'replicatedJobs': [
      {'name': str, 'replicas': int, 'template': {'metadata': _METADATA, 'spec': _JOB}}
    ],
  },
}
# Fields that the definition requires, by the name of what they stand in.
REQUIRED = {
  'replicatedJobs': {'name', 'template'},
  'failurePolicy.rules': {'name', 'action'},
  'podFailurePolicy.rules': {'action'},
  'onPodConditions': {'type', 'status'},
  'onExitCodes': {'operator', 'values'},
  'containers': {'name', 'image'},
  'volumeMounts': {'name', 'mountPath'},
  'volumes': {'name'},
  'ports': {'containerPort'},
  'csi': {'driver'},
}


def faults(value, schema, place='') -> list[str]:
  """Where `value` does not follow `schema`."""
  if isinstance(schema, dict):
    if not isinstance(value, dict):
      return [f'{place}: not a mapping']
    found = []
    for name, fields in REQUIRED.items():
      if place.endswith(name):
        found += [f'{place}: no {field}' for field in sorted(fields - value.keys())]
    for key, item in value.items():
      inner = schema.get(key, schema.get(ANY))
      found += faults(item, inner, f'{place}.{key}') if inner else [f'{place}: unknown field {key}']
    return found
  if isinstance(schema, list):
    if not isinstance(value, list):
      return [f'{place}: not a list']
    return [fault for item in value for fault in faults(item, schema[0], place)]
  if isinstance(schema, set):
    return [] if value in schema else [f'{place}: {value!r} is none of {sorted(schema)}']
  exact = isinstance(value, schema) and not (isinstance(value, bool) and schema is not bool)
  return [] if exact else [f'{place}: {value!r} is not of {schema}']


def manifest(scripts, kind, *args, **variables):
  given = ('configs/toys.py', 'gs://my-bucket/runs/toys', *args)
  where = dict(NAME='toys', IMAGE='registry/jax3dgan:1', DRY_RUN='1')
  code, output, errors = scripts.call('gke.sh', kind, *given, **where, **variables)
  assert code == 0, errors
  return yaml.safe_load(output)


@pytest.mark.parametrize('kind', ['tpu', 'gpu'])
@pytest.mark.parametrize('spot', ['', '1'])
def test_the_manifest_follows_the_api(scripts, kind, spot):
  jobset = manifest(scripts, kind, SPOT=spot)
  assert not faults(jobset, JOBSET)
  (job,) = jobset['spec']['replicatedJobs']
  pod = job['template']['spec']['template']['spec']
  assert pod['nodeSelector'].get('cloud.google.com/gke-spot') == ('true' if spot else None)
  (container,) = pod['containers']
  # What is mounted is there; the exit codes are those of this container.
  mounted = {mount['name'] for mount in container['volumeMounts']}
  assert mounted == {volume['name'] for volume in pod['volumes']}
  rules = job['template']['spec']['podFailurePolicy']['rules']
  assert rules[1]['onExitCodes']['containerName'] == container['name']
  # Kubernetes takes a podFailurePolicy with this restart policy alone.
  assert pod['restartPolicy'] == 'Never' and job['template']['spec']['backoffLimit'] == 0
  assert container['env'][-1]['value'].startswith('/bucket/')
  assert {'--coordinator_timeout=1800', f'--config.platform={kind}'} <= set(container['args'])
  annotations = job['template']['spec']['template']['metadata']['annotations']
  limits = {k: v for k, v in annotations.items() if k.endswith('-limit')}
  assert len(limits) == 3 and set(limits.values()) == {'0'}
  attributes = pod['volumes'][-1]['csi']['volumeAttributes']
  assert attributes['fileCacheForRangeRead'] == 'true' and attributes['fileCacheCapacity'] == '20Gi'


@pytest.mark.parametrize(
  'change, fault',
  [
    (lambda s: s['failurePolicy'].update(maxRestart=1), 'unknown field maxRestart'),
    (lambda s: s['failurePolicy'].update(maxRestarts='1'), "'1' is not of <class 'int'>"),
    (lambda s: s['failurePolicy']['rules'][0].pop('name'), 'rules: no name'),
    (lambda s: s['failurePolicy']['rules'][0].update(action='FailJob'), 'is none of'),
    (lambda s: s['replicatedJobs'][0].pop('template'), 'no template'),
    (
      lambda s: s['replicatedJobs'][0]['template']['spec']['podFailurePolicy']['rules'][0][
        'onPodConditions'
      ][0].pop('status'),
      'onPodConditions: no status',
    ),
  ],
)
def test_the_check_sees_slips(scripts, change, fault):
  jobset = manifest(scripts, 'tpu')
  change(jobset['spec'])
  (found,) = faults(jobset, JOBSET)
  assert fault in found


def test_values_of_a_tpu_manifest(scripts):
  odd = '--config.data.source=a "b" \\ & ${NAME} #spot'
  jobset = manifest(
    scripts, 'tpu', odd, NUM_SLICES='3', HOSTS_PER_SLICE='2', TPU_TOPOLOGY='2x4', MAX_RESTARTS='5'
  )
  job = jobset['spec']['replicatedJobs'][0]
  pods = job['template']['spec']
  assert (job['replicas'], pods['parallelism'], pods['completions']) == (3, 2, 2)
  assert jobset['spec']['failurePolicy']['maxRestarts'] == 5
  pod = pods['template']['spec']
  assert pod['nodeSelector']['cloud.google.com/gke-tpu-topology'] == '2x4'
  assert pod['containers'][0]['args'] == [
    '--config=configs/toys.py',
    '--workdir=/bucket/runs/toys',
    '--config.platform=tpu',
    '--coordinator_timeout=1800',
    odd,  # as it was given
  ]
  # Only root may open the chips, and the files in the bucket are its.
  assert pod['containers'][0]['securityContext']['runAsUser'] == 0
  assert pod['containers'][0]['securityContext']['capabilities'] == {'add': ['SYS_RESOURCE']}
  assert 'uid=0,gid=0' in pod['volumes'][0]['csi']['volumeAttributes']['mountOptions']
  assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': 4}
  assert pod['volumes'][0]['csi']['volumeAttributes']['bucketName'] == 'my-bucket'


def test_data_is_copied_from_the_mounted_bucket(scripts):
  jobset = manifest(scripts, 'gpu', '--config.seed=1', DATA='gs://my-bucket/data/x')
  (job,) = jobset['spec']['replicatedJobs']
  args = job['template']['spec']['template']['spec']['containers'][0]['args']
  # The caller's own come after.
  assert args[args.index('--config.seed=1') - 2 :][:2] == [
    '--config.data.source=/bucket/data/x',
    '--config.data.local_copy=/tmp/data',
  ]
  code, _, errors = scripts.call(
    'gke.sh', 'gpu', 'c', 'gs://my-bucket/x', NAME='toys', IMAGE='i', DATA='gs://other/x'
  )
  assert code == 2 and 'only my-bucket is mounted' in errors


def test_processes_on_gpu_nodes_find_each_other(scripts):
  jobset = manifest(scripts, 'gpu', NUM_NODES='4')
  job = jobset['spec']['replicatedJobs'][0]
  assert job['replicas'] == 1 and job['template']['spec']['completions'] == 4
  container = job['template']['spec']['template']['spec']['containers'][0]
  name = jobset['metadata']['name']
  port = container['ports'][0]['containerPort']
  assert container['args'][-3:] == [
    # The pod's name is <set>-<job>-<job index>-<pod index>, its domain the set's name.
    f'--coordinator={name}-{job["name"]}-0-0.{name}:{port}',
    '--num_processes=4',
    '--process_id=$(JOB_COMPLETION_INDEX)',
  ]
  assert container['env'][0]['name'] == 'JOB_COMPLETION_INDEX'


def test_the_files_themselves_are_yaml():
  for path in sorted(LAUNCH.glob('*.yaml')):
    text = path.read_text().replace('[${ARGUMENTS}', '["x"')
    assert yaml.safe_load(text)['kind'] == 'JobSet'


def test_what_is_submitted_is_what_a_dry_run_shows(scripts):
  scripts.program('kubectl', 'echo "$*" >"$HOME/calls"; cat >"$HOME/stdin"')
  where = dict(NAME='toys', IMAGE='registry/jax3dgan:1')
  args = ('gke.sh', 'gpu', 'configs/toys.py', 'gs://my-bucket/runs/toys')
  assert scripts.call(*args, **where)[0] == 0
  shown = scripts.call(*args, DRY_RUN='1', **where)[1]
  assert (scripts.home / 'stdin').read_text() == shown
  assert (scripts.home / 'calls').read_text() == 'apply --filename=-\n'
  logs = scripts.call('gke.sh', 'logs', NAME='toys', DRY_RUN='1')[1]
  assert logs.startswith('kubectl logs --namespace=default --follow --container=train ')
  assert scripts.call('gke.sh', 'delete', NAME='toys', NAMESPACE='me', DRY_RUN='1')[1] == (
    'kubectl delete --namespace=me jobset/toys\n'
  )
