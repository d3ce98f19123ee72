package kubernetes

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is any object that the cluster keeps.
type object interface {
	runtime.Object
	metav1.Object
}

// resource describes one type of object.
type resource struct {
	name, singular, kind string
	shortNames           []string
	version              schema.GroupVersion
	namespaced           bool
	empty                func() object
}

var core = schema.GroupVersion{Version: "v1"}

var (
	jobResource = &resource{
		name: "jobs", singular: "job", kind: "Job", version: batchv1.SchemeGroupVersion, namespaced: true,
		empty: func() object { return &batchv1.Job{} },
	}
	podResource = &resource{
		name: "pods", singular: "pod", kind: "Pod", shortNames: []string{"po"}, version: core, namespaced: true,
		empty: func() object { return &corev1.Pod{} },
	}
	secretResource = &resource{
		name: "secrets", singular: "secret", kind: "Secret", version: core, namespaced: true,
		empty: func() object { return &corev1.Secret{} },
	}
	configMapResource = &resource{
		name: "configmaps", singular: "configmap", kind: "ConfigMap", shortNames: []string{"cm"}, version: core,
		namespaced: true, empty: func() object { return &corev1.ConfigMap{} },
	}
	// Accounts are kept, and nothing comes of them: here nobody has rights.
	serviceAccountResource = &resource{
		name: "serviceaccounts", singular: "serviceaccount", kind: "ServiceAccount", shortNames: []string{"sa"}, version: core,
		namespaced: true, empty: func() object { return &corev1.ServiceAccount{} },
	}
	namespaceResource = &resource{
		name: "namespaces", singular: "namespace", kind: "Namespace", shortNames: []string{"ns"}, version: core,
		empty: func() object { return &corev1.Namespace{} },
	}
)

var resources = []*resource{jobResource, podResource, secretResource, configMapResource, serviceAccountResource, namespaceResource}

func resourceNamed(name string) *resource {
	for _, r := range resources {
		if r.name == name {
			return r
		}
	}
	return nil
}

func resourceOfKind(kind string) *resource {
	for _, r := range resources {
		if r.kind == kind {
			return r
		}
	}
	return nil
}

func (r *resource) group() schema.GroupResource {
	return schema.GroupResource{Group: r.version.Group, Resource: r.name}
}

// stamp sets apiVersion and kind, which Go's typed objects leave empty.
func (r *resource) stamp(o object) {
	o.GetObjectKind().SetGroupVersionKind(r.version.WithKind(r.kind))
}
