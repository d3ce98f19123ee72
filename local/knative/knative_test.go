package knative_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/graf-run/graf/eventing"
	"github.com/graf-run/graf/local/knative"
)

func TestLoadManifests(t *testing.T) {
	t.Parallel()
	objects, err := knative.Load(eventing.Manifests)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects.Brokers) != 1 || len(objects.Triggers) == 0 || len(objects.PingSources) != 1 || len(objects.APIServerSources) != 1 {
		t.Fatalf("loaded %d Brokers, %d Triggers, %d PingSources, %d ApiServerSources",
			len(objects.Brokers), len(objects.Triggers), len(objects.PingSources), len(objects.APIServerSources))
	}
	for _, trigger := range objects.Triggers {
		checkDelivery(t, trigger)
	}
}

// checkDelivery holds a Trigger to the rule that its delivery is explicit.
func checkDelivery(t *testing.T, trigger *eventingv1.Trigger) {
	t.Helper()
	d := trigger.Spec.Delivery
	if d == nil || d.Retry == nil || d.BackoffPolicy == nil || d.BackoffDelay == nil || d.Timeout == nil || d.DeadLetterSink == nil {
		t.Errorf("Trigger %s leaves part of its delivery to defaults", trigger.Name)
	}
	if trigger.Spec.Broker != "default" || trigger.Namespace != "graf" || len(trigger.Spec.Filters) == 0 {
		t.Errorf("Trigger %s: Broker %s of %s, %d filters", trigger.Name, trigger.Spec.Broker, trigger.Namespace, len(trigger.Spec.Filters))
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const trigger = `apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t, namespace: graf}
spec:
  broker: default
  subscriber: {uri: "http://127.0.0.1:1"}
`
	for name, test := range map[string]struct{ yaml, says string }{
		"malformed YAML":    {"a: [", "YAML"},
		"unknown kind":      {"apiVersion: v1\nkind: Pod\n", "unknown kind v1/Pod"},
		"unknown field":     {trigger + "  subscribers: {}\n", `"subscribers"`},
		"wrong type":        {trigger + "  delivery: {retry: many}\n", "retry"},
		"wrong backoff":     {trigger + "  delivery: {backoffDelay: 5s}\n", "spec.delivery.backoffDelay"},
		"wrong filter":      {trigger + "  filters: [{cesql: 'type ='}]\n", "spec.filters"},
		"missing name":      {strings.Replace(trigger, "name: t, ", "", 1), "metadata.name"},
		"missing namespace": {strings.Replace(trigger, ", namespace: graf", "", 1), "metadata.namespace"},
		"second document":   {trigger + "---\napiVersion: v1\nkind: Pod\n", "unknown kind"},
	} {
		_, err := knative.Load(fstest.MapFS{"200-bad.yaml": {Data: []byte(test.yaml)}})
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "200-bad.yaml") {
			t.Errorf("%s: got %v, want an error that names the file and says %q", name, err, test.says)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	resolver := knative.Resolver{
		Services:  map[string]string{"graf-finalize": "http://127.0.0.1:9", "broken": "no url"},
		BrokerURL: "http://127.0.0.1:8",
	}
	service := func(name string) *duckv1.KReference {
		return &duckv1.KReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Namespace: "graf", Name: name}
	}
	broker := &duckv1.KReference{APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Namespace: "graf", Name: "default"}
	for name, test := range map[string]struct {
		ref       *duckv1.KReference
		uri, want string
	}{
		"Service":          {service("graf-finalize"), "", "http://127.0.0.1:9"},
		"Service and path": {service("graf-finalize"), "/dead-letters", "http://127.0.0.1:9/dead-letters"},
		"Broker":           {broker, "", "http://127.0.0.1:8/graf/default"},
		"URI":              {nil, "http://example.com/x", "http://example.com/x"},
		"unknown Service":  {service("other"), "", ""},
		"broken address":   {service("broken"), "", ""},
		"relative URI":     {nil, "/x", ""},
		"nothing":          {nil, "", ""},
		"core Service":     {&duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "graf-finalize"}, "", "http://127.0.0.1:9"},
		"unknown kind":     {&duckv1.KReference{APIVersion: "v1", Kind: "ConfigMap", Name: "graf-finalize"}, "", ""},
	} {
		got, err := resolver.Resolve(destination(t, test.ref, test.uri))
		switch {
		case test.want == "" && !errors.Is(err, knative.ErrUnresolved):
			t.Errorf("%s: got %v, %v, want ErrUnresolved", name, got, err)
		case test.want != "" && (err != nil || got.String() != test.want):
			t.Errorf("%s: got %v, %v, want %s", name, got, err, test.want)
		}
	}
}

func destination(t *testing.T, ref *duckv1.KReference, uri string) duckv1.Destination {
	t.Helper()
	d := duckv1.Destination{Ref: ref}
	if uri == "" {
		return d
	}
	u, err := apis.ParseURL(uri)
	if err != nil {
		t.Fatal(err)
	}
	d.URI = u
	return d
}
