package kubernetes

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// source is a Secret or ConfigMap that a pod takes data from.
type source struct {
	key      key
	optional bool
	keys     []string // that it must have
}

// sources is the data of each Secret and ConfigMap that a pod names.
type sources map[key]map[string][]byte

func secretKey(pod *corev1.Pod, name string) key { return key{secretResource, pod.Namespace, name} }

func configMapKey(pod *corev1.Pod, name string) key {
	return key{configMapResource, pod.Namespace, name}
}

func sourcesOf(pod *corev1.Pod) []source {
	var list []source
	for _, volume := range pod.Spec.Volumes {
		switch {
		case volume.Secret != nil:
			list = append(list, source{secretKey(pod, volume.Secret.SecretName), isTrue(volume.Secret.Optional),
				itemKeys(volume.Secret.Items)})
		case volume.ConfigMap != nil:
			list = append(list, source{configMapKey(pod, volume.ConfigMap.Name), isTrue(volume.ConfigMap.Optional),
				itemKeys(volume.ConfigMap.Items)})
		}
	}
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.ValueFrom != nil {
			ref := variable.ValueFrom.SecretKeyRef
			list = append(list, source{secretKey(pod, ref.Name), isTrue(ref.Optional), []string{ref.Key}})
		}
	}
	return list
}

func isTrue(value *bool) bool { return value != nil && *value }

func itemKeys(items []corev1.KeyToPath) []string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}

// awaitSources reads all that the pod takes data from, waiting for what is not there yet.
func (k *kubelet) awaitSources(ctx context.Context, pod *corev1.Pod) (sources, error) {
	all := sources{}
	for _, s := range sourcesOf(pod) {
		data, err := k.awaitSource(ctx, s)
		if err != nil {
			return nil, err
		}
		all[s.key] = data
	}
	return all, nil
}

func (k *kubelet) awaitSource(ctx context.Context, s source) (map[string][]byte, error) {
	for {
		changed := k.store.await(s.key)
		data, err := k.data(s.key)
		if (err == nil && hasAll(data, s.keys)) || s.optional {
			k.store.wake(s.key) // nobody needs the wait that was just begun
			return data, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			k.store.wake(s.key)
			return nil, context.Cause(ctx)
		}
	}
}

func (k *kubelet) data(of key) (map[string][]byte, error) {
	if data, given := k.secrets[of.name]; given && of.resource == secretResource {
		return data, nil
	}
	o := of.resource.empty()
	if err := k.store.get(of, o); err != nil {
		return nil, err
	}
	switch o := o.(type) {
	case *corev1.Secret:
		return o.Data, nil
	case *corev1.ConfigMap:
		data := map[string][]byte{}
		for name, binary := range o.BinaryData {
			data[name] = binary
		}
		for name, text := range o.Data {
			data[name] = []byte(text)
		}
		return data, nil
	}
	return nil, of.notFound()
}

func hasAll(data map[string][]byte, keys []string) bool {
	for _, name := range keys {
		if _, ok := data[name]; !ok {
			return false
		}
	}
	return true
}
