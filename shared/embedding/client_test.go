package embedding

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// fixture is a client of a scripted provider. Its waits take no time: they are
// written down.
type fixture struct {
	*Client
	provider *provider
	waits    []time.Duration
	reader   *sdkmetric.ManualReader
}

func setup(t *testing.T, config Config, script ...http.HandlerFunc) *fixture {
	t.Helper()
	f := &fixture{provider: &provider{script: script}, reader: sdkmetric.NewManualReader()}
	server := httptest.NewServer(f.provider)
	t.Cleanup(server.Close)
	config.BaseURL = server.URL + "/v1"
	if config.Model == "" {
		config.Model, config.Dimension = testModel, testDimension
	}
	config.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(f.reader))
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	client.sleep = func(ctx context.Context, d time.Duration) error {
		f.waits = append(f.waits, d)
		return ctx.Err()
	}
	f.Client = client
	return f
}

func TestEmbedKeepsOrder(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{BatchSize: 2, APIKey: "key"})
	texts := []string{"a", "bb", "ccc", "dddd", "eeeee"}
	got, err := f.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		if len(got[i]) != testDimension || got[i][0] != float32(len(text)) {
			t.Errorf("vector %d is %v, want the one of %q", i, got[i], text)
		}
	}
	if len(f.provider.requests) != 3 {
		t.Errorf("%d calls, want 3", len(f.provider.requests))
	}
	for _, r := range f.provider.requests {
		if r.Model != testModel || r.Dimensions != nil || r.EncodingFormat != "base64" || r.authorization != "Bearer key" {
			t.Errorf("request %+v", r)
		}
	}
}

func TestEmbedNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{})
	got, err := f.Embed(t.Context(), nil)
	if err != nil || len(got) != 0 || len(f.provider.requests) != 0 {
		t.Errorf("vectors %v, error %v, %d calls", got, err, len(f.provider.requests))
	}
}

func TestEmbedBoundsBytesPerCall(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{})
	texts := slices.Repeat([]string{strings.Repeat("word ", 2000)}, 20)
	if _, err := f.Embed(t.Context(), texts); err != nil {
		t.Fatal(err)
	}
	if len(f.provider.requests) < 2 {
		t.Errorf("%d calls, want several", len(f.provider.requests))
	}
	for i, r := range f.provider.requests {
		if size := len(strings.Join(r.Input, "")); size > maxBatchBytes {
			t.Errorf("call %d has %d bytes, want at most %d", i, size, maxBatchBytes)
		}
		for _, text := range r.Input {
			if len(text) > MaxTextBytes {
				t.Errorf("a text of %d bytes was sent", len(text))
			}
		}
	}
}

func TestEmbedWithoutKey(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{})
	if _, err := f.Embed(t.Context(), []string{"text"}); err != nil {
		t.Fatal(err)
	}
	if got := f.provider.requests[0].authorization; got != "" {
		t.Errorf("Authorization %q, want none", got)
	}
}

func TestEmbedAsksForFewerDimensions(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{Model: "text-embedding-3-large", Dimension: 256})
	got, err := f.Embed(t.Context(), []string{"text"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got[0]) != 256 || f.Dimension() != 256 || f.Model() != "text-embedding-3-large" {
		t.Errorf("%d dimensions from %s", len(got[0]), f.Model())
	}
}

func TestEmbedReadsBothEncodings(t *testing.T) {
	t.Parallel()
	for _, encoded := range []string{`[0.5,-1,0,2]`, `"AAAAPwAAgL8AAAAAAAAAQA=="`, `"AAAA\/wAAgL8AAAAAAAAAQA=="`} {
		f := setup(t, Config{}, body("application/json",
			`{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":`+encoded+`}],"usage":{}}`))
		got, err := f.Embed(t.Context(), []string{"text"})
		if err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		if !slices.Equal(got[0][1:], []float32{-1, 0, 2}) || math.Abs(float64(got[0][0])) < 0.5 {
			t.Errorf("%s gives %v", encoded, got[0])
		}
	}
}

