package source

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/eventing/pkg/apis/sources"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"

	"github.com/graf-run/graf/local/knative"
)

// Verbs of changes.
const (
	Add    = "add"
	Update = "update"
	Delete = "delete"
)

// eventTypes maps a verb to the type of its event in Resource mode.
var eventTypes = map[string]string{
	Add:    sources.ApiServerSourceAddEventType,
	Update: sources.ApiServerSourceUpdateEventType,
	Delete: sources.ApiServerSourceDeleteEventType,
}

// APIServer is an ApiServerSource in Resource mode: it sends the whole object
// with each change. It does not watch; whoever changes objects calls Changed.
type APIServer struct {
	sender    sender
	host      string
	namespace string
	watched   []watched
}

// watched is a kind of object with the labels that it must have.
type watched struct {
	apiVersion, kind string
	selector         labels.Selector
}

// NewAPIServer makes ready an ApiServerSource. host is the URL of the API server,
// which is the source of the events; the resolver finds their sink. A nil logger
// is slog's default.
// Reference mode, owner, filters and a namespace selector are not supported: a
// source that has one is an error, for ignoring it would send too much.
func NewAPIServer(source *sourcesv1.ApiServerSource, resolver knative.Resolver, host string, log *slog.Logger) (*APIServer, error) {
	if err := knative.Admit(source); err != nil {
		return nil, err
	}
	spec := source.Spec
	if spec.EventMode != sourcesv1.ResourceMode || spec.ResourceOwner != nil || spec.NamespaceSelector != nil || len(spec.Filters) > 0 {
		return nil, fmt.Errorf("ApiServerSource %s/%s: the local platform knows mode Resource alone, without owner, filters and namespaceSelector", source.Namespace, source.Name)
	}
	sink, err := resolver.Resolve(spec.Sink)
	if err != nil {
		return nil, fmt.Errorf("ApiServerSource %s/%s: sink: %w", source.Namespace, source.Name, err)
	}
	if log == nil {
		log = slog.Default()
	}
	s := &APIServer{sender: newSender(sink.String(), log), host: host, namespace: source.Namespace}
	for _, resource := range spec.Resources {
		selector, err := selectorOf(resource)
		if err != nil {
			return nil, fmt.Errorf("ApiServerSource %s/%s: selector of %s: %w", source.Namespace, source.Name, resource.Kind, err)
		}
		s.watched = append(s.watched, watched{resource.APIVersion, resource.Kind, selector})
	}
	return s, nil
}

func selectorOf(resource sourcesv1.APIVersionKindSelector) (labels.Selector, error) {
	if resource.LabelSelector == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(resource.LabelSelector)
}

// Changed sends an event that object was changed by verb (Add, Update, Delete),
// if the source watches such objects in the object's namespace. It returns when
// the Broker has taken the event; it tries until ctx ends, and fails at once with
// ErrRefused if the Broker will never take it. Calls for one object are to be
// made one after the other, or their events may change places.
func (s *APIServer) Changed(ctx context.Context, verb string, object *unstructured.Unstructured) error {
	eventType := eventTypes[verb]
	if eventType == "" {
		return fmt.Errorf("verb %q: it must be %s, %s or %s", verb, Add, Update, Delete)
	}
	if !s.watches(object) {
		return nil
	}
	event, err := s.event(eventType, object)
	if err != nil {
		return err
	}
	return s.sender.send(ctx, event)
}

func (s *APIServer) watches(object *unstructured.Unstructured) bool {
	if object.GetNamespace() != s.namespace {
		return false
	}
	for _, w := range s.watched {
		if w.apiVersion == object.GetAPIVersion() && w.kind == object.GetKind() && w.selector.Matches(labels.Set(object.GetLabels())) {
			return true
		}
	}
	return false
}

// event has the attributes that knative.dev/eventing/pkg/adapter/apiserver/events
// gives it. That package is not used because it brings the whole adapter with it,
// and clients for a cluster.
func (s *APIServer) event(eventType string, object *unstructured.Unstructured) (cloudevents.Event, error) {
	event := cloudevents.New()
	event.SetType(eventType)
	event.SetSource(s.host)
	event.SetSubject(selfLink(object))
	event.SetExtension("kind", object.GetKind())
	event.SetExtension("apiversion", object.GetAPIVersion())
	event.SetExtension("name", object.GetName())
	event.SetExtension("namespace", object.GetNamespace())
	if err := event.SetData(cloudevents.ApplicationJSON, object); err != nil {
		return event, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return event, nil
}

// selfLink is the path of an object as Knative writes it, "/apis" in any case.
func selfLink(object *unstructured.Unstructured) string {
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	return strings.Join([]string{"/apis", object.GetAPIVersion(), "namespaces", object.GetNamespace(), resource.Resource, object.GetName()}, "/")
}
