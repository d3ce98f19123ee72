package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

const redacted = "[redacted]"

// secretNames are parts of keys whose values are never logged.
var secretNames = []string{"token", "authorization", "secret", "password", "passwd", "apikey", "credential", "cookie"}

// userInfo matches the password of a URL such as postgres://user:password@host.
var userInfo = regexp.MustCompile(`(://[^/@:\s]*:)[^/@\s]+@`)

// traceHandler adds the ids of the context's span to each record.
type traceHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traceHandler) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(
			slog.String("trace_id", span.TraceID().String()),
			slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}

// redact hides values whose key, or whose group's name, says that they are
// secret, and passwords inside URLs. It is the net below the rule that secrets
// are not handed to the logger at all. Numbers stay: promptTokens is a count.
func redact(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
	default:
		return a
	}
	if isSecret(a.Key) || slices.ContainsFunc(groups, isSecret) {
		return slog.String(a.Key, redacted)
	}
	switch value := a.Value.Any().(type) {
	case string:
		return slog.String(a.Key, redactURLs(value))
	case error:
		return slog.String(a.Key, redactURLs(value.Error()))
	case http.Header:
		return slog.Any(a.Key, redactHeader(value))
	}
	return a
}

func isSecret(key string) bool {
	key = strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
	return slices.ContainsFunc(secretNames, func(name string) bool { return strings.Contains(key, name) })
}

func redactURLs(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	return userInfo.ReplaceAllString(s, "${1}"+redacted+"@")
}

func redactHeader(h http.Header) http.Header {
	h = h.Clone()
	for key := range h {
		if isSecret(key) {
			h[key] = []string{redacted}
		}
	}
	return h
}