func TestEmbedRepeats(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		step   http.HandlerFunc
		wait   time.Duration // the least wait before the repetition
		reason string
	}{
		{"429 with Retry-After", status(429, "Retry-After", "3"), 3 * time.Second, ReasonRateLimited},
		{"429 with milliseconds", status(429, "Retry-After-Ms", "1500"), 1500 * time.Millisecond, ReasonRateLimited},
		{"429", status(429), firstWait / 2, ReasonRateLimited},
		{"500", status(500), firstWait / 2, ReasonServer},
		{"503 with Retry-After", status(503, "Retry-After", "1"), time.Second, ReasonServer},
		{"408", status(408), firstWait / 2, ReasonServer},
		{"500 of a proxy", body("text/html", "<html>"), firstWait / 2, ReasonResponse},
		{"truncated JSON", body("application/json", `{"object":"list","data":[{"embedding":`), firstWait / 2, ReasonResponse},
		{"broken off", cutOff, firstWait / 2, ReasonResponse},
		{"empty", body("application/json", ""), firstWait / 2, ReasonResponse},
		{"bad base64", body("application/json", `{"data":[{"index":0,"embedding":"?"}]}`), firstWait / 2, ReasonResponse},
		{"half a number", body("application/json", `{"data":[{"index":0,"embedding":"AQ=="}]}`), firstWait / 2, ReasonResponse},
		{"no vector", vectors(), firstWait / 2, ReasonResponse},
		{"two vectors", vectors([]float32{1, 0, 0, 0}, []float32{1, 0, 0, 0}), firstWait / 2, ReasonResponse},
		{"huge response", body("application/json", `"`+strings.Repeat("x", 2<<20)+`"`), firstWait / 2, ReasonResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, Config{}, tt.step)
			if _, err := f.Embed(t.Context(), []string{"text"}); err != nil {
				t.Fatalf("gave up: %v", err)
			}
			if len(f.waits) != 1 || f.waits[0] < tt.wait || f.waits[0] > longestWait {
				t.Errorf("waited %v, want once, at least %v", f.waits, tt.wait)
			}
			if calls, failures := f.measured(t); calls != 2 || failures[tt.reason] != 1 {
				t.Errorf("metrics: %d calls, failures %v; want 2 and one of %s", calls, failures, tt.reason)
			}
		})
	}
}

