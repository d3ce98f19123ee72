package submit_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clients is how many submit at a time.
const clients = 16

// BenchmarkSubmit measures submissions over HTTP by 16 clients: the request to
// its answer, with Postgres, Redis and an HTTP sink. It reports submissions a
// second and the 50th and 99th percentile of their latency in milliseconds.
func BenchmarkSubmit(b *testing.B) {
	for name, body := range map[string]string{"prompt": minimal, "manifests": full} {
		b.Run(name, func(b *testing.B) { benchmarkSubmit(b, body) })
	}
}

func benchmarkSubmit(b *testing.B, body string) {
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	b.Cleanup(broker.Close)
	w := setup(b, "K_SINK", broker.URL, "GRAF_RATE_LIMIT_PER_SECOND", "1000000", "GRAF_RATE_LIMIT_BURST", "1000000")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(client.CloseIdleConnections)
	latencies := make([]time.Duration, b.N)
	var next atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				start := time.Now()
				submitOnce(b, client, w.url, body)
				latencies[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(latencies)
	percentile := func(p int) float64 { return float64(latencies[len(latencies)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submissions/s")
	b.ReportMetric(percentile(50), "p50-ms")
	b.ReportMetric(percentile(99), "p99-ms")
}

func submitOnce(b *testing.B, client *http.Client, url, body string) {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/v1/codex/tasks", strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+testToken)
	res, err := client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		b.Errorf("status %d", res.StatusCode)
	}
}
