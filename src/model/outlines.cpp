// The outlines that several kinds share (see schema.hpp). A field that Knative's webhook refuses by name is listed too:
// what is listed is refused with Knative's words, what is not is an unknown field.
#include "model/schema.hpp"

namespace wick::model::outlines {

const std::string_view metadata = R"(
name                         | The name, unique among the objects of its kind in a namespace.
generateName                 | A prefix that the server completes to a unique name where name is empty.
namespace
labels map                   | Keys and values to select objects by.
annotations map              | Keys and values for tools; nothing selects by them.
finalizers[]                 | What has to be removed before a deleted object goes.
ownerReferences[]            | The objects this one goes with.
  apiVersion
  kind
  name
  uid
  controller bool
  blockOwnerDeletion bool
resourceVersion              | Changes with every write; an update that names an older one is refused.
generation int               | Counts the changes of spec.
uid
creationTimestamp time
deletionTimestamp time
deletionGracePeriodSeconds int
selfLink
managedFields any
)";

const std::string_view conditions = R"(
observedGeneration int       | The generation that this status is about.
annotations map
conditions[]                 | Ready, and what it is made of.
  type
  status                     | True, False or Unknown.
  severity                   | Info where it does not count for Ready.
  reason                     | One word for programs.
  message                    | A sentence for people.
  lastTransitionTime time
)";

const std::string_view address = R"(
name
url
CACerts
audience
)";

const std::string_view destination = R"(
ref                          | An object to send to.
  apiVersion
  kind
  name
  namespace
  group
  address
uri                          | A URL, or one relative to that of ref.
CACerts
audience
)";

const std::string_view delivery = R"(
deadLetterSink @destination  | Gets the events that could not be delivered.
retry int                    | Attempts after the first.
timeout                      | Of one attempt, as an ISO 8601 duration.
backoffPolicy                | linear or exponential.
backoffDelay                 | Between attempts, as an ISO 8601 duration.
retryAfterMax                | The most that a Retry-After header may ask for, as an ISO 8601 duration.
format                       | json or binary; empty keeps what came.
)";

const std::string_view environment = R"(
name
value                        | May use variables defined before it as $(NAME).
valueFrom
  configMapKeyRef
    name
    key
    optional bool
  secretKeyRef
    name
    key
    optional bool
  fieldRef any               | Refused: not supported.
  resourceFieldRef any       | Refused: not supported.
)";

const std::string_view probe = R"(
httpGet                      | Healthy while a GET answers with 200 to 399.
  path
  port quantity
  host
  scheme
  httpHeaders[]
    name
    value
tcpSocket                    | Healthy while a connection is accepted.
  port quantity
  host
exec                         | Healthy while the command exits with 0.
  command[]
grpc                         | Healthy while grpc.health.v1.Health/Check says SERVING.
  port int
  service
initialDelaySeconds int
timeoutSeconds int
periodSeconds int            | 0 probes as fast as is useful until the first success.
successThreshold int
failureThreshold int
terminationGracePeriodSeconds int
)";

const std::string_view key_to_path = R"(
key
path
mode int
)";

const std::string_view container = R"(
name                         | user-container where none is given.
image                        | What runs: an image reference.
command[]                    | Replaces the image's ENTRYPOINT.
args[]                       | Replaces the image's CMD.
workingDir
env[] @environment           | PORT, K_SERVICE, K_CONFIGURATION and K_REVISION are the platform's.
envFrom[]                    | Every key of a ConfigMap or Secret as a variable.
  prefix
  configMapRef
    name
    optional bool
  secretRef
    name
    optional bool
ports[]                      | At most one: where the container listens.
  containerPort int
  name                       | http1, h2c or empty.
  protocol                   | TCP.
  hostPort int               | Refused.
  hostIP                     | Refused.
resources                    | Limits are enforced; requests say what is expected.
  limits quantities
  requests quantities
  claims any                 | Refused.
livenessProbe @probe
readinessProbe @probe
startupProbe @probe
imagePullPolicy
securityContext
  runAsUser int
  runAsGroup int
  runAsNonRoot bool
  allowPrivilegeEscalation bool
  readOnlyRootFilesystem bool
  privileged bool            | Only false.
  capabilities
    add[]
    drop[]
  seccompProfile
    type
    localhostProfile
  seLinuxOptions any         | Refused.
  procMount any              | Refused.
  windowsOptions any         | Refused.
  appArmorProfile any        | Refused.
