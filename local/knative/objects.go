// Package knative reads Knative resources from YAML files as a cluster would:
// strictly, with Knative's own types, defaults and validation. What it reads
// tells the local broker and sources what to do.
package knative

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	sigsyaml "sigs.k8s.io/yaml"
)

// Objects are the Knative resources of a set of files, in the files' order.
type Objects struct {
	Brokers          []*eventingv1.Broker
	Triggers         []*eventingv1.Trigger
	PingSources      []*sourcesv1.PingSource
	APIServerSources []*sourcesv1.ApiServerSource
}

// ErrUnknownKind is wrapped by Load's error for a resource of a kind that the
// local platform does not know.
var ErrUnknownKind = errors.New("unknown kind")

// clusterOnly are the kinds that only a cluster needs: on one machine there is
// nobody to grant rights to.
var clusterOnly = map[string]bool{
	"v1/Namespace":                             true,
	"v1/ServiceAccount":                        true,
	"rbac.authorization.k8s.io/v1/Role":        true,
	"rbac.authorization.k8s.io/v1/RoleBinding": true,
}

// Load reads every *.yaml file in the root of files, in the order of their
// names. Its errors name the file and the field.
func Load(files fs.FS) (*Objects, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	objects := &Objects{}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		if err := objects.add(raw); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", path.Base(name), err)
		}
	}
	return objects, nil
}

// add reads the documents of one file.
func (o *Objects) add(raw []byte) error {
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read YAML: %w", err)
		}
		if err := o.addDocument(document); err != nil {
			return err
		}
	}
}

func (o *Objects) addDocument(document []byte) error {
	var meta metav1.TypeMeta
	if err := sigsyaml.Unmarshal(document, &meta); err != nil {
		return fmt.Errorf("read YAML: %w", err)
	}
	kind := meta.APIVersion + "/" + meta.Kind
	switch kind {
	case "/":
		return nil // a document of comments alone
	case "eventing.knative.dev/v1/Broker":
		return decode(document, &eventingv1.Broker{}, &o.Brokers)
	case "eventing.knative.dev/v1/Trigger":
		return decode(document, &eventingv1.Trigger{}, &o.Triggers)
	case "sources.knative.dev/v1/PingSource":
		return decode(document, &sourcesv1.PingSource{}, &o.PingSources)
	case "sources.knative.dev/v1/ApiServerSource":
		return decode(document, &sourcesv1.ApiServerSource{}, &o.APIServerSources)
	}
	if clusterOnly[kind] {
		return nil
	}
	return fmt.Errorf("%w %s: the local platform knows Broker, Trigger, PingSource and ApiServerSource", ErrUnknownKind, kind)
}

// resource is what Knative's types have in common.
type resource interface {
	metav1.Object
	apis.Defaultable
	apis.Validatable
}

func decode[T resource](document []byte, object T, list *[]T) error {
	if err := sigsyaml.UnmarshalStrict(document, object); err != nil {
		return fmt.Errorf("%T: %w", object, err)
	}
	if err := Admit(object); err != nil {
		return err
	}
	*list = append(*list, object)
	return nil
}

// Admit does to a resource what Knative's admission webhook does: it sets
// defaults, then validates.
func Admit(object resource) error {
	if object.GetName() == "" || object.GetNamespace() == "" {
		return fmt.Errorf("%T %q: metadata.name and metadata.namespace must both be set", object, object.GetName())
	}
	ctx := Context(context.Background())
	object.SetDefaults(ctx)
	if err := object.Validate(ctx); err != nil {
		return fmt.Errorf("%T %s/%s: %w", object, object.GetNamespace(), object.GetName(), err)
	}
	return nil
}

// Context gives ctx the feature flags of a default installation that the
// manifests depend on: delivery timeouts.
func Context(ctx context.Context) context.Context {
	return feature.ToContext(ctx, feature.Flags{feature.DeliveryTimeout: feature.Enabled})
}
