package kubernetes

import (
	"fmt"
	"path"
	"path/filepath"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// admit validates an object that is to be created and sets what the API server and its controllers would.
func admit(r *resource, o object) error {
	var problems field.ErrorList
	if names := validation.IsDNS1123Subdomain(o.GetName()); len(names) > 0 {
		problems = append(problems, field.Invalid(field.NewPath("metadata", "name"), o.GetName(), names[0]))
	}
	switch o := o.(type) {
	case *batchv1.Job:
		problems = append(problems, jobProblems(o)...)
	case *corev1.Pod:
		problems = append(problems, podProblems(&o.Spec, field.NewPath("spec"))...)
	case *corev1.Secret:
		problems = append(problems, secretProblems(o)...)
	case *corev1.ConfigMap:
		problems = append(problems, configMapProblems(o)...)
	case *corev1.Namespace:
		o.Status.Phase = corev1.NamespaceActive
	}
	if len(problems) > 0 {
		return apierrors.NewInvalid(r.version.WithKind(r.kind).GroupKind(), o.GetName(), problems)
	}
	return nil
}

func jobProblems(job *batchv1.Job) field.ErrorList {
	spec := field.NewPath("spec")
	var problems field.ErrorList
	if names := validation.IsDNS1123Label(job.Name); len(names) > 0 {
		problems = append(problems, field.Invalid(field.NewPath("metadata", "name"), job.Name, names[0]))
	}
	problems = append(problems, mustBe(spec.Child("backoffLimit"), job.Spec.BackoffLimit, 0)...)
	if job.Spec.Parallelism != nil {
		problems = append(problems, mustBe(spec.Child("parallelism"), job.Spec.Parallelism, 1)...)
	}
	if job.Spec.Completions != nil {
		problems = append(problems, mustBe(spec.Child("completions"), job.Spec.Completions, 1)...)
	}
	if job.Spec.Suspend != nil && *job.Spec.Suspend {
		problems = append(problems, unsupported(spec.Child("suspend"), "suspended Jobs"))
	}
	if limit := job.Spec.ActiveDeadlineSeconds; limit != nil && *limit < 1 {
		problems = append(problems, field.Invalid(spec.Child("activeDeadlineSeconds"), *limit, "must be 1 or more"))
	}
	if ttl := job.Spec.TTLSecondsAfterFinished; ttl != nil && *ttl < 0 {
		problems = append(problems, field.Invalid(spec.Child("ttlSecondsAfterFinished"), *ttl, "must be 0 or more"))
	}
	return append(problems, podProblems(&job.Spec.Template.Spec, spec.Child("template", "spec"))...)
}

func podProblems(pod *corev1.PodSpec, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if pod.RestartPolicy != corev1.RestartPolicyNever {
		problems = append(problems,
			field.NotSupported(path.Child("restartPolicy"), pod.RestartPolicy, []string{"Never"}))
	}
	if len(pod.InitContainers) > 0 {
		problems = append(problems, unsupported(path.Child("initContainers"), "init containers"))
	}
	if len(pod.Containers) != 1 {
		return append(problems, unsupported(path.Child("containers"), "anything but one container per pod"))
	}
	problems = append(problems, containerProblems(&pod.Containers[0], path.Child("containers").Index(0))...)
	for i := range pod.Volumes {
		problems = append(problems, volumeProblems(&pod.Volumes[i], path.Child("volumes").Index(i))...)
	}
	return append(problems, mountProblems(pod, path)...)
}

func containerProblems(container *corev1.Container, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if container.Name == "" {
		problems = append(problems, field.Required(path.Child("name"), ""))
	}
	if len(container.Command) == 0 {
		problems = append(problems, field.Required(path.Child("command"),
			"local processes have no image entrypoint; name the program to run"))
	}
	if len(container.EnvFrom) > 0 {
		problems = append(problems, unsupported(path.Child("envFrom"), "envFrom"))
	}
	for i, variable := range container.Env {
		if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef == nil {
			problems = append(problems,
				unsupported(path.Child("env").Index(i).Child("valueFrom"), "anything but secretKeyRef"))
		}
	}
	return problems
}

func volumeProblems(volume *corev1.Volume, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	if names := validation.IsDNS1123Label(volume.Name); len(names) > 0 {
		problems = append(problems, field.Invalid(path.Child("name"), volume.Name, names[0]))
	}
	var items []corev1.KeyToPath
	switch {
	case volume.Secret != nil:
		items = volume.Secret.Items
	case volume.ConfigMap != nil:
		items = volume.ConfigMap.Items
	case volume.EmptyDir != nil:
	default:
		problems = append(problems, unsupported(path, "volumes other than secret, configMap and emptyDir"))
	}
	for i, item := range items {
		// The path becomes one below the volume's folder on this machine; it must not lead out of it.
		if !filepath.IsLocal(item.Path) {
			problems = append(problems, field.Invalid(path.Child("items").Index(i).Child("path"), item.Path,
				"must be a relative path without .."))
		}
	}
	return problems
}

func mountProblems(pod *corev1.PodSpec, fieldPath *field.Path) field.ErrorList {
	var problems field.ErrorList
	known := map[string]bool{}
	for _, volume := range pod.Volumes {
		known[volume.Name] = true
	}
	for i, mount := range pod.Containers[0].VolumeMounts {
		at := fieldPath.Child("containers").Index(0).Child("volumeMounts").Index(i)
		if !known[mount.Name] {
			problems = append(problems, field.NotFound(at.Child("name"), mount.Name))
		}
		if !path.IsAbs(mount.MountPath) || path.Clean(mount.MountPath) == "/" {
			problems = append(problems,
				field.Invalid(at.Child("mountPath"), mount.MountPath, "must be an absolute path below /"))
		}
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			problems = append(problems, unsupported(at.Child("subPath"), "subPath"))
		}
	}
	return problems
}

func secretProblems(secret *corev1.Secret) field.ErrorList {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	for name, text := range secret.StringData {
		secret.Data[name] = []byte(text)
	}
	secret.StringData = nil
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	sizes := map[string]int{}
	for name, data := range secret.Data {
		sizes[name] = len(data)
	}
	return dataProblems(sizes)
}

func configMapProblems(configMap *corev1.ConfigMap) field.ErrorList {
	sizes := map[string]int{}
	for name, data := range configMap.BinaryData {
		sizes[name] = len(data)
	}
	for name, text := range configMap.Data {
		sizes[name] += len(text)
	}
	return dataProblems(sizes)
}

// dataProblems checks the keys, which become file names, and the size of a Secret's or ConfigMap's data.
func dataProblems(sizes map[string]int) field.ErrorList {
	var problems field.ErrorList
	data, total := field.NewPath("data"), 0
	for name, size := range sizes {
		total += size
		if names := validation.IsConfigMapKey(name); len(names) > 0 {
			problems = append(problems, field.Invalid(data.Key(name), name, names[0]))
		}
	}
	if total > corev1.MaxSecretSize {
		problems = append(problems, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	return problems
}

func mustBe(path *field.Path, value *int32, only int32) field.ErrorList {
	if value != nil && *value == only {
		return nil
	}
	return field.ErrorList{unsupported(path, fmt.Sprintf("anything but %d", only))}
}

func unsupported(path *field.Path, what string) *field.Error {
	return field.Forbidden(path, "the local cluster does not support "+what)
}
