package kubernetes

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// prepare lays out a pod's folders and returns the process to run in them.
func prepare(pod *corev1.Pod, from sources, own podFolders, path string) (command, error) {
	if err := makeFolder(own.memory); err != nil {
		return command{}, err
	}
	for i := range pod.Spec.Volumes {
		if err := writeVolume(pod, &pod.Spec.Volumes[i], from, own); err != nil {
			return command{}, err
		}
	}
	container := &pod.Spec.Containers[0]
	places := placesOf(container, own)
	values := variables(pod, from, places)
	arguments := make([]string, 0, len(container.Command)+len(container.Args))
	for _, list := range [][]string{container.Command, container.Args} {
		for _, argument := range list {
			arguments = append(arguments, places.rewrite(expand(argument, values)))
		}
	}
	directory, err := workingDirectory(container, places, own)
	if err != nil {
		return command{}, err
	}
	values = withDefaults(values, directory, path)
	program, err := lookPath(arguments[0], values["PATH"], directory)
	if err != nil {
		return command{}, err
	}
	return command{
		program: program, arguments: arguments, environment: environ(values), directory: directory, marks: own.marks,
		grace: time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second,
	}, nil
}

// workingDirectory is the container's own if it is in a volume. Otherwise it is in the image, which does not exist here.
func workingDirectory(container *corev1.Container, places places, own podFolders) (string, error) {
	if directory := places.rewrite(container.WorkingDir); directory != container.WorkingDir {
		return directory, nil
	}
	return own.work, makeFolder(own.work)
}

// variables are the container's environment. A later variable may refer to earlier ones, as in Kubernetes.
func variables(pod *corev1.Pod, from sources, places places) map[string]string {
	values := map[string]string{}
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.ValueFrom == nil {
			values[variable.Name] = places.rewrite(expand(variable.Value, values))
			continue
		}
		ref := variable.ValueFrom.SecretKeyRef
		if value, ok := from[secretKey(pod, ref.Name)][ref.Key]; ok {
			values[variable.Name] = string(value)
		}
	}
	return values
}

func withDefaults(values map[string]string, home, path string) map[string]string {
	all := map[string]string{"HOME": home, "PATH": path}
	maps.Copy(all, values)
	return all
}

func environ(values map[string]string) []string {
	list := make([]string, 0, len(values))
	for name, value := range values {
		list = append(list, name+"="+value)
	}
	return list
}

func writeVolume(pod *corev1.Pod, volume *corev1.Volume, from sources, own podFolders) error {
	target := own.volumes[volume.Name]
	if err := makeFolder(target); err != nil {
		return err
	}
	switch {
	case volume.Secret != nil:
		return writeFiles(target, from[secretKey(pod, volume.Secret.SecretName)], volume.Secret.Items)
	case volume.ConfigMap != nil:
		return writeFiles(target, from[configMapKey(pod, volume.ConfigMap.Name)], volume.ConfigMap.Items)
	}
	return nil
}

func writeFiles(folder string, data map[string][]byte, items []corev1.KeyToPath) error {
	paths := map[string]string{}
	for _, item := range items {
		paths[item.Path] = item.Key
	}
	if len(items) == 0 {
		for name := range data {
			paths[name] = name
		}
	}
	for path, name := range paths {
		target := filepath.Join(folder, path)
		if parent := filepath.Dir(target); parent != folder {
			if err := os.MkdirAll(parent, 0o700); err != nil {
				return err
			}
		}
		if err := os.WriteFile(target, data[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// lookPath finds a program as execvp would in the container, not in the platform's own PATH and directory.
func lookPath(program, path, directory string) (string, error) {
	if strings.Contains(program, "/") {
		if !filepath.IsAbs(program) {
			program = filepath.Join(directory, program)
		}
		return program, nil
	}
	for _, folder := range filepath.SplitList(path) {
		candidate := filepath.Join(folder, program)
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", program)
}
