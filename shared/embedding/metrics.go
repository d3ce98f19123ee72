package embedding

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics counts calls to the provider, each repetition as one.
type metrics struct {
	duration metric.Float64Histogram
	failures metric.Int64Counter
	model    attribute.KeyValue
}

func newMetrics(provider metric.MeterProvider, model string) (*metrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter("github.com/graf-run/graf/shared/embedding")
	// No unit is set: Prometheus' exporters append it to the name, which has it already.
	duration, durationErr := meter.Float64Histogram("graf_codex_embedding_duration_ms",
		metric.WithDescription("Time of one call to the embeddings provider, in milliseconds."),
		metric.WithExplicitBucketBoundaries(5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 20000))
	failures, failuresErr := meter.Int64Counter("graf_codex_embedding_failures_total",
		metric.WithDescription("Calls to the embeddings provider that failed, by reason."))
	if err := errors.Join(durationErr, failuresErr); err != nil {
		return nil, fmt.Errorf("embedding metrics: %w", err)
	}
	return &metrics{duration: duration, failures: failures, model: attribute.String("model", model)}, nil
}

func (m *metrics) record(ctx context.Context, took time.Duration, failure *Error) {
	m.duration.Record(ctx, float64(took)/float64(time.Millisecond), metric.WithAttributes(m.model))
	if failure != nil {
		m.failures.Add(ctx, 1, metric.WithAttributes(m.model, attribute.String("reason", failure.Reason)))
	}
}
