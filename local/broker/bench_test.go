package broker_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkDelivery measures events from ingress to one subscriber, everything
// in one process: a sender, the Broker, the subscriber. Run it with -cpu 1 to
// know what one core does.
func BenchmarkDelivery(b *testing.B) {
	h := setup(b, nil)
	delivered := make(chan struct{})
	var left atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if left.Add(-1) == 0 {
			close(delivered)
		}
	}))
	b.Cleanup(server.Close)
	h.add(b, trigger(b, server.URL, ""))
	left.Store(int64(b.N))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			publish(b, client, h.server.URL)
		}
	})
	<-delivered
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	// What others on the machine do does not change this one.
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/event")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkOneAtATime measures the time from sending an event until its
// subscriber has it, with nothing else going on.
func BenchmarkOneAtATime(b *testing.B) {
	h := setup(b, nil)
	delivered := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { delivered <- struct{}{} }))
	b.Cleanup(server.Close)
	h.add(b, trigger(b, server.URL, ""))
	client := &http.Client{}
	for b.Loop() {
		publish(b, client, h.server.URL)
		<-delivered
	}
}

func publish(b *testing.B, client *http.Client, url string) {
	r, err := http.NewRequest(http.MethodPost, url+"/graf/default", http.NoBody)
	if err != nil {
		b.Error(err)
		return
	}
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": rand.Text(), "Ce-Source": "/bench", "Ce-Type": "dev.graf.codex.task.submitted.v1",
		"Ce-Subject": "01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d",
	} {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		b.Errorf("status %d", response.StatusCode)
	}
}
