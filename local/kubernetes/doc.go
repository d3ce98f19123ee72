// Package kubernetes is the part of a Kubernetes cluster that Graf needs, for one machine: an HTTP server that speaks
// the API of Jobs, Pods, Secrets, ConfigMaps and Namespaces, and a kubelet that runs a pod's command as a local process.
// client-go and kubectl talk to it as to any cluster.
//
// What differs from a cluster, because processes have neither an image nor a mount namespace of their own:
//
//   - The image is recorded and otherwise ignored: the container's command must exist on this machine.
//   - Volumes are folders under the data folder. Where a mount path stands in the command, its arguments, the working
//     directory or an environment value, the folder's path is put in its place; a program that has the path built in
//     does not find it.
//   - The process runs as the platform's own user with the whole machine in view. Its environment holds what the pod
//     gives it, PATH and HOME, nothing of the platform's. Resource limits and security contexts have no effect.
//   - One container per pod, one pod per Job, backoffLimit 0: what Graf makes. Anything else is refused with 422.
//   - A pod that ran when the platform stopped is lost and its Job failed; one that had not started yet is started.
//   - Writes survive the platform's death, but the last second may be lost when the machine itself dies.
package kubernetes