terminationMessagePath
terminationMessagePolicy
volumeMounts[]
  name
  mountPath
  subPath
  readOnly bool
  subPathExpr any            | Refused.
  mountPropagation any       | Refused.
  recursiveReadOnly any      | Refused.
lifecycle any                | Refused.
stdin bool                   | Refused.
stdinOnce bool               | Refused.
tty bool                     | Refused.
volumeDevices any            | Refused.
resizePolicy any             | Refused.
restartPolicy any            | Refused.
)";

const std::string_view volume = R"(
name
secret                       | Its keys as files, kept in memory.
  secretName
  defaultMode int
  optional bool
  items[] @keyToPath
configMap
  name
  defaultMode int
  optional bool
  items[] @keyToPath
projected
  defaultMode int
  sources[]
    secret
      name
      optional bool
      items[] @keyToPath
    configMap
      name
      optional bool
      items[] @keyToPath
    serviceAccountToken any  | Refused: not supported.
    downwardAPI any          | Refused: not supported.
    clusterTrustBundle any   | Refused.
emptyDir                     | In memory; counts as the instance's.
  medium                     | Memory or empty.
  sizeLimit quantity
persistentVolumeClaim any    | Refused: not supported.
hostPath any                 | Refused: not supported.
csi any                      | Refused: not supported.
ephemeral any                | Refused: not supported.
image any                    | Refused: not supported.
nfs any                      | Refused.
)";

const std::string_view revision = R"(
containerConcurrency int     | Requests an instance takes at once; 0 is no limit.
timeoutSeconds int           | For one request, 300 where none is given.
responseStartTimeoutSeconds int | Until the first byte of the answer.
idleTimeoutSeconds int       | Without a byte in either direction.
containers[] @container
initContainers[] @container  | Run one after the other, each to its end, before the others start.
volumes[] @volume
serviceAccountName
imagePullSecrets[]           | Secrets of type kubernetes.io/dockerconfigjson.
  name
enableServiceLinks bool
automountServiceAccountToken bool | Only false.
runtimeClassName             | The OCI runtime by name.
securityContext              | Defaults for every container.
  runAsUser int
  runAsGroup int
  runAsNonRoot bool
  fsGroup int
  supplementalGroups[] int
  seccompProfile
    type
    localhostProfile
  sysctls any                | Refused.
affinity any                 | Refused: one machine.
topologySpreadConstraints any | Refused: one machine.
hostAliases any              | Refused: not supported.
nodeSelector any             | Refused: one machine.
tolerations any              | Refused: one machine.
priorityClassName            | Refused: one machine.
schedulerName                | Refused: one machine.
dnsPolicy                    | Refused: not supported.
dnsConfig any                | Refused: not supported.
hostIPC bool                 | Refused.
hostPID bool                 | Refused.
hostNetwork bool             | Refused.
hostUsers bool               | Refused.
hostname                     | Refused.
subdomain                    | Refused.
shareProcessNamespace bool   | Refused.
restartPolicy                | Refused.
terminationGracePeriodSeconds int | Refused.
activeDeadlineSeconds int    | Refused.
nodeName                     | Refused.
priority int                 | Refused.
preemptionPolicy             | Refused.
readinessGates any           | Refused.
ephemeralContainers any      | Refused.
overhead any                 | Refused.
os any                       | Refused.
setHostnameAsFQDN bool       | Refused.
schedulingGates any          | Refused.
resourceClaims any           | Refused.
serviceAccount               | Refused: the old name of serviceAccountName.
)";

const std::string_view traffic = R"(
revisionName                 | This revision, for good.
configurationName            | The latest ready revision of a Configuration (Routes only).
latestRevision bool
percent int                  | Of all requests; the list sums to 100.
tag                          | Also reachable at tag-name.
url                          | Set by the server.
)";

const std::string_view build = R"(
source                       | Where the source comes from.
  type                       | Git or Local.
  git
    url
    revision
    cloneSecret
  local
    name
    timeout
  ociArtifact any            | Refused: not supported.
  contextDir                 | A folder of the source.
strategy
  name
  kind
paramValues[]                | Parameters of the strategy.
  name
  value
  values[]
    value
output
  image
  pushSecret
  insecure bool
  labels map
  annotations map
  timestamp
timeout
env[] any
retention any
trigger any
volumes[] any
nodeSelector any
tolerations any
schedulerName
)";

}  // namespace wick::model::outlines
