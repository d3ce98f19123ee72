package main

import (
	"slices"
	"strings"

	graf "github.com/graf-run/graf/sdk/go"
)

// kindNames are the kinds that have short names, as kubectl has them.
var kindNames = []struct {
	apiVersion, kind string
	clusterScoped    bool
	names            []string
}{
	{"apps/v1", "Deployment", false, []string{"deploy", "deployment", "deployments"}},
	{"apps/v1", "StatefulSet", false, []string{"sts", "statefulset", "statefulsets"}},
	{"apps/v1", "DaemonSet", false, []string{"ds", "daemonset", "daemonsets"}},
	{"batch/v1", "Job", false, []string{"job", "jobs"}},
	{"batch/v1", "CronJob", false, []string{"cj", "cronjob", "cronjobs"}},
	{"v1", "ConfigMap", false, []string{"cm", "configmap", "configmaps"}},
	{"v1", "Service", false, []string{"svc", "service", "services"}},
	{"v1", "ServiceAccount", false, []string{"sa", "serviceaccount", "serviceaccounts"}},
	{"v1", "Pod", false, []string{"po", "pod", "pods"}},
	{"v1", "PersistentVolumeClaim", false, []string{"pvc", "persistentvolumeclaim", "persistentvolumeclaims"}},
	{"v1", "Namespace", true, []string{"ns", "namespace", "namespaces"}},
	{"v1", "Node", true, []string{"no", "node", "nodes"}},
	{"networking.k8s.io/v1", "Ingress", false, []string{"ing", "ingress", "ingresses"}},
	{"networking.k8s.io/v1", "NetworkPolicy", false, []string{"netpol", "networkpolicy", "networkpolicies"}},
	{"autoscaling/v2", "HorizontalPodAutoscaler", false, []string{"hpa", "horizontalpodautoscaler", "horizontalpodautoscalers"}},
	{"policy/v1", "PodDisruptionBudget", false, []string{"pdb", "poddisruptionbudget", "poddisruptionbudgets"}},
	{"serving.knative.dev/v1", "Service", false, []string{"ksvc", "kservice"}},
}

const targetForms = "write deploy/web, or Kind.version.group/name such as Deployment.v1.apps/web"

// parseTarget reads KIND/NAME, of which the kind may be a short name or
// Kind.version.group. Without a name it is all of a kind in the namespace.
func parseTarget(text, namespace, selector string) (graf.ResourceReference, error) {
	kind, name, named := strings.Cut(text, "/")
	if kind == "" || named && name == "" || strings.Contains(name, "/") {
		return graf.ResourceReference{}, usage("--target %q names no resource\n%s", text, targetForms)
	}
	if named && selector != "" {
		return graf.ResourceReference{}, usage("--selector chooses among all of a kind, so --target %q can have no name", text)
	}
	reference := graf.ResourceReference{Namespace: namespace, Name: name, LabelSelector: selector}
	for _, known := range kindNames {
		if slices.Contains(known.names, strings.ToLower(kind)) {
			reference.APIVersion, reference.Kind = known.apiVersion, known.kind
			if known.clusterScoped {
				reference.Namespace = ""
			}
			return reference, nil
		}
	}
	parts := strings.SplitN(kind, ".", 3)
	if len(parts) < 2 {
		return graf.ResourceReference{}, usage("--target %q: the kind %q is not known\n%s", text, kind, targetForms)
	}
	reference.Kind, reference.APIVersion = parts[0], parts[1]
	if len(parts) == 3 {
		reference.APIVersion = parts[2] + "/" + parts[1]
	}
	return reference, nil
}
