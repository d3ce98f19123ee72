package broker

import (
	"context"
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/attributes"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"knative.dev/pkg/logging"
)

// filter says whether a Trigger wants an event.
type filter func(context.Context, cloudevents.Event) bool

var noLog = zap.NewNop().Sugar()

// silence keeps Knative's filters from logging every match: without a logger in
// the context they make one that does.
func silence(ctx context.Context) context.Context { return logging.WithLogger(ctx, noLog) }

// compileFilter returns the filter of a Trigger: its filters if it has any, else
// its older filter.attributes, else one that lets everything pass.
func compileFilter(spec eventingv1.TriggerSpec) (filter, error) {
	if len(spec.Filters) > 0 {
		return compileAll(spec.Filters)
	}
	if spec.Filter != nil && len(spec.Filter.Attributes) > 0 {
		return leaf(attributes.NewAttributesFilter(spec.Filter.Attributes), nil)
	}
	return func(context.Context, cloudevents.Event) bool { return true }, nil
}

// compileOne compiles one filter expression. What matches attributes is
// Knative's; what combines others (all, any, not) is here, because Knative's
// reorder themselves in a background goroutine that races with matching (their
// lock does not cover the counters) and panic when matched after Cleanup.
func compileOne(f eventingv1.SubscriptionsAPIFilter) (filter, error) {
	switch {
	case len(f.Exact) > 0:
		return leaf(subscriptionsapi.NewExactFilter(f.Exact))
	case len(f.Prefix) > 0:
		return leaf(subscriptionsapi.NewPrefixFilter(f.Prefix))
	case len(f.Suffix) > 0:
		return leaf(subscriptionsapi.NewSuffixFilter(f.Suffix))
	case f.CESQL != "":
		return leaf(subscriptionsapi.NewCESQLFilter(f.CESQL))
	case len(f.All) > 0:
		return compileAll(f.All)
	case len(f.Any) > 0:
		return compileAny(f.Any)
	case f.Not != nil:
		inner, err := compileOne(*f.Not)
		return func(ctx context.Context, e cloudevents.Event) bool { return !inner(ctx, e) }, err
	}
	return nil, fmt.Errorf("an empty filter: give it exact, prefix, suffix, cesql, all, any or not")
}

// leaf makes a filter of one of Knative's; err is what its constructor returned.
func leaf(f eventfilter.Filter, err error) (filter, error) {
	return func(ctx context.Context, e cloudevents.Event) bool {
		return f.Filter(ctx, e) != eventfilter.FailFilter
	}, err
}

func compileAll(list []eventingv1.SubscriptionsAPIFilter) (filter, error) {
	filters, err := compileList(list)
	return func(ctx context.Context, e cloudevents.Event) bool {
		for _, f := range filters {
			if !f(ctx, e) {
				return false
			}
		}
		return true
	}, err
}

func compileAny(list []eventingv1.SubscriptionsAPIFilter) (filter, error) {
	filters, err := compileList(list)
	return func(ctx context.Context, e cloudevents.Event) bool {
		for _, f := range filters {
			if f(ctx, e) {
				return true
			}
		}
		return false
	}, err
}

func compileList(list []eventingv1.SubscriptionsAPIFilter) ([]filter, error) {
	filters := make([]filter, len(list))
	for i, f := range list {
		var err error
		if filters[i], err = compileOne(f); err != nil {
			return nil, fmt.Errorf("filter %d: %w", i, err)
		}
	}
	return filters, nil
}
