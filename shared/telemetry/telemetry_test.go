package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

func environment(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// logLine logs through a JSON logger and returns the record.
func logLine(ctx context.Context, t *testing.T, attrs ...any) map[string]any {
	t.Helper()
	var out bytes.Buffer
	logger, err := newLogger(&out, "graf-test", environment())
	if err != nil {
		t.Fatal(err)
	}
	logger.InfoContext(ctx, "message", attrs...)
	var record map[string]any
	if err := json.Unmarshal(out.Bytes(), &record); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	return record
}

func TestLogCarriesTrace(t *testing.T) {
	t.Parallel()
	p, err := newProviders(t.Context(), "graf-test", environment())
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := p.tracer.Tracer("test").Start(t.Context(), "work")
	defer span.End()
	record := logLine(ctx, t)
	if got, want := record["trace_id"], span.SpanContext().TraceID().String(); got != want {
		t.Errorf("trace_id %v, want %v", got, want)
	}
	if record["service"] != "graf-test" {
		t.Errorf("service %v", record["service"])
	}
	if _, there := logLine(t.Context(), t)["trace_id"]; there {
		t.Error("a record outside of a trace has a trace_id")
	}
}

func TestLogRedacts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		attr slog.Attr
		want string // JSON of the value
	}{
		{slog.String("token", "hunter2"), `"[redacted]"`},
		{slog.String("callbackToken", "hunter2"), `"[redacted]"`},
		{slog.String("OPENAI_API_KEY", "hunter2"), `"[redacted]"`},
		{slog.String("Authorization", "Bearer hunter2"), `"[redacted]"`},
		{slog.Any("clientSecret", []string{"hunter2"}), `"[redacted]"`},
		{slog.Group("password", slog.String("value", "hunter2")), `{"value":"[redacted]"}`},
		{slog.Int("promptTokens", 12), `12`},
		{slog.String("database", "postgres://graf:hunter2@localhost/graf"), `"postgres://graf:[redacted]@localhost/graf"`},
		{slog.Any("error", errors.New("dial redis://:hunter2@localhost failed")), `"dial redis://:[redacted]@localhost failed"`},
		{slog.Any("header", http.Header{"Authorization": {"Bearer hunter2"}, "Accept": {"*/*"}}), `{"Accept":["*/*"],"Authorization":["[redacted]"]}`},
		{slog.String("url", "http://127.0.0.1:8080/a@b"), `"http://127.0.0.1:8080/a@b"`},
		{slog.String("taskId", "018f"), `"018f"`},
	}
	for _, tt := range tests {
		t.Run(tt.attr.Key, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(logLine(t.Context(), t, tt.attr)[tt.attr.Key])
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("logged %s, want %s", got, tt.want)
			}
		})
	}
}

func TestLoggerSettings(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger, err := newLogger(&out, "s", environment("GRAF_LOG_FORMAT", "text", "GRAF_LOG_LEVEL", "warn"))
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("quiet")
	logger.Warn("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "msg=loud") {
		t.Errorf("logged %q, want the warning alone, as text", got)
	}
	for _, bad := range []string{"GRAF_LOG_FORMAT", "GRAF_LOG_LEVEL"} {
		if _, err := newLogger(&out, "s", environment(bad, "loudly")); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s=loudly: error %v, want one that names it", bad, err)
		}
	}
}

func TestSpansHaveIDsWithoutExporter(t *testing.T) {
	t.Parallel()
	p, err := newProviders(t.Context(), "graf-test", environment())
	if err != nil {
		t.Fatal(err)
	}
	tracer := p.tracer.Tracer("test")
	ctx, parent := tracer.Start(t.Context(), "parent")
	traceparent := TraceParent(ctx)
	if parent.IsRecording() || traceparent == "" {
		t.Fatalf("recording %v, traceparent %q; want ids and nothing else", parent.IsRecording(), traceparent)
	}
	_, child := tracer.Start(WithTraceParent(t.Context(), traceparent), "child")
	if child.SpanContext().TraceID() != parent.SpanContext().TraceID() {
		t.Error("the child is in another trace than its parent")
	}
}

func TestSampledParentStaysSampled(t *testing.T) {
	t.Parallel()
	p, err := newProviders(t.Context(), "graf-test", environment())
	if err != nil {
		t.Fatal(err)
	}
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx, _ := p.tracer.Tracer("test").Start(WithTraceParent(t.Context(), sampled), "child")
	if got := TraceParent(ctx); !strings.HasPrefix(got, sampled[:36]) || !strings.HasSuffix(got, "-01") {
		t.Errorf("traceparent %q does not continue %q", got, sampled)
	}
}

func TestTraceParentRoundTrip(t *testing.T) {
	t.Parallel()
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	header := http.Header{}
	Inject(WithTraceParent(t.Context(), traceparent), header)
	if got := TraceParent(Extract(t.Context(), header)); got != traceparent {
		t.Errorf("traceparent %q, want %q", got, traceparent)
	}
	for _, bad := range []string{"", "nonsense", "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		if trace.SpanContextFromContext(WithTraceParent(t.Context(), bad)).IsValid() {
			t.Errorf("traceparent %q was taken for valid", bad)
		}
	}
}

// collector is an OTLP receiver that remembers which paths were posted to.
type collector struct {
	mu    sync.Mutex
	paths []string
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths = append(c.paths, r.URL.Path)
}

// TestSetup runs Setup in a process of its own, since what it makes is global
// and comes from the environment.
func TestSetup(t *testing.T) {
	t.Parallel()
	if os.Getenv("GRAF_TELEMETRY_CHILD") != "" {
		setupChild(t)
		return
	}
	c := &collector{}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSetup$")
	command.Env = append(os.Environ(), "GRAF_TELEMETRY_CHILD=1", "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte(`"msg":"from the child"`)) {
		t.Errorf("no JSON log in %s", out)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, want := range []string{"/v1/traces", "/v1/metrics"} {
		if !slices.Contains(c.paths, want) {
			t.Errorf("nothing came to %s: %v", want, c.paths)
		}
	}
}

func setupChild(t *testing.T) {
	shutdown, err := Setup(t.Context(), "graf-child")
	if err != nil {
		t.Fatal(err)
	}
	counter, err := otel.Meter("test").Int64Counter("graf_test_total")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 1)
	if err := func() (err error) {
		_, span := Start(t.Context(), "work")
		defer End(span, &err)
		slog.Info("from the child")
		return fmt.Errorf("work failed")
	}(); err == nil {
		t.Fatal("the error got lost")
	}
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSetupWithoutExporter(b *testing.B) {
	for b.Loop() {
		if _, err := newProviders(b.Context(), "graf-test", environment()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpanWithoutExporter(b *testing.B) {
	p, err := newProviders(b.Context(), "graf-test", environment())
	if err != nil {
		b.Fatal(err)
	}
	tracer := p.tracer.Tracer("test")
	for b.Loop() {
		_, span := tracer.Start(b.Context(), "work")
		span.End()
	}
}
