// Package access wraps a function's HTTP handler with what each request gets,
// whatever it is for: an id, a span, a line in the log, and an answer even if
// the handler panics.
package access

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/graf-run/graf/shared/problem"
)

// scope is the name of the tracer.
const scope = "github.com/graf-run/graf/shared/access"

// healthPrefix is where func-go serves its probes, too many to log.
const healthPrefix = "/health/"

// requestIDPattern is what we take over from a client as a request's id; it
// ends up in logs and in a URN.
var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Handler wraps next. Bodies end after maxBody bytes with an error that package
// problem knows as 413; operations have tighter bounds of their own. A nil log
// is the default one.
func Handler(next http.Handler, maxBody int64, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.Default()
	}
	return &handler{next: next, maxBody: maxBody, log: log}
}

type handler struct {
	next    http.Handler
	maxBody int64
	log     *slog.Logger
}

// ServeHTTP serves one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	w.Header().Set(problem.RequestIDHeader, id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	ctx := otel.GetTextMapPropagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := otel.Tracer(scope).Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	rec := &record{}
	r = r.WithContext(context.WithValue(ctx, recordKey{}, rec))
	r.Body = http.MaxBytesReader(w, r.Body, h.maxBody)

	sw := &statusWriter{ResponseWriter: w}
	start := time.Now()
	defer func() { h.finish(sw, r, span, rec, id, time.Since(start)) }()
	defer h.recover(sw, r)
	h.next.ServeHTTP(sw, r)
}

// recover answers for a handler that panicked. If the answer had begun, the
// connection is cut, so that the client does not take half of it for all.
func (h *handler) recover(w *statusWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
		panic(cause)
	}
	h.log.ErrorContext(r.Context(), "handler panicked", "panic", cause, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	problem.Write(w, r, problem.ErrInternal)
}

// finish completes the span and writes the log line.
func (h *handler) finish(w *statusWriter, r *http.Request, span trace.Span, rec *record, id string, took time.Duration) {
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	route := r.Pattern
	if route == "" {
		route = r.Method
	}
	span.SetName(route)
	span.SetAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("http.route", r.Pattern),
		attribute.Int("http.response.status_code", status))
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	if strings.HasPrefix(r.URL.Path, healthPrefix) {
		level = slog.LevelDebug
	}
	h.log.LogAttrs(r.Context(), level, "request", append([]slog.Attr{
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Float64("durationMs", float64(took.Microseconds())/1000),
		slog.String("requestId", id),
	}, rec.all()...)...)
}

// requestID is the client's id of the request if it is fit, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(problem.RequestIDHeader); requestIDPattern.MatchString(id) {
		return id
	}
	return uuid.Must(uuid.NewV7()).String()
}

type recordKey struct{}

// record collects what handlers add to the line.
type record struct {
	mu    sync.Mutex
	attrs []slog.Attr
}

func (r *record) all() []slog.Attr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attrs
}

// Note adds attributes to the request's log line, for instance the caller or
// the task. Outside of a request it does nothing.
func Note(ctx context.Context, attrs ...slog.Attr) {
	rec, ok := ctx.Value(recordKey{}).(*record)
	if !ok {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.attrs = append(rec.attrs, attrs...)
}