func TestEmbedGivesUp(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		name   string
		step   http.HandlerFunc
		kind   error
		reason string
		status int
	}{
		{"400", status(400), ErrRejected, ReasonText, 400},
		{"413", status(413), ErrRejected, ReasonText, 413},
		{"422", status(422), ErrRejected, ReasonText, 422},
		{"NaN", vectors([]float32{1, nan, 0, 0}), ErrRejected, ReasonText, 0},
		{"infinity", vectors([]float32{1, inf, 0, 0}), ErrRejected, ReasonText, 0},
		{"zero vector", vectors([]float32{0, 0, 0, 0}), ErrRejected, ReasonText, 0},
		{"401", status(401), ErrUnavailable, ReasonConfigured, 401},
		{"403", status(403), ErrUnavailable, ReasonConfigured, 403},
		{"404", status(404), ErrUnavailable, ReasonConfigured, 404},
		{"400 of the request", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"message":"no such size","type":"t","param":"dimensions","code":null}}`)
		}, ErrUnavailable, ReasonConfigured, 400},
		{"wrong dimension", vectors([]float32{1, 2, 3}), ErrUnavailable, ReasonConfigured, 0},
		{"a long Retry-After", status(429, "Retry-After", "3600"), ErrUnavailable, ReasonRateLimited, 429},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, Config{APIKey: "hunter2"}, tt.step)
			_, err := f.Embed(t.Context(), []string{"text"})
			var failure *Error
			if !errors.Is(err, tt.kind) || !errors.As(err, &failure) {
				t.Fatalf("error %v, want %v", err, tt.kind)
			}
			if failure.Reason != tt.reason || failure.Status != tt.status {
				t.Errorf("reason %s, status %d; want %s, %d", failure.Reason, failure.Status, tt.reason, tt.status)
			}
			if len(f.provider.requests) != 1 || len(f.waits) != 0 {
				t.Errorf("%d calls after waits %v, want one call", len(f.provider.requests), f.waits)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestEmbedReportsRetryAfter(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{}, status(429, "Retry-After", "3600"))
	_, err := f.Embed(t.Context(), []string{"text"})
	var failure *Error
	if !errors.As(err, &failure) || failure.RetryAfter != time.Hour {
		t.Errorf("error %v with %+v, want RetryAfter of an hour", err, failure)
	}
}

func TestEmbedStopsAfterMaxRetries(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{MaxRetries: 2}, slices.Repeat([]http.HandlerFunc{status(503)}, 5)...)
	_, err := f.Embed(t.Context(), []string{"text"})
	if !errors.Is(err, ErrUnavailable) || len(f.provider.requests) != 3 {
		t.Errorf("error %v after %d calls, want ErrUnavailable after 3", err, len(f.provider.requests))
	}
}

func TestEmbedDoesNotWaitPastDeadline(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{}, status(429, "Retry-After", "4"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := f.Embed(ctx, []string{"text"}); !errors.Is(err, ErrUnavailable) || len(f.waits) != 0 {
		t.Errorf("error %v, waits %v; want ErrUnavailable at once", err, f.waits)
	}
}

// hang answers only when its client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestEmbedTimesOutOneCall(t *testing.T) {
	t.Parallel()
	// Long enough for the repetition, which is answered, on a busy machine.
	f := setup(t, Config{Timeout: time.Second}, hang)
	if _, err := f.Embed(t.Context(), []string{"text"}); err != nil {
		t.Fatalf("the repetition failed: %v", err)
	}
	if _, failures := f.measured(t); failures[ReasonTimeout] != 1 {
		t.Errorf("failures %v, want one timeout", failures)
	}
}

func TestEmbedStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := setup(t, Config{}, func(w http.ResponseWriter, r *http.Request) { cancel(); hang(w, r) })
	_, err := f.Embed(ctx, []string{"text"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) || len(f.provider.requests) != 1 {
		t.Errorf("error %v after %d calls", err, len(f.provider.requests))
	}
}

func TestSleepStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if err := sleep(t.Context(), time.Nanosecond); err != nil {
		t.Errorf("error %v, want none", err)
	}
}

func TestEmbedWithoutServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client, err := New(Config{BaseURL: server.URL, Model: testModel, Dimension: testDimension, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Embed(t.Context(), []string{"text"})
	var failure *Error
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &failure) || failure.Reason != ReasonNetwork {
		t.Errorf("error %v, want ErrUnavailable for the network", err)
	}
}

func TestEmbedRefusesBlankText(t *testing.T) {
	t.Parallel()
	f := setup(t, Config{})
	_, err := f.Embed(t.Context(), []string{"text", " \n\t"})
	if !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "text 2 of 2") || len(f.provider.requests) != 0 {
		t.Errorf("error %v after %d calls", err, len(f.provider.requests))
	}
}

// measured returns how many calls the histogram saw, and the failures by reason.
func (f *fixture) measured(t *testing.T) (calls uint64, failures map[string]int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := f.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	failures = map[string]int64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			if m.Name != "graf_codex_embedding_duration_ms" {
				t.Errorf("histogram %s", m.Name)
			}
			for _, point := range data.DataPoints {
				if model, _ := point.Attributes.Value("model"); model.AsString() != testModel {
					t.Errorf("model %q", model.AsString())
				}
				calls += point.Count
			}
		case metricdata.Sum[int64]:
			if m.Name != "graf_codex_embedding_failures_total" {
				t.Errorf("counter %s", m.Name)
			}
			for _, point := range data.DataPoints {
				reason, _ := point.Attributes.Value("reason")
				failures[reason.AsString()] += point.Value
			}
		}
	}
	return calls, failures
}
