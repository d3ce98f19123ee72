// Package telemetry gives a Graf process its logs, traces and metrics.
//
// Logs are structured (slog), carry the ids of the trace they belong to, and
// never show what a secret's key names. Traces and metrics go out by OTLP over
// HTTP if OTEL_EXPORTER_OTLP_ENDPOINT is set; if not, nothing is collected and
// no goroutine runs, but spans still have ids, so that logs and events of one
// task can be joined by their trace id everywhere.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// flushTimeout bounds the last export at shutdown.
const flushTimeout = 5 * time.Second

// Setup makes slog's default logger and OpenTelemetry's global providers for
// the process that service names, from the environment:
//
//   - GRAF_LOG_FORMAT: json (default) or text; logs go to standard error.
//   - GRAF_LOG_LEVEL: debug, info (default), warn or error.
//   - OTEL_EXPORTER_OTLP_ENDPOINT, and OpenTelemetry's other variables.
//
// shutdown sends what is still unsent, for at most 5 seconds. An error names
// the variable to mend.
func Setup(ctx context.Context, service string) (shutdown func(context.Context) error, err error) {
	logger, err := newLogger(os.Stderr, service, os.Getenv)
	if err != nil {
		return nil, err
	}
	p, err := newProviders(ctx, service, os.Getenv)
	if err != nil {
		return nil, err
	}
	slog.SetDefault(logger)
	p.install()
	return p.shutdown, nil
}

// providers are what Setup makes global.
type providers struct {
	tracer *sdktrace.TracerProvider
	meter  metric.MeterProvider // nil without an exporter
	stops  []func(context.Context) error
}

func newProviders(ctx context.Context, service string, getenv func(string) string) (*providers, error) {
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		// A parent that is sampled elsewhere stays so; our own traces are
		// nothing but ids.
		sampler := sdktrace.ParentBased(sdktrace.NeverSample())
		return &providers{tracer: sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))}, nil
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	spans, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: export traces: %w", err)
	}
	metrics, err := otlpmetrichttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: export metrics: %w", err)
	}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(spans))
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithResource(res),
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
	return &providers{
		tracer: tracer, meter: meter,
		stops: []func(context.Context) error{tracer.Shutdown, meter.Shutdown},
	}, nil
}

func (p *providers) install() {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetTracerProvider(p.tracer)
	if p.meter != nil {
		otel.SetMeterProvider(p.meter)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		slog.Warn("telemetry", "error", err)
	}))
}

func (p *providers) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var errs []error
	for _, stop := range p.stops {
		errs = append(errs, stop(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("flush telemetry: %w", err)
	}
	return nil
}

// newLogger writes to w in the form that the environment asks for.
func newLogger(w io.Writer, service string, getenv func(string) string) (*slog.Logger, error) {
	options := &slog.HandlerOptions{ReplaceAttr: redact}
	if level := getenv("GRAF_LOG_LEVEL"); level != "" {
		var l slog.Level
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("GRAF_LOG_LEVEL is %q: use debug, info, warn or error", level)
		}
		options.Level = l
	}
	var handler slog.Handler
	switch format := getenv("GRAF_LOG_FORMAT"); format {
	case "", "json":
		handler = slog.NewJSONHandler(w, options)
	case "text":
		handler = slog.NewTextHandler(w, options)
	default:
		return nil, fmt.Errorf("GRAF_LOG_FORMAT is %q: use json or text", format)
	}
	return slog.New(traceHandler{handler}).With("service", service), nil
}
