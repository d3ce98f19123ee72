package knative

import (
	"errors"
	"fmt"
	"net/url"

	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// ErrUnresolved is wrapped by the errors of [Resolver.Resolve].
var ErrUnresolved = errors.New("destination cannot be resolved")

// Resolver turns references to resources into the addresses that serve them.
type Resolver struct {
	// Services maps the name of a Knative Service to its base URL. Namespaces
	// do not matter: one machine runs one installation.
	Services map[string]string
	// BrokerURL is the base URL of the Broker ingress; Brokers are at
	// /<namespace>/<name> below it.
	BrokerURL string
}

// Resolve returns the URL of a destination: that of its reference, its URI, or
// its URI relative to its reference.
func (r Resolver) Resolve(destination duckv1.Destination) (*url.URL, error) {
	if destination.Ref == nil {
		if destination.URI == nil || destination.URI.Host == "" {
			return nil, fmt.Errorf("%w: it needs a ref, or an absolute uri", ErrUnresolved)
		}
		return destination.URI.URL(), nil
	}
	base, err := r.reference(destination.Ref)
	if err != nil {
		return nil, err
	}
	if destination.URI == nil {
		return base, nil
	}
	return base.ResolveReference(destination.URI.URL()), nil
}

func (r Resolver) reference(ref *duckv1.KReference) (*url.URL, error) {
	var raw string
	switch ref.APIVersion + "/" + ref.Kind {
	case "serving.knative.dev/v1/Service", "v1/Service":
		raw = r.Services[ref.Name]
	case "eventing.knative.dev/v1/Broker":
		if r.BrokerURL != "" {
			raw = r.BrokerURL + "/" + ref.Namespace + "/" + ref.Name
		}
	}
	if raw == "" {
		return nil, fmt.Errorf("%w: no address is known for %s %s of %s", ErrUnresolved, ref.Kind, ref.Name, ref.APIVersion)
	}
	base, err := url.Parse(raw)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("%w: the address %q of %s %s is no absolute URL", ErrUnresolved, raw, ref.Kind, ref.Name)
	}
	return base, nil
}
