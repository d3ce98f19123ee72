package callback_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkReport is one event by HTTP, of 64 tasks in turn.
func BenchmarkReport(b *testing.B) {
	w := setup(b, "GRAF_RATE_LIMIT_PER_SECOND", "0")
	w.context = b.Context()
	w.server.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	tasks := make([]task, 64)
	for i := range tasks {
		tasks[i] = w.running()
	}
	var count atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := count.Add(1)
			w.post(tasks[n%64], event(fmt.Sprint(n), "Looked at one more Deployment of the shop."))
		}
	})
}

// BenchmarkLargeReport is four events that are about 1 MB together.
func BenchmarkLargeReport(b *testing.B) {
	w := setup(b, "GRAF_RATE_LIMIT_PER_SECOND", "0")
	w.context = b.Context()
	k := w.running()
	text := strings.Repeat("level=info msg=reconciled name: web replicas=3 ", 5000)
	for n := 0; b.Loop(); n++ {
		events := make([]string, 4)
		for i := range events {
			events[i] = fmt.Sprintf(`{"eventId":"%d-%d","eventType":"log","content":%q}`, n, i, text)
		}
		w.post(k, "["+strings.Join(events, ",")+"]")
	}
}
